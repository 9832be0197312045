"""Pictures of lesson 08: the climb, a gallery, bands with fitted curves, remedies, truth, sums."""

import numpy as np

from minirlhf.course.drawing import GREY, INK, canvas, frame, style
from minirlhf.experiments.overoptimization.curves import GaoFit, gain_at
from minirlhf.experiments.overoptimization.summary import band_of, gains, group_of
from minirlhf.plots import BLUE, GREEN, ORANGE, RED, SKY, label_ends

LOOKS = ((BLUE, "-", "o"), (RED, "--", "s"), (GREEN, "-.", "^"), (ORANGE, ":", "D"))


# ---- over-optimisation ----------------------------------------------------------------------


def climb(curves, summit):
    """One run: learned score and gold against the root of KL.  summit: which look is highest."""
    d = np.sqrt(np.maximum(curves["kl"], 0))  # (C,)
    with style():
        fig, (ax,) = canvas(3.2)
        labels = []
        for name, label, (colour, dashes, marker) in (
            ("score", "what the reward model says", LOOKS[3]),
            ("gold", "true naturalness", LOOKS[0]),
        ):
            values = np.array(curves[name]) - curves[name][0]  # (C,)
            ax.plot(d, values, color=colour, linestyle=dashes, marker=marker, markersize=4)
            labels.append((values[-1], label, colour))
        ax.axvline(d[summit], color=GREY, linestyle=":", linewidth=1)
        top = curves["score"][-1] - curves["score"][0]
        ax.annotate(f"iteration {curves['iteration'][summit]}", (d[summit], top), (5, 0),
                    textcoords="offset points", size=8, color=GREY, va="center")
        ax.axhline(0, color=GREY, linewidth=0.7)
        frame(ax, "gain over the reference, in standard deviations of its answers", "√KL", "")
        ax.margins(x=0.01)
        label_ends(ax, labels)
    return fig


def gallery(rows, gloss):
    """rows: of runs08.gallery; gloss: function(text) -> word by word in English.

    For each question the usual true answer and the one that the policy gives now.
    """
    with style():
        fig, (text, learned, gold) = canvas(0.5 + 0.62 * len(rows), columns=3, widths=(1.7, 1, 1))
        places = np.arange(len(rows))[::-1]  # (N,)
        for place, (question, usual, own, own_gold, said, score, true) in zip(places, rows):
            text.text(0, place + 0.2, f"{usual}  {gloss(usual)}", size=8.5, color=GREY, va="center")
            text.text(0, place - 0.2, f"{said}  {gloss(said)}", size=8.5, color=RED, va="center")
            for ax, values in ((learned, (own, score)), (gold, (own_gold, true))):
                for shift, value, colour in zip((0.2, -0.2), values, (GREY, RED)):
                    ax.barh(place + shift, value, height=0.34, color=colour, linewidth=0)
                    ax.text(max(value, 0) + 0.03, place + shift, f"{value:.2f}", size=8,
                            color=colour, va="center")
        frame(text, "the usual answer, and what is said now")
        text.set(xlim=(0, 1), xticks=[])
        frame(learned, "learned score")
        frame(gold, "true naturalness")
        learned.axvline(0, color=INK, linewidth=0.8)
        learned.set_xlim(1.2 * min(0, *(row[2] for row in rows)), 1.3 * max(r[5] for r in rows))
        gold.set_xlim(0, 1.2)
        for ax in (text, learned, gold):
            ax.set(ylim=(-0.5, len(rows) - 0.5), yticks=[])
            ax.grid(False)
    return fig


def bands(results, panels, fits):
    """Gain in score and in gold over the trials.  panels: {labels: title}; fits: {labels: (alpha,
    beta)} of gold."""
    with style():
        fig, axes = canvas(3.1, columns=len(panels))
        for ax, (labels, title) in zip(axes, panels.items()):
            group, ends = group_of(results["rows"], labels, "PPO"), []
            for what, name, colour, dashes in (("score", "score", ORANGE, "--"),
                                               ("naturalness", "gold", BLUE, "-")):
                d, low, mean, high = band_of(group, results["reference"], what)
                ax.fill_between(d, low, high, color=colour, alpha=0.2, linewidth=0)
                ax.plot(d, mean, color=colour, linestyle=dashes, linewidth=1.8)
                far = [np.sqrt(row["curves"]["kl"][-1]) for row in group]
                final = [gains(row, results["reference"], what)[-1] for row in group]
                ax.plot(far, final, "o", color=colour, markersize=3, linewidth=0)
                ends.append((np.mean(final), name, colour))
            d = np.linspace(0, max(far), 80)  # (80,)
            alpha, beta = fits[labels]
            curve = gain_at(GaoFit(form="rl", alpha=alpha, beta=beta, r_squared=0.0), d**2)  # (80,)
            ax.plot(d, curve, color=INK, linewidth=1, linestyle=(0, (1, 1.5)))
            ax.axhline(0, color=GREY, linewidth=0.7)
            frame(ax, title, "√KL", "", (-4.2, 2.6))
            ax.set_xlim(0, 7)
            label_ends(ax, ends)
        axes[0].set_ylabel("gain, in standard deviations")
    return fig


