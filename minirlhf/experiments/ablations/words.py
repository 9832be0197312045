"""The bug gallery: what every ablation of PPO broke, and how the dashboard shows it.

EXHIBITS holds a few sentences for each ablation.  They speak of the committed runs
(benchmarks/ablations_en.json and ablations_zh.json: seed 0, three trials, annotators simulated),
and tests/test_gallery.py holds each of them by those files.  Several parts of PPO can be taken out
of this small world and nothing breaks; then the sentence says so.

`signs` are the figures that give the bug away, as summarise in ablations.py names them: of the
trained policy, or the mean, first five or last five iterations of a curve.  In both languages each
of the three trials lies higher (or lower) than each of the healthy run's; where an ablation changes
nothing, that happens to one figure in two hundred by chance.
"""

from dataclasses import dataclass

from minirlhf.experiments.ablations.run import ABLATIONS, HEALTHY, REGIMES
from minirlhf.plots import say

NOTHING = ("nothing broke", "没有坏")


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """One ablation.  Texts are pairs: English, Chinese."""

    chinese: str  # its name
    verdict: tuple  # two words
    broke: tuple  # what broke
    seen: tuple  # how the dashboard shows it
    regime: str  # the one to look at, of REGIMES
    signs: dict  # {figure: "higher" or "lower"} than the healthy run, in that regime
    picture: str  # the curve that is drawn


