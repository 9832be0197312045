"""Pictures of lesson 02: surprise under each character, losses, masks, the dose of SFT."""

import numpy as np

from minirlhf.course.drawing import CARD, GREY, INK, canvas, frame, style
from minirlhf.plots import BLUE, GREEN, ORANGE, RED, label_ends
from minirlhf.tokenizer import EOS, SPECIALS

TOP = 4.0  # nats at the dark end of the colours; guessing among 49 tokens costs 3.9
STOP, BLANK = "\u25a0", "\u25a1"  # EOS; PAD and BOS


def characters(tokenizer, ids):
    """ids (T,) -> T signs as they are drawn: EOS is a black square, PAD and BOS are white ones."""
    signs = []
    for i in ids:
        special = STOP if i == EOS else BLANK
        sign = special if i < len(SPECIALS) else tokenizer.decode([i])
        signs.append("\u21b5" if sign == "\n" else sign)
    return signs


def responses(tokenizer, tokens, mask, values):
    """tokens (B, T+1), mask and values (B, T) -> list of (signs, values), where the mask is 1."""
    rows = []
    for ids, counted, row in zip(tokens[:, 1:], mask > 0, values):
        rows.append((characters(tokenizer, ids[counted]), row[counted]))
    return rows


# ---- text on colour -------------------------------------------------------------------------


