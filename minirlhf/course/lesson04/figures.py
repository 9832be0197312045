"""Pictures of lesson 04: the logistic curve, the flat valley, Elo paths, orders, a cycle."""

import numpy as np

from minirlhf.course.drawing import CARD, GREY, INK, canvas, frame, lines, style
from minirlhf.plots import BLUE, GREEN, RED, SKY, label_ends

ELO_POINTS = 400 / np.log(10)  # Elo points of one unit of utility
CORNERS = np.array([[0.0, 1.0], [1.5, -0.7], [-1.5, -0.7]])  # of the triangle of answers
CURVES = ((BLUE, "-"), (RED, "--"), (GREEN, "-."))


def to_elo(margin):
    """Difference of utilities -> difference of Elo ratings."""
    return np.asarray(margin) * ELO_POINTS


def from_elo(points):
    """Difference of Elo ratings -> difference of utilities."""
    return np.asarray(points) / ELO_POINTS


def logistic_and_elo(marked):
    """marked (N,) margins, drawn as points with their numbers."""
    x = np.linspace(-4, 4, 161)  # (N,)
    with style():
        fig, (ax,) = canvas(3.4)
        ax.plot(x, 1 / (1 + np.exp(-x)), color=BLUE, linewidth=1.8)
        frame(ax, "", "margin: difference of utilities", "probability of winning", (0, 1), True)
        for margin in marked:
            share = 1 / (1 + np.exp(-margin))
            ax.plot([margin, margin, -4], [0, share, share], color=GREY, linestyle=":", linewidth=1)
            ax.plot(margin, share, "o", color=RED)
            text = f"margin {margin:.2f} = {to_elo(margin):.1f} Elo: {100 * share:.0f} %"
            ax.annotate(text, (margin, share), (9, -9), textcoords="offset points", va="center",
                        bbox={"facecolor": CARD, "edgecolor": "none", "pad": 1})
        ax.set_xlim(-4, 4)
        top = ax.secondary_xaxis("top", functions=(to_elo, from_elo))
        top.set_xlabel("difference of Elo ratings", size=8.5)
        top.tick_params(labelsize=8, colors=GREY, length=2.5)
    return fig


def nll_valley(axis, nll, ridge, moves, curves):
    """axis (G,), nll (G, G) of two utilities, ridge: the best margin; moves (N,), two (N,) curves.

    Left the map for two answers, right two cuts through the NLL of the data.
    """
    with style():
        fig, (left, right) = canvas(3.3, columns=2, widths=(1, 1.15))
        drawn = left.contour(axis, axis, nll, levels=[0.57, 0.6, 0.7, 0.9, 1.2, 1.6, 2.0],
                             colors=GREY, linewidths=1.0)
        left.clabel(drawn, fontsize=8, fmt="%.1f", levels=[0.7, 0.9, 1.2, 1.6, 2.0])
        left.plot(axis + ridge, axis, color=RED, linewidth=1.8, linestyle="--")
        left.text(0.7 + ridge / 2, 0.7 - ridge / 2, f"margin {ridge:.2f}", color=RED, size=8.5,
                  rotation=45, transform_rotates_text=True, rotation_mode="anchor", ha="center",
                  va="center", bbox={"facecolor": CARD, "edgecolor": "none", "pad": 1})
        frame(left, "A beats B in 3 of 4: NLL (nats)", "utility of A", "utility of B")
        left.set(xlim=axis[[0, -1]], ylim=axis[[0, -1]])
        left.grid(False)
        names = ("all 8 move", "one moves")
        kept = [(names[i], curves[i], *CURVES[i]) for i in (0, 1)]
        title, xlabel = "The 50 pairs of the data", "distance from the minimum"
        lines(right, moves, kept, title, xlabel, "NLL (nats)")
    return fig


def elo_trajectories(paths, best):
    """paths: list of (K factor, gap (N,) after each comparison); best: the gap of the fit."""
    with style():
        fig, axes = canvas(3.0, columns=len(paths))
        low = min(float(path.min()) for _, path in paths)
        high = max(float(path.max()) for _, path in paths)
        for ax, (k, path), (colour, _) in zip(axes, paths, CURVES):
            ax.plot(np.arange(1, len(path) + 1), path, color=colour, linewidth=0.9)
            ax.axhline(best, color=INK, linewidth=1.2, linestyle="--")
            ax.text(len(path), best - 0.02 * (high - low), f"fit {best:.0f}", size=8, ha="right",
                    va="top", bbox={"facecolor": CARD, "edgecolor": "none", "pad": 1,
                                    "alpha": 0.85})
            label = "Elo points ahead" if ax is axes[0] else ""
            frame(ax, f"K = {k}", "comparisons seen", label, (low - 20, high + 20))
    return fig