EXHIBITS = {
    "no clip": Exhibit(
        chinese="不裁剪",
        verdict=("too large steps", "步子过大"),
        broke=(
            "At the usual learning rate nothing. At four times that rate one update moves the "
            "policy too far: KL is higher in both languages, and fewer than half of the English "
            "answers are natural; the Chinese ones stay natural.",
            "平常的学习率下没有坏。学习率乘 4 时，一次更新把策略推得太远：两种语言的 KL 都更高，"
            "英文的回答不到一半是自然的；中文的回答仍然自然。",
        ),
        seen=(
            "The approximate KL of one update is more than twice the healthy run's. The panel of "
            "the ratios cannot warn: nothing is outside an infinite range, so it stays at 0.",
            "单次更新的近似 KL 是正常训练的两倍以上。比率的图不会报警：范围无限大，没有比率超出，"
            "所以一直是 0。",
        ),
        regime="bold",
        signs={"mean approx_kl": "higher", "kl_exact": "higher", "mean ratio_outside": "lower"},
        picture="approx_kl",
    ),
    "one epoch": Exhibit(
        chinese="只学一遍",
        verdict=("slower", "变慢"),
        broke=(
            "It only learns more slowly: a quarter of the optimiser steps brings four fifths of "
            "the score. At four times the learning rate the score less the price of its KL is no "
            "lower than the healthy run's.",
            "只是学得慢：优化步数是四分之一，得到五分之四的评分。学习率乘 4 时，"
            "评分减去 KL 的代价不比正常训练低。",
        ),
        seen=(
            "The score climbs late, explained variance too. Hardly a ratio is outside 1 ± ε, so "
            "the clip has nothing to do.",
            "评分上升得晚，解释方差也是。几乎没有比率超出 1 ± ε，裁剪无事可做。",
        ),
        regime="usual",
        signs={
            "score": "lower", "mean ratio_outside": "lower", "mean approx_kl": "lower",
            "last explained_variance": "lower", "entropy": "higher",
        },
        picture="score",
    ),
    "no KL": Exhibit(
        chinese="没有 KL",
        verdict=("reward hacking", "钻空子"),
        broke=(
            "Nothing holds the policy at the reference. At four times the learning rate its score "
            "is the highest of all, and fewer answers are natural than in the healthy run, in "
            "English hardly one.",
            "没有什么把策略拉在参考模型附近。学习率乘 4 时它的评分是全部之中最高的，"
            "自然的回答却比正常训练少，英文几乎一个不剩。",
        ),
        seen=(
            "Score and KL climb together; only the gold panel shows that the answers become worse. "
            "At the usual rate KL is the one warning in both languages.",
            "评分和 KL 一起上升；只有真实自然度的图显示回答在变差。平常的学习率下，"
            "KL 是两种语言都有的唯一警告。",
        ),
        regime="bold",
        signs={
            "score": "higher", "kl_exact": "higher", "natural": "lower", "naturalness": "lower",
            "mean ratio_outside": "higher",
        },
        picture="kl_exact",
    ),
    "no whitening": Exhibit(
        chinese="不做白化",
        verdict=NOTHING,
        broke=(
            "Nothing. The gradient is less than half as large, and KL a little lower; the score "
            "and the share of natural answers are those of the healthy run, also at four times the "
            "learning rate.",
            "没有坏。梯度不到一半大，KL 稍低；评分和自然回答的比例与正常训练一样，"
            "学习率乘 4 时也是。",
        ),
        seen=(
            "Fewer ratios are outside 1 ± ε, and KL stays lower.",
            "超出 1 ± ε 的比率更少，KL 更低。",
        ),
        regime="usual",
        signs={"mean ratio_outside": "lower", "kl_exact": "lower", "mean approx_kl": "lower"},
        picture="score",
    ),
    "no value function": Exhibit(
        chinese="没有价值函数",
        verdict=("noisier", "噪声更大"),
        broke=(
            "Less score and fewer natural answers for at least as much KL. At four times the "
            "learning rate the KL is more than three times the healthy run's, and the score falls.",
            "KL 不更少，评分和自然的回答却更少。学习率乘 4 时，KL 是正常训练的三倍以上，评分下降。",
        ),
        seen=(
            "Explained variance lies at 0. Entropy stays higher, and more ratios are outside "
            "1 ± ε.",
            "解释方差一直是 0。熵更高，超出 1 ± ε 的比率更多。",
        ),
        regime="usual",
        signs={
            "last explained_variance": "lower", "entropy": "higher", "mean ratio_outside": "higher",
            "score": "lower", "natural": "lower",
        },
        picture="explained_variance",
    ),
    "value from the SFT model": Exhibit(
        chinese="价值取自 SFT 模型",
        verdict=NOTHING,
        broke=(
            "Nothing. Stiennon et al. 2020 start the values from the reward model, as the healthy "
            "run does; here that start is worse than a head of zeros on the first rollout, and "
            "after ten iterations the two are alike.",
            "没有坏。Stiennon et al. 2020 从奖励模型开始学价值，正常训练也是；在这里，"
            "第一次采样时它比全零的头还差，十次迭代之后两者一样。",
        ),
        seen=(
            "Explained variance starts at 0 and not below −0.5, and later meets the healthy run's.",
            "解释方差从 0 开始，而不是低于 −0.5，之后与正常训练会合。",
        ),
        regime="usual",
        signs={"first explained_variance": "higher"},
        picture="explained_variance",
    ),
    "value from noise": Exhibit(
        chinese="价值取自随机权重",
        verdict=NOTHING,
        broke=(
            "Nothing. The values are worse in every trial, and even so the score and the share of "
            "natural answers are those of the healthy run.",
            "没有坏。每次训练的价值估计都更差，评分和自然回答的比例仍与正常训练一样。",
        ),
        seen=(
            "Explained variance starts at 0 and not below −0.5, and then lags behind the healthy "
            "run's.",
            "解释方差从 0 开始，而不是低于 −0.5，之后一直落后于正常训练。",
        ),
        regime="usual",
        signs={"first explained_variance": "higher"},
        picture="explained_variance",
    ),
    "KL in the loss, k2": Exhibit(
        chinese="KL 放进损失，k2",
        verdict=("a cheaper KL", "KL 变便宜"),
        broke=(
            "The same coefficient holds the policy less: about two thirds more KL in English and a "
            "quarter more in Chinese, for about the same score and as many natural answers.",
            "同样的系数拉得更松：KL 英文约多三分之二，中文约多四分之一，评分和自然的回答差不多。",
        ),
        seen=(
            "KL is higher; no other panel differs in both languages.",
            "KL 更高；没有别的图在两种语言中都不同。",
        ),
        regime="usual",
        signs={"kl_exact": "higher"},
        picture="kl_exact",
    ),
    "KL in the loss, k3": Exhibit(
        chinese="KL 放进损失，k3",
        verdict=("too soft a KL", "KL 太软"),
        broke=(
            "Where a token has become likelier than for the reference, the pull back never passes "
            "1, however far it is. At four times the learning rate fewer answers are natural, and "
            "the English KL is more than twice the healthy run's.",
            "token 比参考模型更可能时，不管差多远，拉回来的力都不超过 1。学习率乘 4 时，"
            "自然的回答更少，英文的 KL 是正常训练的两倍以上。",
        ),
        seen=(
            "Entropy stays higher, while gold naturalness falls behind.",
            "熵更高，真实自然度落后。",
        ),
        regime="bold",
        signs={"entropy": "higher", "natural": "lower"},
        picture="entropy",
    ),
    "mean per answer": Exhibit(
        chinese="按回答平均",
        verdict=NOTHING,
        broke=(
            "Nothing: the answers of this world are about equally long, so a mean per answer and "
            "a mean per token are nearly the same.",
            "没有坏：这个世界的回答差不多一样长，按回答平均与按 token 平均几乎相同。",
        ),
        seen=(
            "It does not: at the usual rate no panel differs in both languages.",
            "看不出来：平常的学习率下，没有一个图在两种语言中都不同。",
        ),
        regime="usual",
        signs={},
        picture="score",
    ),
    "score on every token": Exhibit(
        chinese="每个 token 都得评分",
        verdict=("runs away", "跑偏"),
        broke=(
            "Beside a score that is paid many times the price of KL is small: KL is at least half "
            "as high again, for no more score. At four times the learning rate one English answer "
            "in ten is natural, and the Chinese ones grow longer.",
            "评分付了许多次，KL 的价格就显得小：KL 至少多一半，评分却没有更多。学习率乘 4 时，"
            "英文的回答十个里有一个自然，中文的回答变长。",
        ),
        seen=(
            "KL is higher, and more ratios are outside 1 ± ε, while the score gains nothing.",
            "KL 更高，超出 1 ± ε 的比率更多，评分却没有增加。",
        ),
        regime="usual",
        signs={"kl_exact": "higher", "mean ratio_outside": "higher"},
        picture="kl_exact",
    ),
    "EOS masked out": Exhibit(
        chinese="不算 EOS",
        verdict=("learns less", "学得少"),
        broke=(
            "The token that ends an answer gets no advantage, so to stop in the right place is not "
            "rewarded. For about the same KL, score and natural answers stay lower.",
            "结束回答的 token 没有优势值，停在对的地方得不到奖励。KL 差不多，"
            "评分和自然回答的比例却更低。",
        ),
        seen=(
            "The score ends too low, explained variance too. Length and missing EOS do not warn: "
            "nearly every answer still ends, and about where it should.",
            "评分和解释方差最后都太低。长度和缺少 EOS 的比例不会报警：几乎每个回答仍会结束，"
            "长度也差不多。",
        ),
        regime="usual",
        signs={
            "score": "lower", "natural": "lower", "last explained_variance": "lower",
            "mean ratio_outside": "higher",
        },
        picture="score",
    ),
}
PANELS = {  # curve: its name on the dashboard
    "score": ("reward model score", "奖励模型评分"),
    "kl_exact": ("KL to the reference", "与参考模型的 KL"),
    "entropy": ("entropy per token", "每个 token 的熵"),
    "approx_kl": ("approx. KL of one update", "单次更新的近似 KL"),
    "explained_variance": ("explained variance", "价值函数解释方差"),
}


