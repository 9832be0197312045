"""The pictures of the frontier, of the bug gallery and of over-optimisation, drawn from the results
of run_frontier, run_ablations and run_overoptimization or from their JSON files."""

import numpy as np

from minirlhf.experiments.ablations.run import ABLATIONS, HEALTHY, REGIMES
from minirlhf.experiments.ablations.words import EXHIBITS, PANELS
from minirlhf.experiments.overoptimization.curves import GaoFit, gain_at
from minirlhf.experiments.overoptimization.words import BEST, BIASED, ONE, band_of, gains, group_of
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
    curves,
    frame,
    say,
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


# ---- the frontier ---------------------------------------------------------------------------


def method_name(method, lang):
    """A method's name in the reader's language."""
    return say(lang, method, "拒绝采样" if method == "rejection sampling" else method)


def optima_by_kl(results):
    """The optima of the results, least KL first -> list of dicts."""
    return sorted(results["optima"], key=kl_of)


def kl_of(row):
    """A row's KL, to sort by."""
    return row["kl"]


def draw_plane(ax, results, lang):
    """Expected score against KL: the exact frontier, best-of-n, every training a point."""
    optima = optima_by_kl(results)
    kls = np.array([row["kl"] for row in optima])  # (N,)
    ax.plot(kls, [row["reward"] for row in optima], color=INK, linewidth=2.2, zorder=3,
            label=say(lang, "the best policy", "最优策略"))
    grid = np.geomspace(LOWEST_KL, 6, 80)  # (80,)
    ceiling = []
    for kl in grid:
        ceiling.append(min(row["beta"] * (row["log_z_high"] + kl) for row in optima))
    ax.plot(grid, ceiling, color=GREY, linewidth=1, linestyle=(0, (1, 2)),
            label=say(lang, "proven: nobody is above", "已证明：不会更高"))
    best = [row for row in results["best_of_n"] if row["n"] > 1]
    ax.plot([row["kl"] for row in best], [row["reward"] for row in best], color=INK, marker="*",
            markersize=7, linewidth=0.8, linestyle="-.", zorder=4,
            label=say(lang, "best of n, exact", "n 选一，精确值"))
    ax.plot([row["bound"] for row in best], [row["reward"] for row in best], color=INK,
            marker="*", markersize=6, markeredgewidth=0.7, linewidth=0, markerfacecolor="none",
            label=say(lang, "the same at the KL bound", "同上，按 KL 上界"))
    for row in best:
        ax.annotate(str(row["n"]), (row["kl"], row["reward"]), (-5, 6), size=7, color=INK,
                    textcoords="offset points", ha="center", va="center")
    for method, (colour, marker, line) in LOOKS.items():
        points = [row for row in results["points"] if row["method"] == method]
        means = [row for row in results["summary"] if row["method"] == method]
        ax.plot([row["kl"] for row in points], [row["reward"] for row in points], color=colour,
                marker=marker, markersize=2.6, linewidth=0, alpha=0.45)
        means.sort(key=kl_of)
        ax.plot([row["kl"] for row in means], [row["reward"] for row in means], color=colour,
                marker=marker, markersize=5, linewidth=0.9, linestyle=line, zorder=5,
                markerfacecolor="none" if method == "IPO" else colour,
                label=method_name(method, lang))
    low = min(row["reward"] for row in results["best_of_n"])
    high = max(row["reward"] for row in optima if row["kl"] < 2)
    frame(ax, say(lang, "Expected score against KL", "期望评分与 KL"),
          say(lang, "KL to the reference, nats per answer (logarithmic)",
              "与参考模型的 KL，每个回答的 nat 数（对数轴）"),
          say(lang, "expected score", "期望评分"), ylim=(low, high + 0.05))
    ax.set_xscale("log")
    ax.set_xlim(LOWEST_KL, 6)
    ticks = (0.01, 0.03, 0.1, 0.3, 1, 3)
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    ax.legend(fontsize=7, frameon=False, loc="upper left", labelspacing=0.35)


