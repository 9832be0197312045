"""The parts that the lessons' pictures share.  Colours, fonts and style come from plots.py."""

import numpy as np

from minirlhf.plots import CARD, GREY, INK, frame, style, visible
from minirlhf.teach.show import WIDTH, canvas


def heatmap(ax, values, row_labels, column_labels, signed=False, digits=2, limit=None):
    """Draw a matrix (R, C) with its values printed; signed: white is 0."""
    values = np.asarray(values, float)  # (R, C)
    top = limit if limit is not None else float(np.abs(values).max() or 1)
    colours = "RdBu" if signed else "cividis"
    ax.imshow(values, cmap=colours, vmin=-top if signed else 0, vmax=top, aspect="auto")
    ax.set_xticks(range(values.shape[1]), [visible(label) for label in column_labels])
    ax.set_yticks(range(values.shape[0]), [visible(label) for label in row_labels])
    ax.tick_params(labelsize=8, colors=GREY, length=0)
    for (row, column), value in np.ndenumerate(values):
        share = abs(value) / top
        dark = share > 0.6 if signed else share < 0.55
        colour = "white" if dark else INK
        ax.text(column, row, f"{value:.{digits}f}", ha="center", va="center", size=7, color=colour)
    for spine in ax.spines.values():
        spine.set_visible(False)


def lines(ax, x, curves, title="", xlabel="", ylabel=""):
    """curves: list of (label, values (N,), colour, linestyle), each labelled at its right end."""
    for label, values, colour, linestyle in curves:
        ax.plot(x, values, color=colour, linestyle=linestyle, linewidth=1.6)
        ax.annotate(
            label, (x[-1], values[-1]), (4, 0), textcoords="offset points", va="center",
            size=8, color=colour, annotation_clip=False,
        )
    frame(ax, title, xlabel, ylabel)


__all__ = ["CARD", "GREY", "INK", "WIDTH", "canvas", "frame", "heatmap", "lines", "style"]
