"""Pictures of lesson 01: where heads look, a slope, the V of the nudge, the graph, the ladder."""

import numpy as np

from minirlhf.course.drawing import CARD, GREY, INK, canvas, frame, style
from minirlhf.plots import BLUE, GREEN, PALE, RED, SKY, visible

TOLERANCE = 1e-6  # largest relative error that passes
FLOOR = 1e-16  # where an error of exactly 0 is drawn
# name -> (column, row) of its box: the upper row runs to the right, the lower one back to the left
PLACES = {
    "x0": (0, 0), "ln1": (1, 0), "qkv": (2, 0), "q": (3, -0.8), "k": (3, 0), "v": (3, 0.8),
    "scores": (4, -0.4), "probs": (5, -0.4), "mix": (6, 0), "proj": (7, 0), "x1": (8, 0),
    "ln2": (8, 2.05), "fc": (7, 2.05), "gelu": (6, 2.05), "out": (5, 2.05), "x2": (4, 2.05),
    "hidden": (3, 2.05), "logits": (2, 2.05), "loss": (1, 2.05),
}
ARROWS = (
    ("x0", "ln1"), ("ln1", "qkv"), ("qkv", "q"), ("qkv", "k"), ("qkv", "v"), ("q", "scores"),
    ("k", "scores"), ("scores", "probs"), ("probs", "mix"), ("v", "mix"), ("mix", "proj"),
    ("proj", "x1"), ("x1", "ln2"), ("ln2", "fc"), ("fc", "gelu"), ("gelu", "out"), ("out", "x2"),
    ("x2", "hidden"), ("hidden", "logits"), ("logits", "loss"),
)
BOX = (0.74, 0.62)  # width and height


def attention_rows(probs, readers, seen):
    """probs (L, H, R, T): how much each of R reading characters looks at each of T characters."""
    n_layer, n_head, R, T = probs.shape
    with style():
        fig, axes = canvas(2.35 * n_layer, n_layer, n_head)
        for ax, shares, (layer, head) in zip(
            axes, probs.reshape(-1, R, T), np.ndindex(n_layer, n_head)
        ):
            future = np.triu(np.ones((R, T), bool), T - R + 1)
            drawn = ax.imshow(np.ma.masked_array(shares, future), cmap="cividis", vmin=0, vmax=1,
                              aspect="auto")
            ax.set_title(f"layer {layer + 1}, head {head + 1}", size=8.5)
            ax.set_xticks(range(T), [visible(char) for char in seen], size=7.5)
            ax.set_yticks(range(R), [visible(char) for char in readers], size=7.5)
            ax.tick_params(length=0, pad=2, colors=INK)
            ax.spines[:].set_visible(False)
            ax.axvline(T - R - 0.5, color="white", linewidth=1.2)
        for ax in axes[-n_head:]:
            ax.set_xlabel("looks at")
        for ax in axes[::n_head]:
            ax.set_ylabel("reads")
        bar = fig.colorbar(drawn, ax=axes, fraction=0.025, aspect=35, pad=0.01)
        bar.set_label("share of attention", size=8)
        bar.outline.set_visible(False)
    return fig


def probability_and_slope(names, probs, slopes):
    """names: K characters, probs (K,), slopes (K,) of the loss along their logits."""
    places = np.arange(len(names))
    with style():
        fig, (left, right) = canvas(2.5, columns=2)
        for ax, values, title, colours in (
            (left, probs, "p: probability of the next character", [SKY] * len(names)),
            (right, slopes, "slope of the loss along its logit",
             [RED if slope > 0 else BLUE for slope in slopes]),
        ):
            ax.bar(places, values, color=colours, width=0.62)
            for place, value in zip(places, values):
                offset, side = ((0, 2), "bottom") if value >= 0 else ((0, -2), "top")
                ax.annotate(f"{value:.3f}", (place, value), offset, ha="center", va=side, size=8,
                            textcoords="offset points")
            frame(ax, title, "", "", (min(0, 1.25 * values.min()), 1.15 * values.max() + 0.03))
            ax.set_xticks(places, [visible(name) for name in names])
            ax.axhline(0, color=INK, linewidth=0.8)
    return fig