def draw_regret(ax, results, lang):
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
    ax.annotate(say(lang, "no training", "不训练"), (at_start[1]["beta"], at_start[1]["regret"]),
                (4, 2), textcoords="offset points", size=7, color=INK)
    frame(ax, say(lang, "Nats from the optimum, at least", "离最优至少多少 nat"), "β")
    ax.set_xscale("log")
    ax.set_yscale("log")
    prices = [row["beta"] for row in at_start]
    ax.set_xticks(prices, [f"{price:g}" for price in prices])
    ticks = (0.01, 0.1, 1, 10)
    ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()


def draw_log_z(ax, results, lang):
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
    frame(
        ax, say(lang, "How sure is log Z? (nats)", "log Z 有多确定？(nat)"), "β", ylim=(-1.3, 2.6)
    )
    ax.set_xscale("log")
    ax.set_xlim(0.05, 3)
    ax.set_xticks((0.1, 0.3, 1, 3), ("0.1", "0.3", "1", "3"))
    ax.minorticks_off()
    for x, y, text, colour in (
        (0.8, 1.9, say(lang, "proven bound", "已证明的上界"), GREY),
        (0.2, 1.25, say(lang, "if no better\nanswer exists", "若没有更好\n的回答"), BLUE),
        (0.4, -0.25, say(lang, "answers found", "找到的回答"), INK),
        (0.15, -0.8, say(lang, "1,000 samples", "1000 个样本"), RED),
    ):
        ax.text(x, y, text, size=7, color=colour, va="center")


def plot_frontier(results, lang="en"):
    """The whole experiment on one card -> Figure."""
    trials = max(row["trials"] for row in results["summary"])
    caption = say(
        lang,
        f"Every small point is one training, every large one the mean of {trials}. The black line "
        "is the best policy over all answers that a search found, for "
        f"{len(results['questions'])} questions; no policy is above the dotted line (proven). Look "
        "for: how close a method comes to the black line, and how far to the right it goes for "
        "the same score. Filled stars: best of n as it is, n above; open stars: where the usual "
        "formula log n - (n - 1)/n puts it. Bottom right: a small β makes log Z uncertain, and "
        "1,000 samples miss the answers that matter there. The annotators are simulated.",
        f"小点是一次训练，大点是 {trials} 次的平均。黑线是在搜索找到的全部回答上的最优策略"
        f"（{len(results['questions'])} 个问题）；已证明没有策略高于点线。请看：各方法离黑线多近，"
        "同样的评分要向右走多远。实心星：n 选一的精确值，上方数字是 n；空心星：常用公式 "
        "log n - (n - 1)/n 给出的位置。右下：β 小时 log Z 不确定，1000 个样本会漏掉关键的回答。"
        "标注者是模拟的。",
    )
    title = say(lang, "Every method and the exact answer", "各种方法与精确答案")
    with style():
        fig = card(5.2, title, caption)
        grid = fig.add_gridspec(2, 2, width_ratios=(2.7, 1))
        draw_plane(fig.add_subplot(grid[:, 0]), results, lang)
        draw_regret(fig.add_subplot(grid[0, 1]), results, lang)
        draw_log_z(fig.add_subplot(grid[1, 1]), results, lang)
    return fig


# ---- the bug gallery ------------------------------------------------------------------------


def history(run):
    """A run's curves -> list of dicts, one for each iteration."""
    length = len(run["curves"]["score"])
    columns = run["curves"].items()
    return [{"iteration": i} | {key: curve[i] for key, curve in columns} for i in range(length)]


