"""The picture of over-optimisation, drawn from run_overoptimization's results or JSON file."""

import numpy as np

from minirlhf.experiments.overoptimization.curves import GaoFit, gain_at
from minirlhf.experiments.overoptimization.judges import BIASED
from minirlhf.experiments.overoptimization.summary import BEST, ONE, band_of, gains, group_of
from minirlhf.messages import later, load_messages
from minirlhf.plots import BLUE, GREEN, GREY, INK, ORANGE, PALE, PURPLE, card, frame, style

REMEDIES = {  # remedy: its short name, its colour
    "none": (later("no remedy"), INK),
    "KL coefficient 0.02": (later("KL coefficient 0.02"), BLUE),
    "KL coefficient 0.1": (later("KL coefficient 0.1"), BLUE),
    "KL coefficient 0.5": (later("KL coefficient 0.5"), BLUE),
    "KL budget": (later("stop: 1.5 nats"), GREEN),
    "held-out judge": (later("stop: held-out judge"), GREEN),
    "disagreement": (later("stop: disagreement"), GREEN),
    "minimum of the ensemble": (later("minimum of four"), PURPLE),
    "best seen": (later("best seen (gold)"), GREY),
}


def labels_name(labels, say):
    """The title of a column."""
    if labels == BIASED:
        return say("600, likes length")
    return say("{labels} rankings", labels=labels)


def draw_gains(ax, results, labels, method):
    """Gain in learned score and in gold against d, with bands, and Gao's curves."""
    group = group_of(results["rows"], labels, method)
    for what, colour, line in (("score", ORANGE, "--"), ("naturalness", BLUE, "-")):
        d, low, mean, high = band_of(group, results["reference"], what)
        ax.fill_between(d, low, high, color=colour, alpha=0.22, linewidth=0)
        ax.plot(d, mean, color=colour, linewidth=1.7, linestyle=line)
        ends = np.sqrt([row["curves"]["kl"][-1] for row in group])  # (trials,)
        last = [gains(row, results["reference"], what)[-1] for row in group]
        ax.plot(ends, last, "o", color=colour, markersize=2.4, alpha=0.7, linewidth=0)
        row = next(
            f for f in results["fits"]
            if (f["labels"], f["method"], f["what"]) == (labels, method, what)
        )
        curve = GaoFit(**{name: row[name] for name in GaoFit._fields})
        d = np.linspace(0, ends.max(), 80)  # (80,)
        ax.plot(d, gain_at(curve, d**2), color=INK, linewidth=0.9, linestyle=(0, (1, 1.5)))
        if what == "naturalness":
            told = f"α {row['alpha']:.2f}  β {row['beta']:.2f}\nR² {row['r_squared']:.2f}"
            ax.text(0.04, 0.04, told, transform=ax.transAxes, size=7, va="bottom")
    ax.axhline(0, color=GREY, linewidth=0.7)
    frame(ax)
    ax.margins(x=0.02)
    ax.set_xlabel("√KL", size=7.5, labelpad=1)


def draw_remedies(ax, results, labels, say):
    """Natural answers that each remedy keeps: a point per trial, their mean a bar."""
    rows = {r["remedy"]: r for r in results["remedies"] if r["labels"] == labels}
    shown = [remedy for remedy in REMEDIES if remedy in rows]
    for place, remedy in enumerate(shown):
        row, (_, colour) = rows[remedy], REMEDIES[remedy]
        ax.plot(row["natural_each"], [place] * len(row["natural_each"]), "o", color=colour,
                markersize=2.6, alpha=0.55, linewidth=0)
        ax.plot([row["natural"]] * 2, [place - 0.36, place + 0.36], color=colour, linewidth=2)
    frame(ax, xlabel=say("natural answers"))
    ax.xaxis.label.set_size(7.5)
    ax.grid(visible=False)
    ax.grid(axis="x", color=PALE, linewidth=0.6)
    ax.set_xlim(-0.04, 1.04)
    ax.set_xticks((0, 0.5, 1), ("0", "50 %", "100 %"))
    names = [say(REMEDIES[remedy][0]) for remedy in shown]
    ax.set_yticks(range(len(names)), names, size=7.5)
    ax.set_ylim(len(names) - 0.4, -0.6)


def plot_overoptimization(results, lang="en"):
    """Five kinds of labels: PPO, best-of-n, and what each remedy keeps -> Figure."""
    say = load_messages(lang)
    caption = say(
        "Each column is one kind of labels; all annotators are simulated. Top: PPO without a KL "
        "price; middle: best of n up to 256. Orange, dashed: gain in the learned score; blue: gain "
        "in gold naturalness; both in standard deviations of the reference's answers, {trials} "
        "trials: mean and band as far as all went, dots where each ended. Dotted: the curves of "
        "Gao et al. 2022; α, β and R² are those of gold. Look for: orange that climbs while blue "
        "turns, and in PPO falls below 0, the reference; more labels make the summit of best-of-n "
        "higher. Bottom: natural answers of the policy that a remedy keeps, a point per trial, "
        "mean as a bar.",
        trials=results["trials"],
    )
    with style():
        title = say("Over-optimisation: the score climbs, the answers get worse")
        fig = card(6.6, title, caption)
        labels_of = list(dict.fromkeys(row["labels"] for row in results["fits"]))
        axes = fig.subplots(3, len(labels_of), sharex="row", sharey="row",
                            height_ratios=(1, 1, 1.25))
        for column, labels in enumerate(labels_of):
            for ax, method in zip(axes[:, column], (ONE, BEST)):
                draw_gains(ax, results, labels, method)
            draw_remedies(axes[2, column], results, labels, say)
            axes[0, column].set_title(labels_name(labels, say), size=8.5)
        for ax, name in zip(axes[:, 0], ("PPO", say("best of n"))):
            ax.set_ylabel(say("{method}: gain (sd)", method=name), size=7.5)
    return fig
