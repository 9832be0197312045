"""Pictures of lesson 00: next characters, the three steps, sentences along a curve, true or not."""

import numpy as np

from minirlhf.course.drawing import CARD, GREY, INK, WIDTH, canvas, frame, style
from minirlhf.data import encode_prompt
from minirlhf.gpt import gpt_forward, lm_head_forward
from minirlhf.layers import softmax
from minirlhf.plots import BLUE, GREEN, ORANGE, PALE, RED, SKY, percent, text_cells
from minirlhf.rufus.pipeline_picture import arrow, box

# What the gold judge says of an answer: a word, its colour and its hatch.  Never colour alone.
TRUE, FALSE, UNNATURAL = "natural, true", "natural, false", "not natural"
VERDICTS = {TRUE: (BLUE, ""), FALSE: (ORANGE, "//"), UNNATURAL: ("#d0d0d0", "..")}
MARKS = {TRUE: "●", FALSE: "◐", UNNATURAL: "○"}


def verdict(world, answer):
    """World, Answer -> one of the three VERDICTS.  An answer that was cut off is not natural."""
    if world.naturalness(answer.prompt, answer.text, answer.finished) < 1:
        return UNNATURAL
    return TRUE if world.truthful(answer.prompt, answer.text) else FALSE


def next_probabilities(model, question, start, characters):
    """Probability of each of the characters (N) after the first ones of an answer -> (N,)."""
    size, tokenizer = model.config.block_size, model.tokenizer
    ids = encode_prompt(tokenizer, question, size) + tokenizer.encode(start)
    hidden, _ = gpt_forward(model.params, model.config, np.array([ids]))  # (1, T, C)
    logits, _ = lm_head_forward(model.params, hidden)  # (1, T, V)
    return softmax(logits[0, -1])[tokenizer.encode(characters)]


def next_characters(panels, names):
    """panels: list of (title, characters (N), probabilities (2, N)); names of the two models."""
    with style():
        fig, axes = canvas(2.9, columns=len(panels))
        for ax, (title, characters, shares) in zip(axes, panels):
            places = np.arange(len(characters))  # (N,)
            for k, (colour, hatch) in enumerate(((SKY, "//"), (BLUE, ""))):
                moved = places + 0.4 * (k - 0.5)
                ax.bar(moved, shares[k], width=0.38, color=colour, hatch=hatch, edgecolor=CARD,
                       label=names[k])
                for x, share in zip(moved, shares[k]):
                    ax.text(x, share + 0.015, f"{100 * share:.0f}", ha="center", size=8)
            first = ax is axes[0]
            frame(ax, title, "next character", "probability" if first else "", (0, 1.1), True)
            ax.set_xticks(places, ["space" if c == " " else c for c in characters], size=10.5)
        axes[0].legend(frameon=False, fontsize=8.5, loc="upper right")
    return fig


def timeline(names, curves, rows):
    """Time runs downwards.  names (N) of the checkpoints; curves (2, N): naturalness, and the share
    of natural answers; rows: list of (index of a checkpoint, list of (sentence, verdict)).
    """
    with style():
        fig, (left, right) = canvas(4.6, columns=2, widths=(1, 1.5))
        heights = np.arange(len(names))
        looks = (("naturalness", BLUE, "-", "o"), ("share of natural answers", GREEN, "--", "s"))
        for shares, (label, colour, dashes, marker) in zip(curves, looks):
            left.plot(shares, heights, color=colour, linestyle=dashes, marker=marker,
                      markersize=3.5, linewidth=1.6, label=label)
        frame(left, "", "gold judge, mean over the five questions", "")
        left.grid(axis="x", color=PALE, linewidth=0.6)
        shown = [index for index, _ in rows]
        left.set_yticks(shown, [names[index] for index in shown])
        left.set_xlim(0, 1.03)
        left.legend(frameon=False, fontsize=8.5, loc="lower left")
        for index, sentences in rows:
            for column, (sentence, said) in enumerate(sentences):
                marked(right, 0.02 + column / len(sentences), index, sentence, said, 0.038)
        right.set_xlim(0, 1)
        right.axis("off")
        for ax in (left, right):
            ax.set_ylim(len(names) - 0.4, -0.6)
    return fig


def marked(ax, x, y, sentence, said, gap):
    """A sentence at (x, y), after a circle that shows what the gold judge says of it."""
    mark, ink = (GREY, GREY) if said == UNNATURAL else (VERDICTS[said][0], INK)
    ax.text(x, y, MARKS[said], size=10, color=mark, va="center")
    ax.text(x + gap, y, sentence, size=8.6, color=ink, va="center")


