"""The picture of the frontier, drawn from the results of run_frontier or their JSON file."""

import numpy as np

from minirlhf.messages import load_messages
from minirlhf.plots import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PALE,
    PURPLE,
    RED,
    SKY,
    card,
    frame,
    style,
)

LOOKS = {  # method: colour, marker, line style
    "PPO": (BLUE, "o", "-"),
    "RLOO": (GREEN, "s", "-"),
    "REINFORCE": (SKY, "^", "--"),
    "GRPO": (RED, "D", "-"),
    "Dr. GRPO": (ORANGE, "v", "--"),
    "DPO": (PURPLE, "P", "-"),
    "IPO": (PURPLE, "X", ":"),
    "rejection sampling": (GREY, "h", ":"),
}
LOWEST_KL = 0.012  # nats, where the logarithmic axis begins


def kl_of(row):
    """A row's KL, to sort by."""
    return row["kl"]


def draw_plane(ax, results, say):
    """Expected score against KL: the exact frontier, best-of-n, every training a point."""
    optima = sorted(results["optima"], key=kl_of)
    kls = np.array([row["kl"] for row in optima])  # (N,)
    ax.plot(kls, [row["reward"] for row in optima], color=INK, linewidth=2.2, zorder=3,
            label=say("the best policy"))
    grid = np.geomspace(LOWEST_KL, 6, 80)  # (80,)
    ceiling = []
    for kl in grid:
        ceiling.append(min(row["beta"] * (row["log_z_high"] + kl) for row in optima))
    ax.plot(grid, ceiling, color=GREY, linewidth=1, linestyle=(0, (1, 2)),
            label=say("proven: nobody is above"))
    best = [row for row in results["best_of_n"] if row["n"] > 1]
    ax.plot([row["kl"] for row in best], [row["reward"] for row in best], color=INK, marker="*",
            markersize=7, linewidth=0.8, linestyle="-.", zorder=4,
            label=say("best of n, exact"))
    ax.plot([row["bound"] for row in best], [row["reward"] for row in best], color=INK,
            marker="*", markersize=6, markeredgewidth=0.7, linewidth=0, markerfacecolor="none",
            label=say("the same at the KL bound"))
    for row in best:
        ax.annotate(str(row["n"]), (row["kl"], row["reward"]), (-5, 6), size=7, color=INK,
                    textcoords="offset points", ha="center", va="center")
    for method, (colour, marker, line) in LOOKS.items():
        points = [row for row in results["points"] if row["method"] == method]
        means = [row for row in results["summary"] if row["method"] == method]
        ax.plot([row["kl"] for row in points], [row["reward"] for row in points], color=colour,
                marker=marker, markersize=2.6, linewidth=0, alpha=0.45)
        means.sort(key=kl_of)
        name = say("rejection sampling") if method == "rejection sampling" else method
        ax.plot([row["kl"] for row in means], [row["reward"] for row in means], color=colour,
                marker=marker, markersize=5, linewidth=0.9, linestyle=line, zorder=5,
                markerfacecolor="none" if method == "IPO" else colour,
                label=name)
    low = min(row["reward"] for row in results["best_of_n"])
    high = max(row["reward"] for row in optima if row["kl"] < 2)
    frame(ax, say("Expected score against KL"),
          say("KL to the reference, nats per answer (logarithmic)"),
          say("expected score"), ylim=(low, high + 0.05))
    ax.set_xscale("log")
    ax.set_xlim(LOWEST_KL, 6)
    ticks = (0.01, 0.03, 0.1, 0.3, 1, 3)
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    ax.legend(fontsize=7, frameon=False, loc="upper left", labelspacing=0.35)


def draw_regret(ax, results, say):
    """KL(policy || optimum) against beta, for the methods that have a beta."""
    for method, (colour, marker, line) in LOOKS.items():
        rows = [r for r in results["summary"] if r["method"] == method and "regret" in r]
        if rows:
            ax.errorbar([r["price"] for r in rows], [r["regret"] for r in rows],
                        [r["regret_sd"] for r in rows], color=colour, marker=marker,
                        markersize=4, linewidth=0.9, linestyle=line, elinewidth=0.8)
    at_start = results["reference"]
    ax.plot([row["beta"] for row in at_start], [row["regret"] for row in at_start], color=INK,
            linewidth=1, linestyle=(0, (4, 2)))
    ax.annotate(say("no training"), (at_start[1]["beta"], at_start[1]["regret"]),
                (4, 2), textcoords="offset points", size=7, color=INK)
    frame(ax, say("Nats from the optimum, at least"), "β")
    ax.set_xscale("log")
    ax.set_yscale("log")
    prices = [row["beta"] for row in at_start]
    ax.set_xticks(prices, [f"{price:g}" for price in prices])
    ticks = (0.01, 0.1, 1, 10)
    ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()


def draw_log_z(ax, results, say):
    """How sure log Z is: bounds and importance sampling, minus the sum over the answers found."""
    optima = {row["beta"]: row for row in results["optima"]}
    estimates = results["importance_sampling"]
    betas = [row["beta"] for row in estimates]
    sampled = [row["log_z"] - optima[row["beta"]]["log_z"] for row in estimates]
    proven = [optima[beta]["log_z_high"] - optima[beta]["log_z"] for beta in betas]
    seen = [optima[beta]["log_z_seen"] - optima[beta]["log_z"] for beta in betas]
    ax.fill_between(betas, 0, proven, color=PALE, linewidth=0)
    ax.plot(betas, proven, color=GREY, linewidth=1, linestyle=(0, (1, 2)))
    ax.plot(betas, seen, color=BLUE, linewidth=1.1, linestyle="--")
    ax.axhline(0, color=INK, linewidth=1.6)
    ax.plot(betas, sampled, color=RED, linewidth=1.4, linestyle="-")
    frame(ax, say("How sure is log Z? (nats)"), "β", ylim=(-1.3, 2.6))
    ax.set_xscale("log")
    ax.set_xlim(0.05, 3)
    ax.set_xticks((0.1, 0.3, 1, 3), ("0.1", "0.3", "1", "3"))
    ax.minorticks_off()
    for x, y, text, colour in (
        (0.8, 1.9, say("proven bound"), GREY),
        (0.2, 1.25, say("if no better\nanswer exists"), BLUE),
        (0.4, -0.25, say("answers found"), INK),
        (0.15, -0.8, say("1,000 samples"), RED),
    ):
        ax.text(x, y, text, size=7, color=colour, va="center")


def plot_frontier(results, lang="en"):
    """The whole experiment on one card -> Figure."""
    say = load_messages(lang)
    caption = say(
        "Every small point is one training, every large one the mean of {trials}. The black line "
        "is the best policy over all answers that a search found, for {questions} questions; no "
        "policy is above the dotted line (proven). Look for: how close a method comes to the "
        "black line, and how far to the right it goes for the same score. Filled stars: best of n "
        "as it is, n above; open stars: where the usual formula log n - (n - 1)/n puts it. Bottom "
        "right: a small β makes log Z uncertain, and 1,000 samples miss the answers that matter "
        "there. The annotators are simulated.",
        trials=max(row["trials"] for row in results["summary"]),
        questions=len(results["questions"]),
    )
    with style():
        fig = card(5.2, say("Every method and the exact answer"), caption)
        grid = fig.add_gridspec(2, 2, width_ratios=(2.7, 1))
        draw_plane(fig.add_subplot(grid[:, 0]), results, say)
        draw_regret(fig.add_subplot(grid[0, 1]), results, say)
        draw_log_z(fig.add_subplot(grid[1, 1]), results, say)
    return fig
