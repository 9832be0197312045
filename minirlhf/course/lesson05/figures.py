"""Pictures of lesson 05: learning, calibration, agreement, where it decides, what changes it."""

import numpy as np

from minirlhf.course.drawing import CARD, GREY, INK, canvas, frame, style
from minirlhf.plots import BLUE, GREEN, ORANGE, PURPLE, RED, SKY, label_ends, visible

DASHES = ("-", "--", "-.")
KINDS = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "^"), (RED, "D"), (PURPLE, "v"), (SKY, "P"))
BOX = {"facecolor": CARD, "edgecolor": "none", "pad": 1}


def learning_curve(runs, other, ceiling):
    """runs, other: lists of (M, 2) arrays, pairs seen and accuracy; ceiling: a share.

    A thin line for each run, a thick one for their mean; `other` is drawn dashed.
    """
    with style():
        fig, (ax,) = canvas(3.4)
        frame(ax, "", "pairs seen, each once (logarithmic)", "held-out pair accuracy", (0.45, 0.9),
              True)
        ax.set_xscale("log")
        ends = [(ceiling, f"Bayes ceiling {100 * ceiling:.0f} %", INK), (0.5, "guessing", GREY)]
        for curves, name, colour, dash in ((runs, "pretrained trunk", BLUE, "-"),
                                           (other, "random trunk", RED, "--")):
            for curve in curves if len(curves) > 1 else ():
                ax.plot(*curve.T, color=colour, linewidth=0.8, alpha=0.5)
            mean = np.mean(curves, axis=0)  # (M, 2)
            ax.plot(*mean.T, color=colour, linestyle=dash, marker="o", markersize=4)
            ends.append((mean[-1, 1], name, colour))
        ax.axhline(ceiling, color=INK, linewidth=1.2, linestyle="-.")
        ax.axhline(0.5, color=GREY, linewidth=1.2, linestyle=":")
        ax.margins(x=0.02)
        ax.set_xticks([100, 300, 1000, 3000], ["100", "300", "1,000", "3,000"])
        ax.set_xticks([], minor=True)
        label_ends(ax, ends)
    return fig


def reliability(curves):
    """curves: list of (name, said (S, M), seen (S, M), n (S, M)): S runs, M groups of pairs."""
    with style():
        fig, axes = canvas(3.5, columns=len(curves))
        for ax, (name, said, seen, n), colour in zip(axes, curves, (BLUE, RED)):
            label = "share that happened" if ax is axes[0] else ""
            frame(ax, name, "probability that the model gives its favourite", label, (0.4, 1.02),
                  True)
            ax.plot([0.5, 1], [0.5, 1], color=GREY, linestyle=":", linewidth=1.2)
            ax.text(1, 0.44, "dotted: as promised", color=GREY, size=8, ha="right")
            for x, y in zip(said, seen):
                ax.plot(x, y, color=colour, linewidth=0.7, alpha=0.5)
            x, y = np.nanmean(said, axis=0), np.nanmean(seen, axis=0)  # (M,)
            error = 2 * np.sqrt(y * (1 - y) / n.mean(axis=0))  # (M,)
            ax.errorbar(x, y, error, color=colour, marker="o", linewidth=1.6, capsize=3)
            ax.set_xlim(0.48, 1.02)
            ax.xaxis.set_major_formatter(ax.yaxis.get_major_formatter())
    return fig


def score_and_naturalness(panels):
    """panels: list of (title, naturalness (N,), scores (N,), kinds: N names); a colour per kind."""
    with style():
        fig, axes = canvas(3.6, columns=len(panels))
        for ax, (title, gold, scores, kinds) in zip(axes, panels):
            ylabel = "score of the reward model" if ax is axes[0] else ""
            frame(ax, title, "true naturalness (gold judge)", ylabel)
            names = sorted(set(kinds))
            for name, (colour, marker) in zip(names, KINDS):
                mine = np.array([kind == name for kind in kinds])  # (N,)
                ax.scatter(gold[mine], scores[mine], s=13, color=colour, marker=marker,
                           linewidths=0, label=name)
            ax.legend(fontsize=7.5, ncols=2, loc="upper left", frameon=False, handletextpad=0.1,
                      columnspacing=0.6)
            ax.set_ylim(top=scores.max() + 0.3 * np.ptp(scores))
    return fig