def strip(boxes, arrows):
    """What leads from one model to the next.

    boxes: (lines, colour, icon) of pretrained, fine-tuned, reward model, policy; arrows: 3 texts.
    """
    with style():
        fig, (ax,) = canvas(2.9)
        fig.set_layout_engine("none")
        ax.set_position((0, 0, 1, 1))
        ax.set(xlim=(0, WIDTH), ylim=(2.9, 0))
        ax.axis("off")
        width, places = 2.2, ((0.1, 0.25), (3.4, 0.25), (3.4, 1.95), (6.7, 0.25))
        for (lines, colour, icon), (x, y) in zip(boxes, places):
            box(ax, (x, y, width, 0.75), colour, lines, icon)
        across(ax, 2.34, 3.36, 0.62, arrows[0], BLUE)
        arrow(ax, 4.2, 1.0, 0.95, GREEN, arrows[1])
        across(ax, 5.64, 6.66, 0.62, arrows[2], RED)
        ax.annotate("", (7.8, 1.02), (5.62, 2.32), arrowprops={
            "arrowstyle": "-|>", "color": RED, "linewidth": 1.3, "shrinkA": 0, "shrinkB": 1,
            "connectionstyle": "angle,angleA=0,angleB=90"})
        ax.text(5.8, 2.2, "a score for every answer", size=7.6, color=GREY, va="center")
    return fig


def across(ax, x, to_x, y, label, colour):
    """An arrow to the right with its label above."""
    ax.annotate("", (to_x, y), (x, y), arrowprops={
        "arrowstyle": "-|>", "color": colour, "linewidth": 1.3, "shrinkA": 1, "shrinkB": 1})
    ax.text((x + to_x) / 2, y - 0.08, label, size=7.6, color=GREY, ha="center", va="bottom",
            linespacing=1.25)


def wall(questions, names, cells):
    """cells: for each question a list of (sentence, verdict), one for each of the named models."""
    with style():
        fig, (ax,) = canvas(0.45 + 0.37 * len(questions))
        width = 1.0 / (len(names) + 1)
        ax.set(xlim=(0, 1), ylim=(len(questions) + 0.05, -0.75))
        ax.axis("off")
        for column, name in enumerate(names):
            ax.text((column + 1) * width, -0.4, name, size=9.5, va="center")
        for row, (question, line) in enumerate(zip(questions, cells)):
            ax.text(0, row + 0.4, question, size=8.5, va="center", color=GREY)
            ax.axhline(row - 0.1, color=PALE, linewidth=0.6)
            for column, (sentence, said) in enumerate(line):
                marked(ax, (column + 1) * width, row + 0.4, sentence, said, 0.022)
    return fig


def verdict_bars(groups):
    """groups: list of (title, names (M), shares (M, 3) in the order of VERDICTS)."""
    with style():
        fig, axes = canvas(0.75 + 0.42 * max(len(g[1]) for g in groups), columns=len(groups))
        for ax, (title, names, shares) in zip(axes, groups):
            places = np.arange(len(names))
            start = np.zeros(len(names))  # (M,)
            for share, (word, (colour, hatch)) in zip(np.transpose(shares), VERDICTS.items()):
                ax.barh(places, share, left=start, height=0.62, color=colour, hatch=hatch,
                        edgecolor=CARD, label=word)
                for place, value, left in zip(places, share, start):
                    if value >= 0.055:
                        ax.text(left + value / 2, place, percent(value), size=8, ha="center",
                                va="center", color=INK, bbox={
                                    "facecolor": CARD, "edgecolor": "none", "pad": 1.2,
                                    "alpha": 0.9})
                start = start + share
            frame(ax, title, "", "")
            ax.grid(False)
            ax.set(xlim=(0, 1), ylim=(len(names) - 0.5, -0.5))
            ax.set_xticks([])
            ax.set_yticks(places, names if ax is axes[0] else [""] * len(names))
        handles, labels = axes[0].get_legend_handles_labels()
        fig.legend(handles, labels, frameon=False, fontsize=8.5, ncols=3,
                   loc="outside lower center")
    return fig


__all__ = [
    "BLUE", "FALSE", "GREEN", "MARKS", "RED", "TRUE", "UNNATURAL", "VERDICTS", "next_characters",
    "next_probabilities", "percent", "strip", "text_cells", "timeline", "verdict",
    "verdict_bars", "wall",
]
