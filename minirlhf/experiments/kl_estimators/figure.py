"""The pictures of `estimators` and `signals`, drawn from their results or from the JSON files."""

import numpy as np

from minirlhf.experiments.labels.scores_or_rankings import KINDS
from minirlhf.plots import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    card,
    frame,
    say,
    style,
)

VALUE_LOOKS = {  # estimator: colour, line
    "k1": (INK, "-"),
    "k2 per token": (BLUE, "-"),
    "k2 per answer": (BLUE, ":"),
    "k3 per token": (ORANGE, "-"),
    "k3 per answer": (ORANGE, ":"),
    "exact per step": (GREEN, "--"),
}
USE_LOOKS = {
    "k1 in the loss": (INK, ":"),
    "k2 in the loss": (BLUE, "--"),
    "k3 in the loss": (ORANGE, "--"),
    "k2 in the loss, per answer": (BLUE, "-"),
    "k3 in the loss, per answer": (ORANGE, "-"),
    "k1 in the reward": (GREEN, "-"),
    "k2 in the reward": (SKY, "-."),
    "k3 in the reward": (RED, "-."),
}
KIND_LOOKS = {
    "raw scores": (RED, ":", "原始评分"),
    "z-scores": (ORANGE, "--", "标准化评分"),
    "scores as ranks": (SKY, "-.", "评分的次序"),
    "rankings": (BLUE, "-", "排序"),
}
CROWD_NAMES = {
    "the package's crowd": "本包的标注者",
    "strict and generous": "有严有宽",
    "moods": "心情多变",
    "all alike": "大家一样",
    "one careful person": "一个细心的人",
}
WAY_LOOKS = {
    "demonstrations": (GREEN, "-", "示范"),
    "rankings": (BLUE, "--", "排序"),
    "half and half": (PURPLE, "-.", "各一半"),
}
PLACES = (("in the loss", "在损失中"), ("per answer", "按回答"), ("in the reward", "在奖励中"),
          ("per token", "按 token"), ("exact per step", "逐步精确"), (", ", "，"))


def name_of(text, lang):
    """The name of an estimator or of its use in the reader's language."""
    if lang == "zh":
        for english, chinese in PLACES:
            text = text.replace(english, chinese)
    return text


# ---- estimators -----------------------------------------------------------------------------


def over_stations(ax, results, part, figure, looks, lang):
    """One figure of every estimator or use against the exact KL, with a bar of one deviation."""
    rows = results["stations"]
    kls = [row["kl"][0] for row in rows]
    for name, (colour, line) in looks.items():
        pairs = np.array([row[part][name][figure] for row in rows])  # (stations, 2)
        ax.errorbar(kls, pairs[:, 0], pairs[:, 1], color=colour, linestyle=line, linewidth=1.5,
                    elinewidth=0.7, marker="o", markersize=2.5,
                    label=name_of(name, lang))
    ax.set_xscale("log")


def draw_descents(ax, results, looks):
    """Exact KL while each use alone is followed."""
    for name, (colour, line) in looks.items():
        pairs = np.array(results["descents"][name])  # (looks, 2)
        ax.errorbar(results["steps"], pairs[:, 0], pairs[:, 1], color=colour, linestyle=line,
                    linewidth=1.5, elinewidth=0.7, marker="o", markersize=2.5)


def plot_estimators(results, lang="en"):
    """Bias and spread of the estimators, direction and effect of their gradients -> Figure."""
    trials = len(results["trials"])
    caption = say(
        lang,
        "Policies that PPO without a KL price has led away from the reference, by a reward model "
        f"from 50 rankings by simulated annotators; {trials} trials, bars of one standard "
        "deviation. Top: mean of an estimator minus the exact KL, as a share "
        "of it, and the spread of a single answer. Look for: k2's bias grows with the distance, "
        "those of k1 and k3 stay near 0; close to the reference k1 spreads most. Bottom left: does "
        "the expected gradient point where grad KL(π, ref) points (1), or nowhere near (0)? Bottom "
        "right: each use alone, followed for 40 steps. In the loss all but k1 lead back; in the "
        "reward k1 does, k2 and k3 stop halfway.",
        "奖励模型来自模拟标注者的 50 个排序，没有 KL 代价的 PPO 把策略带离参考模型；"
        f"{trials} 次训练，竖线是一个标准差。上：估计值的均值"
        "减去精确 KL（占它的比例），和单个回答的分散程度。请看：越远，k2 的偏差越大，"
        "k1 和 k3 仍近于 0；离参考模型近时，k1 最分散。"
        "左下：期望梯度是否指向 KL(π, ref) 的梯度（1），还是完全不（0）。"
        "右下：单独用每一种走 40 步。"
        "在损失中，除了 k1 都会走回去；在奖励中 k1 会，k2 和 k3 停在半路。",
    )
    title = say(lang, "Three estimators of one KL", "同一个 KL 的三种估计")
    with style():
        fig = card(5.4, title, caption)
        axes = fig.subplots(2, 2)
        far = say(lang, "exact KL, nats", "精确 KL，nat")
        over_stations(axes[0, 0], results, "value", "bias", VALUE_LOOKS, lang)
        frame(axes[0, 0], say(lang, "bias, share of the exact KL", "偏差，占精确 KL 的比例"), far)
        axes[0, 0].set_yscale("symlog", linthresh=0.5)
        axes[0, 0].set_ylim(-0.3, None)
        axes[0, 0].set_yticks((0, 0.5, 1, 3, 10), ("0", "0.5", "1", "3", "10"))
        over_stations(axes[0, 1], results, "value", "relative_sd", VALUE_LOOKS, lang)
        frame(axes[0, 1], say(lang, "spread of one answer, the same", "单个回答的分散，同上"), far)
        axes[0, 1].set_yscale("log")
        over_stations(axes[1, 0], results, "direction", "forward", USE_LOOKS, lang)
        frame(axes[1, 0], say(lang, "cosine with grad KL(π, ref)", "与 KL(π, ref) 梯度的余弦"), far)
        draw_descents(axes[1, 1], results, USE_LOOKS)
        frame(axes[1, 1], say(lang, "exact KL, one use followed", "精确 KL，只用一种"),
              say(lang, "steps", "步"))
        axes[1, 1].set_ylim(0, None)
        for ax in axes.flat:
            ax.xaxis.label.set_size(7.5)
        for ax in axes[:, 1]:
            handles = axes[0, 0] if ax is axes[0, 1] else axes[1, 0]
            ax.legend(*handles.get_legend_handles_labels(), fontsize=7, frameon=False,
                      loc="upper left", bbox_to_anchor=(1, 1))
    return fig


