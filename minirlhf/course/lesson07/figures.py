"""Pictures of lesson 07: favourites by round, ways to teach, consistency, votes, four tastes."""

import numpy as np

from minirlhf.course.drawing import CARD, GREY, canvas, frame, heatmap, style
from minirlhf.plots import BLUE, GREEN, INK, ORANGE, RED, label_ends

WAYS = {"corrections": (BLUE, "-"), "rankings": (RED, "--"), "both": (INK, "-."),
        "seed labels alone": (ORANGE, ":")}


# ---- one session ----------------------------------------------------------------------------


def favourites(rounds, table, taught, elsewhere, agreement):
    """Left the probability of favourite sentences, right the reward model before it has learned.

    rounds (S,); table (S, N) of N sentences; taught (N,): the round in which each was typed;
    elsewhere (S,): mean of questions never taught; agreement: list of (round, share, pairs).
    """
    with style():
        fig, (left, right) = canvas(3.2, columns=2, widths=(1.5, 1))
        frame(left, "probability of the favourite sentence", "rounds", "", (0, 1), True)
        for path, when in zip(table.T, taught):
            left.plot(rounds, path, color=GREY, linewidth=0.8, alpha=0.7)
            left.plot(when, np.interp(when, rounds, path), "o", color=GREY, markersize=3.5)
        left.plot(rounds, table.mean(axis=1), color=BLUE, linewidth=2.6)
        left.plot(rounds, elsewhere, color=GREEN, linewidth=2.2, linestyle="--")
        left.margins(x=0)
        label_ends(left, [(table[-1].mean(), "mean of 11", BLUE),
                          (elsewhere[-1], "never taught", GREEN)])
        frame(right, "reward model and annotator, new pairs", "rounds", "", (0, 1), True)
        when, share, pairs = np.array(agreement).T  # (L,) each
        right.plot(when, share, "-s", color=ORANGE, linewidth=1.8, markersize=5)
        for x, y, count in zip(when, share, pairs):
            right.annotate(f"of {count:.0f}", (x, y), (0, 8), textcoords="offset points", size=8,
                           color=GREY, ha="center",
                           bbox={"facecolor": CARD, "linewidth": 0, "pad": 0.5})
        right.axhline(0.5, color=GREY, linestyle=":", linewidth=1)
        right.text(when[0], 0.44, "guessing", color=GREY, size=8)
        right.set_xticks(when)
        right.margins(x=0.12)
    return fig


def ways_to_teach(panels):
    """panels: list of (title, {way: (rounds (N,), values (seeds, N))}): median and whole range."""
    with style():
        fig, axes = canvas(3.2, columns=len(panels))
        for ax, (title, ways) in zip(axes, panels):
            frame(ax, title, "rounds", "", (0, 1), True)
            labels = []
            for way, (rounds, values) in ways.items():
                colour, dashes = WAYS[way]
                middle = np.median(values, axis=0)  # (N,)
                ax.fill_between(rounds, values.min(axis=0), values.max(axis=0), color=colour,
                                alpha=0.1, linewidth=0)
                ax.plot(rounds, middle, color=colour, linestyle=dashes, linewidth=1.8)
                if rounds[-1] == 60:
                    labels.append((middle[-1], way, colour))
                else:
                    longest, values = ways["both"]
                    other = np.median(values[:, longest.index(rounds[-1])])
                    offset = (5, 4 if middle[-1] > other else -12)
                    ax.annotate(way, (rounds[-1], middle[-1]), offset, size=8, color=colour,
                                textcoords="offset points")
            ax.set_xlim(0, 60)
            label_ends(ax, labels)
    return fig


# ---- annotators -----------------------------------------------------------------------------


def consistency(points):
    """points: list of (label, agreement with oneself, agreement with the gold judge, group)."""
    looks = {"noise": (BLUE, "o"), "clicks": (ORANGE, "s"), "length": (RED, "^")}
    with style():
        fig, (ax,) = canvas(3.6)
        frame(ax, "", "agrees with himself", "agrees with the gold judge", (0.45, 1.03), True)
        ax.xaxis.set_major_formatter(ax.yaxis.get_major_formatter())
        for group, (colour, marker) in looks.items():
            mine = [point for point in points if point[3] == group]
            ax.plot([p[1] for p in mine], [p[2] for p in mine], "-", marker=marker, color=colour,
                    linewidth=1.2, markersize=7)
            for label, x, y, _ in mine:
                offset = {"noise": (-5, 8), "clicks": (9, -4), "length": (5, -14)}[group]
                ax.annotate(label, (x, y), offset, size=8, color=colour,
                            ha="right" if group == "noise" else "left",
                            textcoords="offset points")
        ax.set_xlim(0.45, 1.09)
        ax.set_xticks(np.arange(0.5, 1.01, 0.1))
    return fig


def votes(counts, curves, bars):
    """curves: list of (label, right (N,)) against the number of annotators; bars: {name: right}."""
    with style():
        fig, (left, right) = canvas(3.1, columns=2, widths=(1.3, 1))
        frame(left, "majority vote: right pairs", "annotators", "", (0.45, 1), True)
        labels = []
        for (label, values), (colour, look) in zip(curves, ((BLUE, "-o"), (RED, "--^"))):
            left.plot(counts, values, look, color=colour, linewidth=1.8, markersize=5)
            labels.append((values[-1], label, colour))
        left.set_xticks(counts)
        label_ends(left, labels)
        frame(right, "3 careful ones, 6 who click at random", "", "", (0, 1), True)
        right.bar(range(len(bars)), list(bars.values()), color=[GREY, ORANGE, GREEN], width=0.6)
        for place, value in enumerate(bars.values()):
            right.text(place, value + 0.01, f"{value:.0%}", ha="center", size=9, color=INK)
        right.set_xticks(range(len(bars)), list(bars))
        right.grid(False, axis="x")
    return fig


def people_and_rufuses(names, taus, overlaps, pleased):
    """Three matrices: annotators (N, N), their Rufuses (N, N), and who is pleased by whom."""
    with style():
        fig, axes = canvas(3.2, columns=3)
        heatmap(axes[0], taus, names, names, signed=True, limit=1)
        heatmap(axes[1], overlaps, names, names, limit=1)
        heatmap(axes[2], pleased, names, names, limit=1)
        titles = ("people: Kendall's tau", "Rufuses: same sentences", "person pleased (column)")
        for ax, title in zip(axes, titles):
            ax.set_title(title, fontsize=9)
            ax.grid(False)
        axes[2].set_ylabel("Rufus taught by", fontsize=8)
    return fig