def along_the_sentence(panels):
    """panels: list of (characters: T texts, S runs (S, T) of the score if it ended there)."""
    with style():
        fig, axes = canvas(1.65 * len(panels), rows=len(panels))
        low = min(float(scores.min()) for _, scores in panels) - 0.2
        high = max(float(scores.max()) for _, scores in panels) + 0.2
        for ax, (characters, scores) in zip(axes, panels):
            x = np.arange(len(characters))
            frame(ax, "", "", "score", (low, high))
            ax.plot(x, scores.T, color=BLUE, linewidth=0.7, alpha=0.5)
            mean = scores.mean(axis=0)  # (T,)
            ax.plot(x, mean, color=BLUE, marker="o", markersize=4, linewidth=1.8)
            ax.axhline(0, color=GREY, linewidth=1, linestyle=":")
            ax.set_xticks(x, [visible(c) for c in characters], size=10, color=INK)
            ax.set_xlim(-0.5, len(x) - 0.5)
            ax.annotate(f"{mean[-1]:.2f}", (x[-1], mean[-1]), (0, 9), ha="center", size=8.5,
                        textcoords="offset points", bbox=BOX)
    return fig


def counterfactual_bars(names, scores, gold):
    """names: N changes, scores (S, N) change of the score in S runs, gold (N,) of naturalness."""
    with style():
        fig, (left, right) = canvas(3.6, columns=2, widths=(1.25, 1))
        places = np.arange(len(names))[::-1]
        mean = scores.mean(axis=0)  # (N,)
        for ax, values, title in ((left, mean, "Change of the score (reward model)"),
                                  (right, gold, "Change of the true naturalness")):
            colours = [BLUE if value >= 0 else RED for value in values]
            ax.barh(places, values, height=0.62, color=colours, alpha=0.85)
            ax.axvline(0, color=INK, linewidth=0.8)
            frame(ax, title)
            ax.grid(False)
            ax.grid(axis="x", color="#dddddd", linewidth=0.6)
            ax.set_yticks(places, names if ax is left else [""] * len(names), size=9, color=INK)
            low, high = min(values.min(), 0), max(values.max(), 0)
            room = 0.24 * (high - low)
            ax.set_xlim(low - room, high + room)
            ends = (scores.min(axis=0), scores.max(axis=0)) if ax is left else (gold, gold)
            for place, value, lowest, highest in zip(places, values, *ends):
                text = f"{value:+.2f}" if round(value, 2) else "0"
                side, end = (1, max(value, highest)) if value >= 0 else (-1, min(value, lowest))
                ax.annotate(text, (end, place), (6 * side, 0), va="center", size=8,
                            textcoords="offset points", ha="left" if side > 0 else "right")
        for row in scores:
            left.plot(row, places, "o", color=INK, markersize=3, zorder=3)
    return fig


def ranking_of_twenty(sentences, scores, gold, chosen, score):
    """sentences: N texts, scores (N,), gold (N,); the chosen text with its score among them."""
    names, heights = [*sentences, f"yours: {chosen}"], np.append(scores, score)  # (N+1,)
    with style():
        fig, (ax,) = canvas(4.4)
        order = np.argsort(-heights, kind="stable")
        for place, i in enumerate(order):
            mine = i == len(sentences)
            ax.barh(-place, heights[i], height=0.7, color=RED if mine else SKY)
            natural = "" if mine else f"naturalness {gold[i]:.2f}"
            ax.annotate(natural, (1.01, -place), xycoords=("axes fraction", "data"), size=7.5,
                        va="center", color=GREY, annotation_clip=False)
        labels = [f"{names[i]}  {heights[i]:+.2f}" for i in order]
        frame(ax, "", "score")
        ax.grid(False)
        ax.axvline(0, color=INK, linewidth=0.8)
        ax.set_yticks(-np.arange(len(order)), labels, size=8, color=INK)
        for tick, i in zip(ax.get_yticklabels(), order):
            if i == len(sentences):
                tick.set_color(RED)
        ax.set_ylim(-len(order) + 0.4, 0.6)
    return fig
