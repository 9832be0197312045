"""The picture of the labels, drawn from the results of run_labels or their JSON file."""

import numpy as np

from minirlhf.messages import later, load_messages
from minirlhf.plots import BLUE, GREEN, ORANGE, PURPLE, RED, SKY, card, frame, style

KIND_LOOKS = {  # kind of label: colour, line
    later("raw scores"): (RED, ":"),
    later("z-scores"): (ORANGE, "--"),
    later("scores as ranks"): (SKY, "-."),
    later("rankings"): (BLUE, "-"),
}
CROWD_NAMES = (
    later("the package's crowd"), later("strict and generous"), later("moods"),
    later("all alike"), later("one careful person"),
)
WAY_LOOKS = {  # how the minutes are spent: colour, line
    later("demonstrations"): (GREEN, "-"),
    "rankings": (BLUE, "--"),
    later("half and half"): (PURPLE, "-."),
}


def draw_crowd(ax, results, crowd, say):
    """Accuracy of reward models against labelled sets, a line for each kind of label."""
    sets = results["settings"]["sets"]
    for kind, (colour, line) in KIND_LOOKS.items():
        pairs = 100 * np.array(results["crowds"][crowd][kind])  # (N, 2)
        ax.errorbar(sets, pairs[:, 0], pairs[:, 1], color=colour, linestyle=line, linewidth=1.6,
                    elinewidth=0.7, label=say(kind))
    frame(ax, say(crowd))
    ax.set_xscale("log")
    ax.set_xticks(sets, [str(n) for n in sets])
    ax.minorticks_off()
    ax.set_ylim(40, 95)
    ax.set_xlabel(say("labelled sets of four"), size=7.5)


def draw_ways(ax, results, say):
    """Natural answers (lines with bars) and true ones of them (thin) against minutes."""
    start = results["pretrained"]
    for way, (colour, line) in WAY_LOOKS.items():
        rows = results["ways"][way]
        minutes = [0, *(row["minutes"] for row in rows)]
        pairs = np.array([row["natural_held_out"] for row in rows])  # (N, 2)
        natural = [100 * start["natural_held_out"], *(100 * pairs[:, 0])]
        ax.errorbar(minutes, natural, [0, *(100 * pairs[:, 1])], color=colour, linestyle=line,
                    linewidth=1.6, elinewidth=0.7, label=say(way))
        true = [100 * start["true"], *(100 * row["true"][0] for row in rows)]
        ax.plot(minutes, true, color=colour, linewidth=0.8, linestyle=line, marker="x",
                markersize=3.5)
    frame(ax, say("demonstrations or rankings?"))
    ax.set_ylim(0, 100)
    ax.set_xlabel(say("assumed minutes of work"), size=7.5)
    ax.legend(fontsize=7, frameon=False, loc="lower right")


def plot_labels(results, lang="en"):
    """Labels against labels in five crowds, and minutes of work -> Figure."""
    say, crowds = load_messages(lang), results["crowds"]
    raw, best = (crowds["strict and generous"][kind][-1][0] for kind in ("raw scores", "rankings"))
    caption = say(
        "SIMULATED annotators, {trials} trials, bars of one standard deviation. Five panels: "
        "percent of pairs on held-out questions that a reward model orders as the gold judge does. "
        "Look for: with strict and generous people raw scores reach {raw:.0f} % at {longest} sets, "
        "rankings {best:.0f} %; where all are alike the lines come close. Last panel: percent of "
        "natural answers to held-out questions for the same assumed minutes; thin, with crosses: "
        "of the natural answers to training questions, percent true.",
        trials=results["trials"], longest=max(results["settings"]["sets"]), raw=100 * raw,
        best=100 * best,
    )
    with style():
        fig = card(5.4, say("Score or rank, show or judge?"), caption)
        axes = fig.subplots(2, 3)
        for ax, crowd in zip(axes.flat, crowds):
            draw_crowd(ax, results, crowd, say)
        axes[0, 0].legend(fontsize=7, frameon=False, loc="lower right")
        draw_ways(axes[1, 2], results, say)
    return fig
