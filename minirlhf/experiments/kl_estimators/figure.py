"""The picture of the KL estimators, drawn from the results of run_estimators or their JSON file."""

import numpy as np

from minirlhf.messages import later, load_messages
from minirlhf.plots import BLUE, GREEN, INK, ORANGE, RED, SKY, card, frame, style

VALUE_LOOKS = {  # estimator: colour, line
    "k1": (INK, "-"),
    later("k2 per token"): (BLUE, "-"),
    later("k2 per answer"): (BLUE, ":"),
    later("k3 per token"): (ORANGE, "-"),
    later("k3 per answer"): (ORANGE, ":"),
    later("exact per step"): (GREEN, "--"),
}
USE_LOOKS = {  # use of an estimator: colour, line
    later("k1 in the loss"): (INK, ":"),
    later("k2 in the loss"): (BLUE, "--"),
    later("k3 in the loss"): (ORANGE, "--"),
    later("k2 in the loss, per answer"): (BLUE, "-"),
    later("k3 in the loss, per answer"): (ORANGE, "-"),
    later("k1 in the reward"): (GREEN, "-"),
    later("k2 in the reward"): (SKY, "-."),
    later("k3 in the reward"): (RED, "-."),
}


def draw_pairs(ax, x, pairs, look, label=None):
    """A line through means, with a bar of one deviation at each.  pairs (N, 2)."""
    colour, line = look
    ax.errorbar(x, pairs[:, 0], pairs[:, 1], color=colour, linestyle=line, linewidth=1.5,
                elinewidth=0.7, marker="o", markersize=2.5, label=label)


def over_stations(ax, results, part, figure, say):
    """One figure of every estimator ("value") or use ("direction") against the exact KL."""
    rows = results["stations"]
    for name, look in (VALUE_LOOKS if part == "value" else USE_LOOKS).items():
        pairs = np.array([row[part][name][figure] for row in rows])  # (stations, 2)
        draw_pairs(ax, [row["kl"][0] for row in rows], pairs, look, say(name))
    ax.set_xscale("log")


def draw_descents(ax, results):
    """Exact KL while each use alone is followed."""
    for name, look in USE_LOOKS.items():
        pairs = np.array(results["descents"][name])  # (looks, 2)
        draw_pairs(ax, results["steps"], pairs, look)


def plot_estimators(results, lang="en"):
    """Bias and spread of the estimators, direction and effect of their gradients -> Figure."""
    say = load_messages(lang)
    caption = say(
        "Policies that PPO without a KL price has led away from the reference, by a reward model "
        "from 50 rankings by simulated annotators; {trials} trials, bars of one standard "
        "deviation. Top: mean of an estimator minus the exact KL, as a share "
        "of it, and the spread of a single answer. Look for: k2's bias grows with the distance, "
        "those of k1 and k3 stay near 0; close to the reference k1 spreads most. Bottom left: does "
        "the expected gradient point where grad KL(π, ref) points (1), or nowhere near (0)? Bottom "
        "right: each use alone, followed for 40 steps. In the loss all but k1 lead back; in the "
        "reward k1 does, k2 and k3 stop halfway.",
        trials=len(results["trials"]),
    )
    with style():
        fig = card(5.4, say("Three estimators of one KL"), caption)
        axes = fig.subplots(2, 2)
        far = say("exact KL, nats")
        over_stations(axes[0, 0], results, "value", "bias", say)
        frame(axes[0, 0], say("bias, share of the exact KL"), far)
        axes[0, 0].set_yscale("symlog", linthresh=0.5)
        axes[0, 0].set_ylim(-0.3, None)
        axes[0, 0].set_yticks((0, 0.5, 1, 3, 10), ("0", "0.5", "1", "3", "10"))
        over_stations(axes[0, 1], results, "value", "relative_sd", say)
        frame(axes[0, 1], say("spread of one answer, the same"), far)
        axes[0, 1].set_yscale("log")
        over_stations(axes[1, 0], results, "direction", "forward", say)
        frame(axes[1, 0], say("cosine with grad KL(π, ref)"), far)
        draw_descents(axes[1, 1], results)
        frame(axes[1, 1], say("exact KL, one use followed"), say("steps"))
        axes[1, 1].set_ylim(0, None)
        for ax in axes.flat:
            ax.xaxis.label.set_size(7.5)
        for ax in axes[:, 1]:
            handles = axes[0, 0] if ax is axes[0, 1] else axes[1, 0]
            ax.legend(*handles.get_legend_handles_labels(), fontsize=7, frameon=False,
                      loc="upper left", bbox_to_anchor=(1, 1))
    return fig