def draw_exhibit(ax, results, name, lang):
    """The ablation's curve beside the healthy run's."""
    exhibit = EXHIBITS[name]
    for who, colour, line in ((HEALTHY, INK, "--"), (name, BLUE, "-")):
        runs = [r for r in results["runs"] if (r["regime"], r["name"]) == (exhibit.regime, who)]
        curves(ax, [history(r) for r in runs], "iteration", exhibit.picture, colour, line)
    frame(ax)
    factor = REGIMES[exhibit.regime]
    rate = say(lang, f" ({factor} × rate)", f"（学习率 × {factor}）") if factor != 1 else ""
    title = say(lang, name, exhibit.chinese) + rate
    verdict = say(lang, *exhibit.verdict)
    ax.set_title(f"{title}\n{verdict}", size=8.5)
    ax.set_ylabel(say(lang, *PANELS[exhibit.picture]), size=7.5)
    if exhibit.picture == "approx_kl":
        ax.set_yscale("log")


def plot_gallery(results, lang="en"):
    """Every ablation beside the healthy run, one panel of the dashboard each -> Figure."""
    trials = results["trials"]
    caption = say(
        lang,
        "Black and dashed: the healthy run. Blue: one part of PPO taken out or put in wrong. Thin: "
        f"{trials} trials; thick: their median. Each is drawn over the iterations, on the panel of "
        "the dashboard that tells most, KL and entropy in nats; the second line says what the "
        "runs of seed 0 showed. Look for blue that leaves black, and for the four panels where "
        "nothing broke. Where 4 × rate stands, the learning rate is four times the usual one. The "
        "annotators are simulated.",
        f"黑色虚线：正常训练。蓝色：PPO 去掉或放错一个部分。细线：{trials} 次训练；粗线：中位数。"
        f"横轴是迭代，"
        "每个都画在最能说明问题的那个仪表板图上，KL 和熵的单位是 nat；第二行是种子 0 的结果。请看："
        "蓝色在哪里离开黑色，以及没有坏的四个图。"
        "“学习率 × 4”：平常的四倍。标注者是模拟的。",
    )
    with style():
        fig = card(5.6, say(lang, "The bug gallery of PPO", "PPO 的错误陈列馆"), caption)
        axes = fig.subplots(3, 4)
        for ax, name in zip(axes.flat, ABLATIONS, strict=True):
            draw_exhibit(ax, results, name, lang)
        for ax in axes[-1]:
            ax.set_xlabel(say(lang, "iteration", "迭代"))
    return fig


# ---- over-optimisation ----------------------------------------------------------------------

REMEDIES = {  # remedy: its name in both languages, its colour
    "none": ("none", "没有", INK),
    "KL coefficient 0.02": ("KL coefficient 0.02", "KL 系数 0.02", BLUE),
    "KL coefficient 0.1": ("KL coefficient 0.1", "KL 系数 0.1", BLUE),
    "KL coefficient 0.5": ("KL coefficient 0.5", "KL 系数 0.5", BLUE),
    "KL budget": ("stop: 1.5 nats", "停：1.5 nat", GREEN),
    "held-out judge": ("stop: held-out judge", "停：另一个奖励模型", GREEN),
    "disagreement": ("stop: disagreement", "停：意见不同", GREEN),
    "minimum of the ensemble": ("minimum of four", "取四个的最小值", PURPLE),
    "best seen": ("best seen (gold)", "最好的时候（真实）", GREY),
}


def labels_name(labels, lang):
    """The title of a column."""
    if labels == BIASED:
        return say(lang, "600, likes length", "600 个，偏爱长")
    return say(lang, f"{labels} rankings", f"{labels} 个排序")


def draw_goodhart(ax, results, labels, method, lang):
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
        curve = GaoFit(row["form"], row["alpha"], row["beta"], row["r_squared"])
        d = np.linspace(0, ends.max(), 80)  # (80,)
        ax.plot(d, gain_at(curve, d**2), color=INK, linewidth=0.9, linestyle=(0, (1, 1.5)))
        if what == "naturalness":
            told = f"α {row['alpha']:.2f}  β {row['beta']:.2f}\nR² {row['r_squared']:.2f}"
            ax.text(0.04, 0.04, told, transform=ax.transAxes, size=7, va="bottom")
    ax.axhline(0, color=GREY, linewidth=0.7)
    frame(ax)
    ax.margins(x=0.02)
    ax.set_xlabel("√KL", size=7.5, labelpad=1)