def v_curves(nudges, curves):
    """nudges (N,), curves: list of (label, relative errors (N,), place (x, y) of the label)."""
    with style():
        fig, (ax,) = canvas(3.5)
        looks = ((BLUE, "-", "o"), (RED, "--", "s"), (GREEN, "-.", "^"))
        for (label, errors, place), (colour, dashes, marker) in zip(curves, looks):
            ax.loglog(nudges, np.maximum(errors, FLOOR), color=colour, linestyle=dashes,
                      marker=marker, markersize=3, linewidth=1.4)
            ax.text(*place, label, color=colour, size=9)
        pass_band(ax.axhspan)
        ax.set_xlabel("nudge h")
        ax.set_ylabel("relative error of the slopes")
        ax.grid(color=PALE, linewidth=0.6)
        ax.set_ylim(1e-13, 30)
        ax.set_xlim(nudges.min() / 1.5, nudges.max() * 1.5)
        for axis, powers in ((ax.xaxis, range(-13, 0, 2)), (ax.yaxis, range(-12, 1, 3))):
            axis.set_ticks([10.0**power for power in powers],
                           [f"1e{power}" if power else "1" for power in powers])
        for x, text in ((2e-13, "round-off"), (2e-2, "too far apart")):
            ax.text(x, 3, text, size=8.5, color=GREY, ha="left" if x < 1e-6 else "center")
    return fig


def pass_band(span):
    """Shade what passes.  span: ax.axhspan or ax.axvspan."""
    span(FLOOR / 10, TOLERANCE, color=GREEN, alpha=0.13, linewidth=0)


def computation_graph(shapes, letters):
    """shapes {name: shape} in forward order, letters {size: letter}: every box of the forward pass.

    Each box: forward number (left, blue), backward number (right, orange), name, shape.
    """
    names = [*shapes, "loss"]
    with style():
        fig, (ax,) = canvas(3.9)
        ax.set(xlim=(-0.5, 8.5), ylim=(2.75, -1.45))
        ax.axis("off")
        for start, end in ARROWS:
            both_ways(ax, PLACES[start], PLACES[end])
        skip(ax, [(0, -0.31), (0, -1.3), (8, -1.3), (8, -0.31)])
        skip(ax, [(8.25, 0.31), (8.25, 1.35), (4, 1.35), (4, 1.74)])
        for number, name in enumerate(names, start=1):
            shape = shapes.get(name, ())
            text = " ".join(letters[size] for size in shape) or "1 number"
            graph_box(ax, name, text, number, len(names))
        ax.text(0.1, -1.36, "residual: x0 is added to proj", size=8, color=GREY, va="bottom")
        ax.text(5.9, 1.3, "residual: x1 is added to out", size=8, color=GREY, va="bottom")
        ax.text(-0.45, 1.3, "blue: order of the forward pass", color=BLUE, size=8.5)
        ax.text(-0.45, 1.52, "orange: order of the backward pass", color=RED, size=8.5)
    return fig


def graph_box(ax, name, shape, number, count):
    """One box, shaded by its place in the forward order."""
    (x, y), (width, height) = PLACES[name], BOX
    xs = x + width / 2 * np.array([-1, 1, 1, -1])
    ys = y + height / 2 * np.array([-1, -1, 1, 1])
    ax.fill(xs, ys, facecolor=CARD, edgecolor=INK, linewidth=0.9, zorder=2)
    ax.fill(xs, ys, color=SKY, alpha=0.1 + 0.55 * number / count, linewidth=0, zorder=2.5)
    ax.text(x, y + 0.02, name, ha="center", va="center", size=9, zorder=3)
    ax.text(x, y + 0.29, shape, ha="center", va="bottom", size=7.5, color=INK, zorder=3)
    ax.text(x - 0.35, y - 0.18, str(number), size=7, color=BLUE, zorder=3, va="center")
    back = str(count + 1 - number)
    ax.text(x + 0.35, y - 0.18, back, size=7, color=RED, ha="right", zorder=3, va="center")