def order_probabilities(orders, shares, fractions):
    """orders: list of 6 names, shares (6,), fractions: list of 6 texts; the best order first."""
    with style():
        fig, (ax,) = canvas(2.6)
        places = np.arange(len(orders))
        ax.bar(places, shares, width=0.62, color=[BLUE] + [SKY] * (len(orders) - 1))
        for place, share, text in zip(places, shares, fractions):
            ax.text(place, share + 0.01, f"{text} = {100 * share:.1f} %", ha="center", size=8.5)
        frame(ax, "", "order, best answer first", "probability", (0, 0.45), True)
        ax.set_xticks(places, orders)
    return fig


def preference_cycle(panels):
    """panels: list of (title, log odds (3, 3), utilities (3,)).  Answers A, B, C in a triangle.

    Grey arrows run from winner to loser with the observed log odds; orange ones show what the
    utilities leave unexplained.
    """
    with style():
        fig, axes = canvas(3.4, columns=len(panels))
        for ax, (title, odds, utilities) in zip(axes, panels):
            ax.set_title(title)
            ax.set(xlim=(-2.1, 2.1), ylim=(-1.45, 1.4), aspect="equal")
            ax.axis("off")
            for i, j in ((0, 1), (1, 2), (2, 0)):
                draw_edge(ax, i, j, odds[i, j], odds[i, j] - (utilities[i] - utilities[j]))
            for name, value, place in zip("ABC", utilities, CORNERS):
                text = f"{name}\n{round(value, 2) + 0.0:.2f}"  # + 0.0: no minus before 0.00
                ax.text(*place, text, ha="center", va="center", size=9, bbox={
                    "boxstyle": "circle,pad=0.35", "facecolor": "white", "edgecolor": INK})
            ax.text(-0.1, -1.36, "grey: seen", color=GREY, size=8.5, ha="right", va="center")
            ax.text(0.1, -1.36, "orange: left over", color=RED, size=8.5, va="center")
    return fig


def draw_edge(ax, i, j, observed, residual):
    """One side of the triangle: the observed log odds outside, the residual inside."""
    winner, loser = (i, j) if observed > 0 else (j, i)
    middle = (CORNERS[i] + CORNERS[j]) / 2
    outward = middle / np.hypot(*middle)
    arrow(ax, CORNERS[winner], CORNERS[loser], 0.0 * outward, GREY, 1.4)
    ax.text(*(middle + 0.3 * outward), f"{abs(observed):.2f}", color=GREY, ha="center",
            va="center", size=9)
    if abs(residual) > 1e-6:
        start, end = (i, j) if residual > 0 else (j, i)
        arrow(ax, CORNERS[start], CORNERS[end], -0.17 * outward, RED, 3 * abs(residual))
    ax.text(*(middle - 0.4 * outward), f"{abs(residual):.2f}", color=RED, ha="center",
            va="center", size=9)


def arrow(ax, start, end, offset, colour, width):
    """An arrow between two corners, moved by offset (2,), that leaves room for the circles."""
    along = end - start
    ax.annotate("", start + 0.74 * along + offset, start + 0.26 * along + offset, arrowprops={
        "arrowstyle": "-|>", "color": colour, "linewidth": width, "shrinkA": 0, "shrinkB": 0})


def utilities_moving(paths, titles, names):
    """paths: list of (N, K) utilities after 0, 1, .. clicks, one panel each; K names."""
    with style():
        fig, axes = canvas(2.9, columns=len(paths))
        reach = 1.1 * max(float(np.abs(path).max()) for path in paths)
        for ax, path, title in zip(axes, paths, titles):
            frame(ax, title, "clicks", "utility" if ax is axes[0] else "", (-reach, reach))
            for k, (colour, dashes) in zip(range(len(names)), CURVES):
                ax.plot(path[:, k], color=colour, linestyle=dashes, linewidth=1.8)
            ax.margins(x=0)
            ends = [(path[-1, k], names[k], CURVES[k][0]) for k in range(len(names))]
            label_ends(ax, ends)
    return fig