# ---- signals --------------------------------------------------------------------------------


def draw_crowd(ax, results, crowd, lang):
    """Accuracy of reward models against labelled sets, a line for each kind of label."""
    sets = results["settings"]["sets"]
    for kind in KINDS:
        colour, line, chinese = KIND_LOOKS[kind]
        pairs = 100 * np.array(results["crowds"][crowd][kind])  # (N, 2)
        ax.errorbar(sets, pairs[:, 0], pairs[:, 1], color=colour, linestyle=line, linewidth=1.6,
                    elinewidth=0.7, label=say(lang, kind, chinese))
    frame(ax, say(lang, crowd, CROWD_NAMES[crowd]))
    ax.set_xscale("log")
    ax.set_xticks(sets, [str(n) for n in sets])
    ax.minorticks_off()
    ax.set_ylim(40, 95)
    ax.set_xlabel(say(lang, "labelled sets of four", "标注的四个一组"), size=7.5)


def draw_ways(ax, results, lang):
    """Natural answers (lines with bars) and true ones of them (thin) against minutes."""
    start = results["pretrained"]
    for way, (colour, line, chinese) in WAY_LOOKS.items():
        rows = results["ways"][way]
        minutes = [0, *(row["minutes"] for row in rows)]
        pairs = np.array([row["natural_held_out"] for row in rows])  # (N, 2)
        natural = [100 * start["natural_held_out"], *(100 * pairs[:, 0])]
        ax.errorbar(minutes, natural, [0, *(100 * pairs[:, 1])], color=colour, linestyle=line,
                    linewidth=1.6, elinewidth=0.7, label=say(lang, way, chinese))
        true = [100 * start["true"], *(100 * row["true"][0] for row in rows)]
        ax.plot(minutes, true, color=colour, linewidth=0.8, linestyle=line, marker="x",
                markersize=3.5)
    frame(ax, say(lang, "demonstrations or rankings?", "示范还是排序？"))
    ax.set_ylim(0, 100)
    ax.set_xlabel(say(lang, "assumed minutes of work", "假定的工作分钟数"), size=7.5)
    ax.legend(fontsize=7, frameon=False, loc="lower right")


def plot_signals(results, lang="en"):
    """Labels against labels in five crowds, and minutes of work -> Figure."""
    trials, longest = results["trials"], max(results["settings"]["sets"])
    crowds = results["crowds"]
    raw, best = (100 * crowds["strict and generous"][kind][-1][0]
                 for kind in ("raw scores", "rankings"))
    caption = say(
        lang,
        f"SIMULATED annotators, {trials} trials, bars of one standard deviation. Five panels: % of "
        "pairs on held-out questions that a reward model orders as the gold judge does. Look for: "
        f"with strict and generous people raw scores reach {raw:.0f} % at {longest} sets, rankings "
        f"{best:.0f} %; where all are alike the lines come close. Last panel: % of natural answers "
        "to held-out questions for the same assumed minutes; thin, with crosses: of the natural "
        "answers to training questions, % true.",
        f"模拟标注者，{trials} 次试验，竖线是一个标准差。五个图：留出问题上奖励模型与真实评判"
        f"次序相同的百分比。请看：有严有宽时，{longest} 组原始评分到 {raw:.0f} %，"
        f"排序到 {best:.0f} %；"
        "大家一样时几条线靠近。最后一图：同样的分钟数后留出问题上自然回答的百分比；"
        "细线带叉：训练问题的自然回答中真实的百分比。",
    )
    title = say(lang, "Score or rank, show or judge?", "评分还是排序，示范还是评判？")
    with style():
        fig = card(5.4, title, caption)
        axes = fig.subplots(2, 3)
        for ax, crowd in zip(axes.flat, crowds):
            draw_crowd(ax, results, crowd, lang)
        axes[0, 0].legend(fontsize=7, frameon=False, loc="lower right")
        draw_ways(axes[1, 2], results, lang)
    return fig
