"""Pictures of lesson 09: the best policy, best-of-n, aims, noise, DPO, all methods on one plane."""

import numpy as np

from minirlhf.course.drawing import GREY, INK, canvas, frame, style
from minirlhf.experiments.frontier.figure import LOOKS
from minirlhf.plots import BLUE, ORANGE, PALE, RED, SKY, label_ends

# ---- the best policy ------------------------------------------------------------------------


def best_policy(state):
    """One price: the best policy's favourite answers, and where it stands.

    state: "answers" (list of M texts), "ref" and "best" (M,) probabilities, "curve" list of (KL,
    score), "here" (KL, score), "beta".
    """
    with style():
        fig, (bars, plane) = canvas(3.5, columns=2, widths=(1.5, 1))
        places = np.arange(len(state["answers"]))[::-1]  # (M,)
        bars.barh(places + 0.2, state["ref"], height=0.36, color=GREY, label="reference")
        bars.barh(places - 0.2, state["best"], height=0.36, color=BLUE, hatch="//",
                  edgecolor="white", linewidth=0, label="best policy")
        for k, (before, after) in enumerate(zip(state["ref"], state["best"])):
            bars.text(after + 0.008, places[k] - 0.2, f"{after:.2f}", size=7, color=BLUE,
                      va="center")
            bars.text(before + 0.008, places[k] + 0.2, f"{before:.3f}", size=7, color=GREY,
                      va="center")
        frame(bars, f"eight answers that it likes best, β = {state['beta']:g}", "probability", "")
        bars.set_yticks(places, state["answers"])
        bars.set_xlim(0, 0.6)
        bars.grid(False)
        bars.legend(fontsize=8, frameon=False, loc="lower right")
        kl, score = np.array(state["curve"]).T  # (N,) each
        plane.plot(kl, score, color=INK, linewidth=1.8)
        plane.plot(*state["here"], "o", color=BLUE, markersize=8)
        frame(plane, "where it stands on the frontier", "KL to the reference, nats",
              "expected score")
        plane.set_xlim(0, 1.08 * max(kl))
    return fig


# ---- best-of-n ------------------------------------------------------------------------------


def best_of(bound, rows, curve):
    """Left KL against n, right score against KL.

    bound: list of (n, nats); rows: {label: list of (n, score, KL)}, the first of Rufus; curve:
    list of (KL, score), Rufus's frontier.
    """
    looks = ((BLUE, "-", "o"), (ORANGE, "--", "s"))
    with style():
        fig, (left, right) = canvas(3.2, columns=2)
        left.plot(*np.array(bound).T, color=INK, linewidth=1.6, linestyle=":")
        labels = [(bound[-1][1], "log n - (n - 1)/n", INK)]
        for (label, row), (colour, dashes, marker) in zip(rows.items(), looks):
            n, _, kl = np.array(row).T  # (M,) each
            left.plot(n, kl, color=colour, linestyle=dashes, marker=marker, markersize=5)
            labels.append((kl[-1], label, colour))
        frame(left, "how far best-of-n moves", "n (logarithmic)", "KL, nats")
        left.set_xscale("log", base=2)
        left.set_xticks([n for n, _ in bound], [str(n) for n, _ in bound])
        left.minorticks_off()
        label_ends(left, labels)
        name, row = next(iter(rows.items()))
        n, score, kl = np.array(row).T  # (M,) each
        right.plot(*np.array(curve).T, color=INK, linewidth=1.8, label="frontier")
        right.plot(kl, score, color=BLUE, marker="o", markersize=5, linewidth=0.9,
                   label=f"best-of-n, {name}")
        for k in range(len(n)):
            right.annotate(f"{n[k]:.0f}", (kl[k], score[k]), (5, -9), textcoords="offset points",
                           size=7.5, color=BLUE)
        frame(right, "what it gains", "KL, nats", "expected score")
        right.set_xlim(-0.1, 1.12 * kl[-1])
        right.legend(fontsize=8, frameon=False, loc="lower right")
    return fig


# ---- what each method aims at ---------------------------------------------------------------


def aims(curve, points, stars):
    """The plane of a small world: exact frontier, where each method ends, best-of-n.

    curve: list of (KL, score); points: {method: list of (KL, score)}; stars: list of (n, score,
    KL).
    """
    sizes = {"PPO": 13, "DPO": 8.5, "RLOO": 4.5, "GRPO": 7}
    with style():
        fig, (ax,) = canvas(3.4)
        ax.plot(*np.array(curve).T, color=INK, linewidth=1.8, label="frontier, exact")
        for method, row in points.items():
            colour, marker, _ = LOOKS[method]
            kl, score = np.array(row).T  # (M,) each
            hollow = method == "PPO"
            ax.plot(kl, score, linewidth=0, marker=marker, color=colour, markersize=sizes[method],
                    markerfacecolor="none" if hollow else colour, markeredgewidth=1.8 * hollow,
                    label=method)
        n, score, kl = np.array(stars).T  # (M,) each
        ax.plot(kl, score, color=GREY, marker="*", markersize=8, linestyle="-.", linewidth=0.8,
                label="best-of-n")
        for k in range(len(n)):
            ax.annotate(f"n = {n[k]:.0f}", (kl[k], score[k]), (6, -10), size=7.5, color=GREY,
                        textcoords="offset points")
        frame(ax, "four answers: where each method ends, without any chance",
              "KL to the reference, nats", "expected score")
        ax.legend(fontsize=8, frameon=False, loc="lower right")
    return fig