def both_ways(ax, start, end):
    """A blue arrow forwards and beside it an orange dashed one backwards, between two boxes."""
    start, end = np.array(start, float), np.array(end, float)
    along = (end - start) / np.hypot(*(end - start))
    reach = np.array(BOX) / 2
    edge = along * min(reach / np.maximum(np.abs(along), 1e-9)) * 1.03
    beside = 0.07 * np.array([-along[1], along[0]])
    for a, b, colour, dashes in (
        (start + edge + beside, end - edge + beside, BLUE, "-"),
        (end - edge - beside, start + edge - beside, RED, "--"),
    ):
        ax.annotate("", b, a, arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 1.0,
                    "linestyle": dashes, "mutation_scale": 7, "shrinkA": 0, "shrinkB": 0})


def skip(ax, corners):
    """The way around a half of the block: a line through the corners, with an arrow head."""
    xs, ys = zip(*corners)
    ax.plot(xs, ys, color=GREY, linewidth=1.3, zorder=1)
    ax.annotate("", corners[-1], corners[-2], arrowprops={
        "arrowstyle": "-|>", "color": GREY, "linewidth": 1.3, "mutation_scale": 9, "shrinkA": 0,
        "shrinkB": 0})


def ladder(rungs, weights, title):
    """rungs {name: relative error}, loss side first; weights {name: relative error}."""
    with style():
        fig, axes = canvas(4.3, columns=2)
        for ax, errors, what in zip(axes, (rungs, weights), ("intermediates", "parameters")):
            names = list(errors)
            values = np.clip([errors[name] for name in names], FLOOR, 10)  # (N,)
            heights = np.arange(len(names))
            failed = values > TOLERANCE  # (N,)
            pass_band(ax.axvspan)
            ax.hlines(heights, FLOOR / 10, values, color=PALE, linewidth=1.5)
            ax.plot(values[~failed], heights[~failed], "o", color=BLUE, markersize=5)
            ax.plot(values[failed], heights[failed], "X", color=RED, markersize=7.5)
            ax.set(xscale="log", xlim=(FLOOR / 3, 100), ylim=(len(names) - 0.4, -0.6))
            ax.set_yticks(heights, names, size=8)
            for label, bad in zip(ax.get_yticklabels(), failed):
                label.set_color(RED if bad else INK)
            powers = np.arange(-16, 3, 4)
            ax.set_xticks(10.0**powers, [f"1e{power}" if power else "1" for power in powers])
            ax.tick_params(length=0)
            ax.set_xlabel("relative error")
            ax.set_title(f"{what}: {failed.sum()} of {len(names)} fail")
            ax.text(TOLERANCE / 2, -0.15, "passes", size=8, color=GREEN, ha="right", va="center")
        fig.suptitle(title, size=10, x=0.01, ha="left")
    return fig


def loss_curves(curves, right, floor):
    """curves {name: losses (N,)}; right: the name of the unbroken one; floor: the lowest loss."""
    with style():
        fig, (ax,) = canvas(3.0)
        for name, losses in curves.items():
            if name != right:
                ax.plot(losses, color=RED, linewidth=0.8)
        ax.plot(curves[right], color=BLUE, linewidth=2.0, linestyle="--")
        ax.axhline(floor, color=INK, linewidth=1, linestyle=":")
        frame(ax, "", "updates", "loss", (0, 1.05 * max(map(max, curves.values()))))
        ax.margins(x=0)
        middle = len(curves[right]) // 2
        high = max(losses[middle] for losses in curves.values())
        ax.text(middle, high + 0.05, "orange: one line broken", color=RED, size=9)
        ax.text(middle, high + 0.25, "blue, dashed: nothing broken", color=BLUE, size=9)
        ax.text(1, floor - 0.03, f"no model gets below {floor:.3f}", size=8.5, va="top")
    return fig