def strips(ax, rows, top=TOP, colours="Blues", size=9.0):
    """rows: list of (N signs, values (N,)): one line of signs each, every sign on its colour."""
    width = max(len(signs) for signs, _ in rows)
    table = np.full((len(rows), width), np.nan)  # (R, width)
    for number, (signs, values) in enumerate(rows):
        table[number, : len(signs)] = values
        for place, (sign, value) in enumerate(zip(signs, values)):
            ink = "white" if np.isfinite(value) and value > 0.6 * top else INK
            ax.text(place, number, sign, ha="center", va="center", size=size, color=ink)
    image = ax.imshow(table, cmap=colours, vmin=0, vmax=top, aspect="auto")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_yticks(np.arange(len(rows) - 1) + 0.5, minor=True)
    ax.grid(axis="y", which="minor", color=CARD, linewidth=4)
    ax.tick_params(which="both", length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return image


def surprise_bar(fig, image, axes):
    """The legend of the colours."""
    bar = fig.colorbar(image, ax=axes, extend="max", shrink=0.9, aspect=12, pad=0.015)
    bar.set_label("surprise (nats)", size=8.5)
    bar.ax.tick_params(labelsize=8, colors=GREY, length=2.5)
    bar.outline.set_visible(False)


def surprise_strips(rows, totals):
    """rows: list of (N signs, values (N,)); totals: their sums in nats, written at the end."""
    with style():
        fig, (ax,) = canvas(0.45 + 0.42 * len(rows))
        width = max(len(signs) for signs, _ in rows)
        image = strips(ax, rows)
        for number, total in enumerate(totals):
            ax.text(width + 2.4, number, f"{total:.1f}", ha="right", va="center", size=9)
        ax.text(width + 2.4, -0.75, "sum", ha="right", va="center", size=8.5, color=GREY)
        ax.set_xlim(-0.5, width + 2.5)
        surprise_bar(fig, image, ax)
    return fig


def sample_panels(panels):
    """panels: list of 4 (title, rows), rows as in `strips`; two by two."""
    with style():
        fig, axes = canvas(0.9 + 0.56 * len(panels[0][1]), 2, 2)
        width = max(len(signs) for _, rows in panels for signs, _ in rows)
        for ax, (title, rows) in zip(axes, panels):
            image = strips(ax, rows, size=8.0)
            ax.set_xlim(-0.5, width - 0.5)
            ax.set_title(title)
        surprise_bar(fig, image, axes)
    return fig


def mask_strips(texts, masks):
    """texts: list of N signs each, padded; masks: list of (title, (B, N) of 0/1), a panel each."""
    with style():
        fig, axes = canvas(0.6 + 0.85 * len(masks) * len(texts) / 3, len(masks))
        for ax, (title, mask) in zip(axes, masks):
            strips(ax, list(zip(texts, mask)), top=2.2, colours="Oranges")
            ax.set_title(title)
    return fig


# ---- curves and points ----------------------------------------------------------------------


def pretraining_loss(losses, held_out, levels, watched):
    """losses (N,) of every training step; held_out: list of (step, loss); levels: nats by name."""
    with style():
        fig, (ax,) = canvas(3.3)
        ax.plot(np.arange(1, len(losses) + 1), losses, color=BLUE, linewidth=0.8, alpha=0.7)
        steps, values = np.array(held_out).T  # (M,) each
        ax.plot(steps, values, color=RED, linestyle="", marker="o", markersize=3.5)
        frame(ax, "", "training step (logarithmic)", "nats per character", (0, 4.2))
        ax.set_xscale("log")
        ax.set_xlim(1, len(losses))
        ends = [(losses[-20:].mean() + 0.05, "training", BLUE),
                (values[-1] - 0.05, "held-out texts", RED)]
        for (name, nats), dashes in zip(levels.items(), (":", "-.", "--")):
            ax.axhline(nats, color=GREY, linewidth=1.1, linestyle=dashes)
            ends.append((nats, f"{name} {nats:.2f}", GREY))
        for step in watched:
            ax.axvline(max(step, 1), color=GREY, linewidth=0.7, linestyle=":")
            ax.annotate(f"samples: {step}", (max(step, 1), 4.2), (2, -3), size=8, color=GREY,
                        textcoords="offset points", va="top",
                        ha="right" if step == watched[-1] else "left")
        label_ends(ax, ends)
    return fig


def sft_dose(counts, panels, start):
    """counts (D,) of demonstrations; panels: list of (title, shares (D, seeds)); start: shares
    of the pretrained model, a dotted line each."""
    with style():
        fig, axes = canvas(3.1, columns=len(panels))
        places = np.arange(len(counts))
        for ax, (title, shares), level, colour in zip(axes, panels, start, (BLUE, GREEN)):
            spread = np.linspace(-0.14, 0.14, shares.shape[1])  # (seeds,)
            ax.axhline(level, color=GREY, linewidth=1.1, linestyle=":")
            ax.plot(places, np.median(shares, axis=1), color=colour, linewidth=1.4)
            for place, row in zip(places, shares):
                ax.plot(place + spread, row, "o", color=colour, markersize=5, alpha=0.75,
                        markeredgecolor=INK, markeredgewidth=0.5)
                ax.text(place, row.max() + 0.04, f"{100 * np.median(row):.0f} %", ha="center",
                        size=8.5)
            frame(ax, title, "demonstrations shown", "", (0, 1.05), True)
            ax.set_xticks(places, counts)
    return fig


def shown_and_said(mixed, own, practised, start):
    """mixed: list of (share natural among what was shown, share natural afterwards); own: list of
    (x, y, name); practised: (x, y, name); start: share of the pretrained model."""
    with style():
        fig, (ax,) = canvas(3.9)
        ax.plot([0, 1], [0, 1], color=GREY, linewidth=1.1, linestyle="--")
        ax.text(0.69, 0.76, "as good as\nwhat was shown", size=8.5, color=GREY, ha="right",
                va="center")
        ax.axhline(start, color=GREY, linewidth=1.1, linestyle=":")
        ax.text(1.0, start + 0.015, f"pretrained: {100 * start:.0f} %", size=8.5, color=GREY,
                ha="right")
        ax.plot(*np.array(mixed).T, "o-", color=BLUE, markersize=7, linewidth=1.2)
        ax.annotate("SFT on demonstrations,\nsome with faults", mixed[3], (8, -6), size=8.5,
                    textcoords="offset points", color=BLUE, va="top")
        for x, y, name in own:
            ax.plot(x, y, "s", color=ORANGE, markersize=8, markeredgecolor=INK)
            ax.annotate(name, (x, y), (-9, 0), textcoords="offset points", size=8.5, ha="right",
                        va="center")
        x, y, name = practised
        ax.plot(x, y, "*", color=RED, markersize=17, markeredgecolor=INK)
        ax.annotate(name, (x, y), (12, 2), textcoords="offset points", size=8.5, color=RED,
                    va="center")
        frame(ax, "", "natural answers among those shown", "natural answers afterwards", (0, 1),
              True)
        ax.set_xlim(-0.02, 1.02)
        ax.xaxis.set_major_formatter(ax.yaxis.get_major_formatter())
    return fig