# ---- noise ----------------------------------------------------------------------------------


def noise_bars(tables):
    """tables: one {method: noise over signal} for each seed.  Bars: means; dots: seeds."""
    names = list(tables[0])
    with style():
        fig, (ax,) = canvas(2.9)
        for k, name in enumerate(names):
            values = np.array([table[name] for table in tables])  # (seeds,)
            place = len(names) - 1 - k
            ax.barh(place, values.mean(), height=0.6, color=SKY, linewidth=0)
            ax.plot(values, np.full(len(values), place), "o", color=INK, markersize=3.5)
            ax.text(values.max() + 0.05, place, f"{values.mean():.1f}", size=8.5, va="center")
        frame(ax, "noise of one gradient from 48 answers", "variance / squared length of the mean",
              "")
        ax.set_yticks(range(len(names)), names[::-1])
        ax.grid(False)
        ax.axvline(1, color=RED, linestyle="--", linewidth=1)
        ax.annotate("as much noise as signal", (1, -0.75), (4, 0), textcoords="offset points",
                    size=8, color=RED, va="center")
        ax.set_ylim(-1.05, len(names) - 0.5)
    return fig


# ---- DPO ------------------------------------------------------------------------------------


def smooth(values, width=9):
    """(N,) -> running mean over `width` steps (N - width + 1,), steps in the middle."""
    kernel = np.ones(width) / width
    return np.arange(width // 2, len(values) - width // 2), np.convolve(values, kernel, "valid")


def dpo_curves(histories):
    """histories: {beta: history of train_dpo}.  One panel each: how far the answers moved."""
    with style():
        fig, axes = canvas(3.1, columns=len(histories))
        low = min(min(smooth([r["rejected_moved"] for r in h])[1]) for h in histories.values())
        for ax, (beta, history) in zip(axes, histories.items()):
            frame(ax, f"β = {beta:g}", "step", "", (1.15 * low, 0.8))
            labels = []
            for key, colour, dashes, name in (
                ("chosen_moved", BLUE, "-", "chosen"),
                ("rejected_moved", RED, "--", "rejected"),
            ):
                values = [row[key] for row in history]
                ax.plot(values, color=colour, linewidth=0.7, alpha=0.35)
                steps, mean = smooth(values)
                ax.plot(steps, mean, color=colour, linestyle=dashes, linewidth=2)
                labels.append((mean[-1], name, colour))
            ax.axhline(0, color=GREY, linewidth=1)
            ax.set_xlim(0, len(history) - 1)
            label_ends(ax, labels)
        axes[0].set_ylabel("log-prob since the start, nats")
    return fig


# ---- all methods ----------------------------------------------------------------------------


def all_methods(curve, mine, stars, committed):
    """Left: this notebook's runs on the frontier.  Right: regret of the committed 5-seed runs.

    curve: list of (KL, score); mine: {method: (KL, score)}; stars: list of (n, score, KL);
    committed: the summary of benchmarks/frontier_zh.json.
    """
    with style():
        fig, (plane, right) = canvas(3.9, columns=2, widths=(1.35, 1))
        plane.plot(*np.array(curve).T, color=INK, linewidth=1.8, label="frontier")
        n, score, kl = np.array(stars).T  # (M,) each
        plane.plot(kl, score, color=INK, marker="*", markersize=7, linestyle="-.", linewidth=0.8,
                   label="best-of-n")
        for k in range(1, len(n)):
            plane.annotate(f"n = {n[k]:.0f}", (kl[k], score[k]), (-2, -13), size=7, color=INK,
                           annotation_clip=True, textcoords="offset points")
        for method, point in mine.items():
            colour, marker, _ = LOOKS[method]
            plane.plot(*point, color=colour, marker=marker, markersize=7, linewidth=0,
                       markeredgecolor="white", alpha=0.85, label=method)
        frame(plane, "one run of each, in this notebook", "KL, nats per answer", "expected score")
        plane.set_xlim(0.1, 1.15)
        plane.set_ylim(0.34, 0.84)
        plane.legend(fontsize=7.5, frameon=False, loc="lower right")
        for method, (colour, marker, dashes) in LOOKS.items():
            rows = [r for r in committed if r["method"] == method and "regret" in r]
            if rows:
                right.errorbar([r["price"] for r in rows], [r["regret"] for r in rows],
                               [r["regret_sd"] for r in rows], color=colour, marker=marker,
                               markersize=4.5, linestyle=dashes, linewidth=1, elinewidth=0.8,
                               label=method)
        frame(right, "regret, five seeds each (committed data)", "β (logarithmic)",
              "nats (logarithmic)")
        right.set_xscale("log")
        right.set_yscale("log")
        right.set_xticks((0.1, 0.2, 0.5, 1), ("0.1", "0.2", "0.5", "1"))
        right.set_yticks((0.01, 0.1, 1), ("0.01", "0.1", "1"))
        right.grid(axis="y", color=PALE, linewidth=0.6)
        right.minorticks_off()
        right.legend(fontsize=7.5, frameon=False, loc="lower left")
    return fig
