"""What a notebook can show: is a kernel there, and a picture as a small PNG.  Lessons use it too.

Nothing here imports Jupyter.
"""

import io
import sys

from minirlhf.plots import CARD

WIDTH = 9.0  # inches
DPI = 100
PIXELS = 1000  # across, at most
COLOURS = 128


def in_kernel():
    """Does a Jupyter kernel run this code?  (Plain IPython in a terminal has no pictures.)"""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


def canvas(height=3.0, rows=1, columns=1, widths=None, heights=None):
    """-> Figure on an opaque light card, list of its axes.  Use it inside `with style():`."""
    from matplotlib.figure import Figure

    fig = Figure(figsize=(WIDTH, height), facecolor=CARD, layout="constrained")
    axes = fig.subplots(rows, columns, squeeze=False, width_ratios=widths,
                        height_ratios=heights)  # (rows, columns)
    return fig, list(axes.ravel())


def png_of(figure):
    """-> bytes of a PNG with at most COLOURS colours: a third of the size, and looks the same."""
    from PIL import Image

    whole, small = io.BytesIO(), io.BytesIO()
    dpi = min(DPI, PIXELS / figure.get_figwidth())
    figure.savefig(whole, format="png", dpi=dpi, facecolor=figure.get_facecolor())
    picture = Image.open(whole).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    picture.save(small, format="png", optimize=True)
    return small.getvalue()
