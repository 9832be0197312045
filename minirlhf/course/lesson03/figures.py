"""Pictures of lesson 03: scores and ranks per annotator, agreement, and which labels serve best."""

import numpy as np

from minirlhf.course.drawing import GREY, INK, canvas, frame, heatmap, style
from minirlhf.plots import BLUE, GREEN, ORANGE, PURPLE, RED, label_ends

PEOPLE = ((BLUE, "-", "o"), (ORANGE, "--", "s"), (GREEN, "-.", "^"), (RED, ":", "D"),
          (PURPLE, (0, (5, 1, 1, 1, 1, 1)), "v"))
WAYS = (("mean score", RED, "--", "s"), ("z-scored", BLUE, "-", "o"),
        ("wins (ranks)", GREEN, "-.", "^"))


def scores_and_ranks(levels, points, places, names):
    """levels (L,) of naturalness; mean score and mean rank at each level: both (A, L)."""
    with style():
        fig, axes = canvas(2.75, columns=2)
        titles = ("The scores they give (1 to 7)", "The ranks they give (1 is best)")
        for ax, values, title in zip(axes, (points, places), titles):
            for row, (colour, dashes, marker) in zip(values, PEOPLE):
                ax.plot(levels, row, color=colour, linestyle=dashes, marker=marker, markersize=3,
                        linewidth=1.5)
            frame(ax, title, "true naturalness", "")
            ax.margins(x=0.02)
        axes[0].set_ylim(0.8, 7.2)
        axes[1].invert_yaxis()
        label_ends(axes[0], [(row[-1], name, PEOPLE[i][0])
                             for i, (row, name) in enumerate(zip(points, names))])
    return fig


def agreement(tables, titles, names):
    """tables: list of (A, A) between 0 and 1, drawn side by side."""
    with style():
        fig, axes = canvas(2.5, columns=len(tables))
        for number, (ax, table, title) in enumerate(zip(axes, tables, titles)):
            heatmap(ax, table, names if number == 0 else [""] * len(names), names, limit=1.0)
            ax.set_title(title)
            ax.tick_params(axis="x", labelrotation=35)
    return fig


def learning_curves(labels, panels, columns=2):
    """labels (L,); panels: list of (title, shares (seeds, L, 3), crossing or None).

    Lines are means over the seeds, bars run from the 10th to the 90th percentile.
    """
    rows = -(-len(panels) // columns)
    with style():
        fig, axes = canvas(0.5 + 1.7 * rows, rows=rows, columns=columns)
        for number, (ax, (title, shares, crossing)) in enumerate(zip(axes, panels)):
            for way, (name, colour, dashes, marker) in enumerate(WAYS):
                place = np.array(labels) * (1.04 ** (way - 1))  # side by side, on a log axis
                draw_spread(ax, place, shares[:, :, way], colour, dashes, marker)
            last = number >= len(panels) - columns
            share = "pairs in the right order" if number % columns == 0 else ""
            frame(ax, title, "labels" if last else "", share, (0.55, 1.005), True)
            ax.set_xscale("log")
            ax.set_xticks(labels, [str(n) for n in labels])
            ax.minorticks_off()
            if crossing is not None:
                ax.axvline(crossing, color=GREY, linestyle=":", linewidth=1)
            ends = [(shares[:, -1, i].mean(), WAYS[i][0], WAYS[i][1]) for i in range(3)]
            label_ends(ax, ends)
    return fig


def draw_spread(ax, x, table, colour, dashes, marker):
    """table (seeds, N): its mean as a line, its 10th to 90th percentile as thin bars."""
    ax.plot(x, table.mean(axis=0), color=colour, linestyle=dashes, marker=marker, markersize=3,
            linewidth=1.6)
    low, high = np.percentile(table, [10, 90], axis=0)  # (N,) each
    ax.vlines(x, low, high, color=colour, linewidth=0.7, antialiased=False)


def sweep(spreads, panels, house):
    """spreads (N,); panels: list of (title, xlabel, shares (seeds, N, 3)); house: marked on x."""
    with style():
        fig, axes = canvas(2.6, columns=len(panels))
        for number, (ax, (title, xlabel, shares)) in enumerate(zip(axes, panels)):
            for way, (name, colour, dashes, marker) in enumerate(WAYS):
                place = np.array(spreads) + 0.04 * (way - 1)  # side by side
                draw_spread(ax, place, shares[:, :, way], colour, dashes, marker)
            share = "pairs in the right order" if number == 0 else ""
            frame(ax, title, xlabel, share, (0.55, 1.005), True)
            if number == 0:
                ax.axvline(house, color=GREY, linestyle=":", linewidth=1)
                ax.text(house + 0.03, 0.56, "the package's people", color=INK, size=8)
            ends = [(shares[:, -1, i].mean(), WAYS[i][0], WAYS[i][1]) for i in range(3)]
            label_ends(ax, ends)
    return fig