def draw_remedies(ax, results, labels, lang):
    """Natural answers that each remedy keeps: a point per trial, their mean a bar."""
    rows = {r["remedy"]: r for r in results["remedies"] if r["labels"] == labels}
    shown = [remedy for remedy in REMEDIES if remedy in rows]
    for place, remedy in enumerate(shown):
        row, colour = rows[remedy], REMEDIES[remedy][2]
        ax.plot(row["natural_each"], [place] * len(row["natural_each"]), "o", color=colour,
                markersize=2.6, alpha=0.55, linewidth=0)
        ax.plot([row["natural"]] * 2, [place - 0.36, place + 0.36], color=colour, linewidth=2)
    frame(ax, xlabel=say(lang, "natural answers", "自然的回答"))
    ax.xaxis.label.set_size(7.5)
    ax.grid(visible=False)
    ax.grid(axis="x", color=PALE, linewidth=0.6)
    ax.set_xlim(-0.04, 1.04)
    ax.set_xticks((0, 0.5, 1), ("0", "50 %", "100 %"))
    names = [say(lang, *REMEDIES[remedy][:2]) for remedy in shown]
    ax.set_yticks(range(len(names)), names, size=7.5)
    ax.set_ylim(len(names) - 0.4, -0.6)


def plot_overoptimization(results, lang="en"):
    """Five kinds of labels: PPO, best-of-n, and what each remedy keeps -> Figure."""
    trials = results["trials"]
    caption = say(
        lang,
        "Each column is one kind of labels; all annotators are simulated. Top: PPO without a KL "
        "price; middle: best of n up to 256. Orange, dashed: gain in the learned score; blue: gain "
        f"in gold naturalness; both in standard deviations of the reference's answers, {trials} "
        "trials: mean and band as far as all went, dots where each ended. Dotted: the curves of "
        "Gao et al. 2022; α, β and R² are those of gold. Look for: orange that climbs while blue "
        "turns, and in PPO falls below 0, the reference; more labels make the summit of best-of-n "
        "higher. Bottom: natural answers of the policy that a remedy keeps, a point per trial, "
        "mean as a bar.",
        "每一列的排序不同；标注者都是模拟的。上：没有 KL 代价的 PPO；中：n 选一，n 到 256。"
        "黄色虚线："
        "学到的评分比参考模型高多少；蓝色：真实自然度；单位都是参考模型回答的标准差，"
        f"{trials} 次训练：均值和从最低到最高的色带画到都走到的地方，小点是各自的终点。"
        "点线：Gao et al. 2022 的公式；α、β 和 R² 属于真实自然度。"
        "请看：黄色上升，蓝色却掉头，PPO 落到 0（参考模型）以下；排序越多，n 选一的最高点越高。"
        "下：每种办法留下的策略有多少自然的回答，一点是一次训练，短线是均值。",
    )
    title = say(lang, "Over-optimisation: the score climbs, the answers get worse",
                "过度优化：评分上升，回答变差")
    with style():
        fig = card(6.6, title, caption)
        labels_of = list(dict.fromkeys(row["labels"] for row in results["fits"]))
        axes = fig.subplots(3, len(labels_of), sharex="row", sharey="row",
                            height_ratios=(1, 1, 1.25))
        for column, labels in enumerate(labels_of):
            for ax, method in zip(axes[:, column], (ONE, BEST)):
                draw_goodhart(ax, results, labels, method, lang)
            draw_remedies(axes[2, column], results, labels, lang)
            axes[0, column].set_title(labels_name(labels, lang), size=8.5)
        for ax, name in zip(axes[:, 0], ("PPO", say(lang, "best of n", "n 选一"))):
            ax.set_ylabel(name + say(lang, ": gain (sd)", "：高多少（标准差）"), size=7.5)
    return fig