# ---- remedies -------------------------------------------------------------------------------


def remedies(runs, results, names, labels_of):
    """Left this lesson's runs, right the committed ones.

    runs: {name: curves}; names: {remedy of the file: label}; labels_of: two kinds of labels.
    """
    with style():
        fig, (left, right) = canvas(3.4, columns=2, widths=(1, 1.15))
        ends = []
        for (name, curves), (colour, dashes, marker) in zip(runs.items(), LOOKS):
            d = np.sqrt(np.maximum(curves["kl"], 0))  # (C,)
            left.plot(d, curves["natural"], color=colour, linestyle=dashes, marker=marker,
                      markersize=4, label=name)
            ends.append((curves["natural"][-1], name, colour))
        frame(left, "one run each, 50 rankings", "√KL", "natural answers", (0, 1), True)
        left.legend(fontsize=8, frameon=False, loc="upper right")
        rows = {(row["remedy"], row["labels"]): row for row in results["remedies"]}
        for k, (remedy, label) in enumerate(names.items()):
            for shift, labels, colour in zip((0.2, -0.2), labels_of, (SKY, BLUE)):
                place = len(names) - 1 - k + shift
                row = rows[remedy, labels]
                right.barh(place, row["natural"], height=0.36, color=colour, linewidth=0,
                           label=f"{labels} rankings" if k == 0 else None)
                right.plot(row["natural_each"], np.full(row["trials"], place), "o", color=INK,
                           markersize=2.8, linewidth=0)
        frame(right, "five trials each: natural answers that are kept", "", "")
        right.set_yticks(range(len(names)), list(names.values())[::-1])
        right.set_xlim(0, 1.02)
        right.set_xticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
        right.grid(False)
        right.legend(fontsize=8, frameon=False, loc="upper right")
    return fig


# ---- truth ----------------------------------------------------------------------------------


def truth(panels, english):
    """panels: {question: {model: {content: probability}}}, the fact first; english: gloss."""
    with style():
        fig, axes = canvas(3.1, columns=len(panels))
        for ax, (question, models) in zip(axes, panels.items()):
            for k, (name, found) in enumerate(models.items()):
                places = np.arange(len(found)) + 0.28 * (k - 1)  # (N,)
                ax.bar(places, found.values(), width=0.26, color=(GREY, BLUE, RED)[k],
                       hatch=("", "//", "")[k], edgecolor="white", linewidth=0,
                       label=name)
            words = [f"{word}\n{english(word)}" for word in found]
            ax.set_xticks(range(len(words)), words, size=7.5)
            frame(ax, f"{question}  true: {english(next(iter(found)))}", "", "", (0, 1), True)
            ax.axvspan(-0.5, 0.5, color=SKY, alpha=0.15, linewidth=0)
            ax.set_xlim(-0.5, len(words) - 0.5)
        axes[0].set_ylabel("probability of the whole sentence")
        axes[0].legend(fontsize=8, frameon=False, loc="upper center")
    return fig


# ---- sums -----------------------------------------------------------------------------------


def sums(tables):
    """tables: {title: {"read" or "not read": list of (probability, right, answer)}}."""
    edges = np.linspace(0, 1, 11)  # (11,)
    with style():
        fig, axes = canvas(3.0, columns=2 * len(tables), widths=(0.55, 1) * len(tables))
        for k, (title, table) in enumerate(tables.items()):
            bars, ax = axes[2 * k], axes[2 * k + 1]
            shares = [np.mean([right for _, right, _ in rows]) for rows in table.values()]
            bars.bar(range(len(shares)), shares, color=(GREY, BLUE), width=0.6, linewidth=0)
            for place, share in enumerate(shares):
                bars.text(place, share + 0.02, f"{100 * share:.0f} %", size=8.5, ha="center")
            bars.set_xticks(range(len(shares)), list(table))
            frame(bars, f"{title}: right", "", "", (0, 1.12), True)
            bars.grid(False)
            confidence, right, _ = np.array(table["not read"]).T  # (N,) each
            parts = [confidence[right > 0], confidence[right == 0]]
            ax.hist(parts, edges, stacked=True, color=(SKY, RED), linewidth=0,
                    label=("right", "wrong"))
            frame(ax, "sums not read", "probability of its answer", "number of sums")
            ax.legend(fontsize=8, frameon=False, loc="upper left")
    return fig
