"""Pictures of lesson 06: objective and ratio, two tokens, one batch, the grid, three bugs."""

import numpy as np

from minirlhf.course.drawing import GREY, canvas, frame, style
from minirlhf.plots import BLUE, GREEN, ORANGE, RED, SKY, label_ends

LINES = ((BLUE, "-"), (RED, "--"), (GREEN, "-."), (ORANGE, ":"))


# ---- two tokens -----------------------------------------------------------------------------


def objective(ax, advantage, clip_range, ratios, names):
    """One panel: the two sides of the min against the ratio, and this batch's ratios as a rug."""
    end = max(2.5, 1.15 * max(ratios))
    r = np.linspace(0, end, 251)  # (N,)
    held = np.clip(r, 1 - clip_range, 1 + clip_range) * advantage  # (N,)
    ax.plot(r, r * advantage, color=GREY, linestyle="--", linewidth=1.1)
    ax.plot(r, held, color=SKY, linestyle="-.", linewidth=1.6)
    ax.plot(r, np.minimum(r * advantage, held), color=BLUE, linewidth=3, alpha=0.75)
    frame(ax, f"A = {advantage:+.2g}", "ratio", "")
    low, high = min(0, end * advantage) - 0.25, max(0, end * advantage) + 0.25
    ax.set(xlim=(0, end), ylim=(low, high))
    if np.isfinite(clip_range):
        ax.axvspan(1 - clip_range, 1 + clip_range, color=SKY, alpha=0.15, linewidth=0)
    for k, (ratio, name) in enumerate(zip(ratios, names)):
        inside = np.clip(ratio, 1 - clip_range, 1 + clip_range) * advantage
        value = min(ratio * advantage, inside)
        ax.plot([ratio, ratio], [low, low + 0.08 * (high - low)], color=RED, linewidth=2)
        ax.plot(ratio, value, "os"[k % 2], color=RED, markersize=6)
        ax.annotate(name, (ratio, value), (0, -11), textcoords="offset points", size=8,
                    color=RED, ha="center", va="center")


def objective_and_ratio(clip_range, ratios, names):
    """ratios: for A = +1 and for A = -1, the ratios of this batch (N,); names: N labels."""
    with style():
        fig, axes = canvas(3.1, columns=2)
        for ax, advantage, mine in zip(axes, (1.0, -1.0), ratios):
            objective(ax, advantage, clip_range, mine, names)
        axes[0].set_ylabel("objective of one token")
        words = ((0, 1.15, 2.0, "ratio × A", GREY), (0, 0.05, 0.88, "clipped", SKY),
                 (0, 0.42, 0.1, "min of both", BLUE), (1, 0.4, -0.3, "ratio × A", GREY),
                 (1, 2.0, -1.12, "clipped", SKY), (1, 1.4, -2.1, "min of both", BLUE))
        for panel, x, y, text, colour in words:
            axes[panel].text(x, y, text, color=colour, size=8.5)
    return fig


def two_token_paths(panels, names):
    """panels: list of (title, list of (label, path (N,), target or None)): P(token 0) by update."""
    with style():
        fig, axes = canvas(3.0, columns=len(panels))
        for ax, (title, runs) in zip(axes, panels):
            frame(ax, title, "updates", f"probability of {names[0]}", (0, 1.03), True)
            labels = []
            for (label, path, target), (colour, dashes) in zip(runs, LINES):
                ax.plot(path, color=colour, linestyle=dashes, linewidth=1.8)
                labels.append((path[-1], label, colour))
                if target is not None:
                    ax.axhline(target, color=colour, linestyle=":", linewidth=0.9)
            ax.margins(x=0)
            label_ends(ax, labels)
    return fig


def two_token_step(state, names):
    """One moment of the two-token world.

    state: "policy", "reference", "target" (2,); "ratios", "advantages" (2,); "clip_range";
    "path" (N,) of P(token 0) so far, "steps" the length of the axis.
    """
    with style():
        fig, (bars, plus, minus, line) = canvas(2.9, columns=4, widths=(1, 1, 1, 1.1))
        frame(bars, "probabilities", "", "", (0, 1.03), True)
        for k, (key, colour) in enumerate((("reference", GREY), ("policy", BLUE), ("target", SKY))):
            places = np.arange(2) + 0.27 * (k - 1)  # (2,)
            bars.bar(places, state[key], width=0.25, color=colour, label=key)
        bars.set_xticks([0, 1], names)
        bars.legend(fontsize=7, frameon=False, loc="upper center")
        for ax, token in ((plus, 0), (minus, 1)):
            advantage = float(state["advantages"][token])
            objective(ax, advantage, state["clip_range"], [state["ratios"][token]], [""])
            ax.set_title(f"{names[token]}: A = {advantage:+.2f}")
        frame(line, f"probability of {names[0]}", "updates", "", (0, 1.03), True)
        line.plot(state["path"], color=BLUE, linewidth=1.8)
        line.plot(len(state["path"]) - 1, state["path"][-1], "o", color=BLUE)
        line.axhline(state["target"][0], color=SKY, linestyle="--", linewidth=1.2)
        line.set_xlim(0, state["steps"])
    return fig


# ---- Rufus ----------------------------------------------------------------------------------