# ---- in words -------------------------------------------------------------------------------


def sentences(lang="en"):
    """-> one line for each ablation: what broke, and how the dashboard shows it."""
    lines = []
    for name in ABLATIONS:
        exhibit = EXHIBITS[name]
        broke, seen = say(lang, *exhibit.broke), say(lang, *exhibit.seen)
        lines.append(say(lang, f"{name}: {broke} Dashboard: {seen}",
                         f"{exhibit.chinese}：{broke}仪表板：{seen}"))
    return lines


def table(results):
    """Results of run_ablations -> the lines of a table in Markdown, two columns for a regime."""
    head = ["ablation"]
    for regime, factor in REGIMES.items():
        rate = f"{factor} x rate" if factor != 1 else regime
        head += [f"{rate}: score", "KL (nats)", "natural"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    rows = {(row["regime"], row["name"]): row for row in results["summary"]}
    for name in (HEALTHY, *ABLATIONS):
        cells = [name]
        for regime in REGIMES:
            row = rows[regime, name]
            for figure in ("score", "kl_exact"):
                cells.append(f"{row[figure]:.2f} ± {row[figure + '_sd']:.2f}")
            judged = "natural" in row
            percent = f"{row['natural']:.0%} ± {100 * row['natural_sd']:.0f}" if judged else "–"
            cells.append(percent)
        lines.append("| " + " | ".join(cells) + " |")
    return lines