def one_batch(ratios, clip_range, curves):
    """ratios: one (N,) per epoch, at its start; curves: list of (label, kl (E,), outside (E,)).

    Left the ratios of one rollout, epoch by epoch; right what the same batch does for longer.
    """
    edges = np.linspace(0, 2, 41)  # (41,)
    with style():
        fig, axes = canvas(3.4, columns=3, widths=(1.35, 1, 1))
        left = axes[0]
        for k, row in enumerate(ratios):
            counts, _ = np.histogram(np.clip(row, 0, 2), edges)
            height = 0.85 * np.log10(1 + counts) / np.log10(1 + len(row))  # (40,)
            base = len(ratios) - 1 - k
            left.bar(edges[:-1], height, width=np.diff(edges), bottom=base, align="edge",
                     color=BLUE, linewidth=0)
            out = np.mean(np.abs(row - 1) > clip_range)
            left.text(2.03, base + 0.2, f"{100 * out:.0f} % outside", size=8, color=RED)
        left.axvspan(1 - clip_range, 1 + clip_range, color=SKY, alpha=0.18, linewidth=0)
        frame(left, "ratios at the start of each epoch (log height)", "ratio", "")
        names = [f"epoch {k}" for k in range(len(ratios), 0, -1)]
        left.set_yticks(range(len(ratios)), names)
        left.grid(False)
        left.set_xlim(0, 2)
        panels = ((axes[1], "KL(old to new), nats per token", 1, False),
                  (axes[2], "tokens outside the range", 2, True))
        for ax, title, column, share in panels:
            frame(ax, title, "epochs on one batch", "", None, share)
            labels = []
            for run, (colour, dashes) in zip(curves, LINES):
                ax.plot(run[column], color=colour, linestyle=dashes, linewidth=1.8)
                labels.append((run[column][-1], run[0], colour))
            ax.axvline(4, color=GREY, linestyle=":", linewidth=1)
            ax.margins(x=0)
            ax.set_xticks(range(0, len(run[column]), 4))
            label_ends(ax, labels)
    return fig


def ablation_grid(grid, clips, coefs, parts=4):
    """grid: {(clip name, KL coefficient): history}.  One panel for each clip, arrows in time.

    Each arrow joins means over a quarter of the iterations: naturalness against KL.
    """
    with style():
        fig, axes = canvas(3.3, columns=len(clips))
        for ax, clip in zip(axes, clips):
            frame(ax, f"clip {clip}", "KL, nats per response (log)", "", (0.2, 1.02))
            for coef, (colour, dashes), marker in zip(coefs, LINES, "os^D"):
                kl, natural = quarters(grid[clip, coef], parts)
                ax.plot(kl, natural, color=colour, linestyle=dashes, linewidth=1.2)
                ax.plot(kl[-1], natural[-1], marker, color=colour, markersize=7,
                        label=f"{coef:g}")
                for k in range(len(kl) - 1):
                    ax.annotate("", (kl[k + 1], natural[k + 1]), (kl[k], natural[k]), arrowprops={
                        "arrowstyle": "-|>", "color": colour, "linewidth": 0.8,
                        "shrinkA": 0, "shrinkB": 3})
            ax.set_xscale("log")
            ax.set_xlim(0.05, 120)
        axes[0].set_ylabel("true naturalness (gold judge)")
        axes[0].legend(title="KL coefficient", fontsize=8, title_fontsize=8, frameon=False,
                       loc="lower left")
    return fig


def quarters(history, parts=4):
    """-> KL (parts,), naturalness (parts,): means over equal parts of the iterations."""
    cuts = np.array_split(np.arange(len(history)), parts)
    kl = [np.mean([history[i]["kl_exact"] for i in cut]) for cut in cuts]
    natural = [np.mean([history[i]["naturalness"] for i in cut]) for cut in cuts]
    return np.array(kl), np.array(natural)


def hunt(healthy, broken, panels):
    """healthy: history; broken: {letter: history}; panels: list of (key, title).

    One row for each letter, the healthy run in grey behind it.
    """
    colours = dict(zip(broken, (BLUE, RED, GREEN)))
    with style():
        fig, axes = canvas(1.55 * len(broken) + 0.2, rows=len(broken), columns=len(panels))
        for number, ax in enumerate(axes):
            letter = list(broken)[number // len(panels)]
            key, title = panels[number % len(panels)]
            grey = [row[key] for row in healthy]
            mine = [row[key] for row in broken[letter]]
            ax.plot(grey, color=GREY, linewidth=1.2, linestyle="--")
            ax.plot(mine, color=colours[letter], linewidth=1.8)
            all_runs = grey + [row[key] for run in broken.values() for row in run]
            room = 0.08 * (max(all_runs) - min(all_runs))  # one scale for each column
            frame(ax, title if number < len(panels) else "", "", "",
                  (min(all_runs) - room, max(all_runs) + room))
            ax.title.set_size(8.5)
            ax.tick_params(labelsize=7)
            if number % len(panels) == 0:
                ax.set_ylabel(letter, rotation=0, size=14, color=colours[letter], labelpad=12,
                              va="center")
            if number >= len(axes) - len(panels):
                ax.set_xlabel("iteration", size=8)
    return fig

