"""The three steps of RLHF in one picture, with the numbers of one run."""

from minirlhf.plots import (
    BLUE,
    CARD,
    GREEN,
    GREY,
    INK,
    PALE,
    RED,
    WIDTH,
    card,
    percent,
    say,
    shorten,
    style,
)


def robot(ax, x, y, size, colour):
    """Rufus: a round-cornered head with eyes, mouth and antenna, centred on (x, y) inches."""
    from matplotlib.patches import Circle, FancyBboxPatch
    ax.plot([x, x], [y - 0.5 * size, y - 0.75 * size], color=colour, linewidth=1.2)
    ax.add_patch(Circle((x, y - 0.8 * size), 0.09 * size, color=colour))
    ax.add_patch(FancyBboxPatch((x - 0.35 * size, y - 0.3 * size), 0.7 * size, 0.6 * size,
                                color=colour, boxstyle=f"round,pad={0.15 * size}", linewidth=0))
    for side in (-0.2, 0.2):
        ax.add_patch(Circle((x + side * size, y - 0.1 * size), 0.1 * size, color="white"))
    ax.plot([x - 0.2 * size, x + 0.2 * size], [y + 0.24 * size] * 2, color="white", linewidth=1.2)


def box(ax, x, y, width, height, colour, lines, icon="", fill="white"):
    """A rounded box with its upper left corner at (x, y): first line strong, the others quiet."""
    from matplotlib.patches import FancyBboxPatch
    ax.add_patch(FancyBboxPatch((x + 0.06, y + 0.06), width - 0.12, height - 0.12, facecolor=fill,
                                boxstyle="round,pad=0.06", edgecolor=colour, linewidth=1.1))
    if icon == "robot":
        robot(ax, x + 0.27, y + height / 2 + 0.05, 0.22, colour)
    else:
        ax.text(x + 0.27, y + height / 2, icon, size=15, color=colour, ha="center", va="center")
    left = x + (0.54 if icon else 0.12)
    for i, line in enumerate(lines):
        middle = y + height / 2 + 0.19 * (i - (len(lines) - 1) / 2)
        ax.text(left, middle, line, size=7.6 if i else 9, color=GREY if i else INK, va="center")


def arrow(ax, x, y, length, colour, label):
    """A downward arrow with its label to the right; y runs downwards."""
    ax.annotate("", (x, y + length), (x, y), arrowprops={
        "arrowstyle": "-|>", "color": colour, "linewidth": 1.3, "shrinkA": 1, "shrinkB": 1})
    ax.text(x + 0.14, y + length / 2 - 0.01, label, size=7.6, color=GREY, va="center",
            linespacing=1.25)


def seconds_text(summary, key, lang):
    """" · 12.3 s" for one step of the run, or nothing."""
    value = summary.get("seconds", {}).get(key)
    return "" if value is None else say(lang, f" · {value:.1f} s", f" · {value:.1f} 秒")


def fact(story, key, english, chinese, lang):
    """A phrase around story[key], or nothing where the run did not report it."""
    if story.get(key) is None:
        return ""
    return say(lang, english, chinese).format(f"{story[key]:,}")


def pipeline_columns(summary, story, lang):
    """What the three panels say: per panel a list of (kind, lines or label, icon)."""
    natural = say(lang, "natural: ", "自然回答 ")
    before, after = (natural + percent(summary[name]["natural_held_out"])
                     for name in ("pretrained", "sft"))
    prompt = shorten(story.get("prompt", "").strip() or say(lang, "a question", "一个问题"), 24)
    answer = f":\n“{shorten(story['after'], 28)}”" if story.get("after") else ""
    reward, ppo = summary["reward_model"], summary["ppo"]
    size = fact(story, "parameters", "{} parameters · ", "{} 个参数 · ", lang)
    corpus = fact(story, "documents", "{} questions and answers", "{} 组问答", lang)
    shown = fact(story, "demonstrations", "SFT: imitate {} demonstrations",
                 "SFT：模仿 {} 条示范", lang) or say(lang, "SFT: imitate people", "SFT：模仿人的示范")
    steps = fact(story, "iterations", "{} iterations · ", "{} 次迭代 · ", lang)
    pairs = say(lang, "held-out pairs right: ", "留出回答对正确率 ")
    answers = list(zip(story.get("answers") or (), story.get("ranks") or ()))
    first = [
        ("box", [say(lang, "Text", "文本"), corpus or say(lang, "questions, answers", "问答")], "☰"),
        ("arrow", say(lang, "pretrain: guess the\nnext character", "预训练：\n猜下一个字符")
         + seconds_text(summary, "pretrain", lang), ""),
        ("box", [say(lang, "Pretrained model", "预训练模型"), size + before], "robot"),
        ("arrow", shown + seconds_text(summary, "sft", lang), ""),
        ("box", [say(lang, "SFT model", "SFT 模型"),
                 after + say(lang, " · kept as reference", " · 留作参考模型")], "robot")]
    second = [
        ("box", [f"“{prompt}”", say(lang, "one prompt x", "一个提示 x")], "☺"),
        ("arrow", say(lang, "answers of the models", "几个模型的回答"), ""),
        ("answers", answers or [(say(lang, "answer ", "回答 ") + name, "?") for name in "ABCD"], ""),
        ("arrow", say(lang, f"simulated people rank\n{reward['rankings']:,} rankings",
                      f"模拟标注者排序\n{reward['rankings']:,} 组排序")
         + seconds_text(summary, "rank", lang), ""),
        ("box", [say(lang, "Reward model r(x, y)", "奖励模型 r(x, y)"),
                 pairs + percent(reward["accuracy_held_out"])
                 + seconds_text(summary, "reward", lang)], "⚖")]
    third = [
        ("box", [say(lang, "Policy", "策略"),
                 say(lang, "starts as the SFT model", "从 SFT 模型出发")], "robot"),
        ("arrow", say(lang, "answers y", "回答 y") + answer, ""),
        ("pair", [[say(lang, "Reward model", "奖励模型"),
                   say(lang, "score ", "评分 ") + f"{ppo['score']:.2f}"],
                  [say(lang, "❄ Reference", "❄ 参考模型"),
                   f"KL {ppo['kl_exact']:.2f} " + say(lang, "nats", "nat")]], ""),
        ("arrow", say(lang, "reward = score − β · KL", "奖励 = 评分 − β · KL"), ""),
        ("box", [say(lang, "PPO update", "PPO 更新"), steps + say(lang, "clip ", "裁剪 ")
                 + percent(ppo["clip_fraction"]) + seconds_text(summary, "ppo", lang)], "↻")]
    return first, second, third


def draw_column(ax, x, top, bottom, width, colour, items):
    """Boxes and arrows of one panel; the arrows share the height that the boxes leave."""
    heights = {"box": 0.56, "pair": 0.56, "answers": 1.16}
    arrows = sum(kind == "arrow" for kind, _, _ in items)
    length = (bottom - top - sum(heights.get(kind, 0) for kind, _, _ in items)) / arrows
    for kind, text, icon in items:
        if kind == "arrow":
            arrow(ax, x + 0.3, top, length, colour, text)
        elif kind == "pair":
            for side, lines in enumerate(text):
                half = (width - 0.08) / 2
                box(ax, x + side * (half + 0.08), top, half, heights[kind], colour, lines)
            ax.text(x + width / 2, top + 0.28, "−", size=8, color="white", ha="center", va="center",
                    bbox={"boxstyle": "circle,pad=0.15", "facecolor": colour, "edgecolor": CARD})
        elif kind == "answers":
            box(ax, x, top, width, heights[kind], colour, [])
            for i, (answer, rank) in enumerate(text[:4]):
                height = top + 0.19 + 0.26 * i
                ax.text(x + 0.14, height, shorten(answer, 27), size=8.2, va="center")
                ax.text(x + width - 0.2, height, str(rank), size=8, va="center", ha="center",
                        color="white", bbox={"boxstyle": "circle,pad=0.18", "edgecolor": "none",
                                             "facecolor": colour if rank == 1 else GREY})
        else:
            box(ax, x, top, width, heights[kind], colour, text, icon)
        top += length if kind == "arrow" else heights[kind]


def plot_pipeline(summary, lang="en"):
    """The three steps of RLHF as InstructGPT draws them, with this run's own numbers."""
    from matplotlib.patches import FancyBboxPatch
    story = summary.get("story") or {}
    models = (("pretrained", say(lang, "pretrained", "预训练"), BLUE), ("sft", "SFT", GREEN),
              ("ppo", "PPO", RED))
    caption = say(
        lang, "On questions never used for feedback, natural answers go from "
        f"{percent(summary['pretrained']['natural_held_out'])} (pretrained) to "
        f"{percent(summary['sft']['natural_held_out'])} (SFT) and "
        f"{percent(summary['ppo']['natural_held_out'])} (PPO). Seed {summary['seed']}, all three "
        f"steps in {summary['seconds']['total']:.0f} s. The people are simulated.",
        "在从未用于反馈的问题上，自然回答的比例从 "
        f"{percent(summary['pretrained']['natural_held_out'])}（预训练）到 "
        f"{percent(summary['sft']['natural_held_out'])}（SFT），再到 "
        f"{percent(summary['ppo']['natural_held_out'])}（PPO）。"
        f"随机种子 {summary['seed']}，三步共 {summary['seconds']['total']:.0f} 秒。标注者是模拟的。")
    headings = say(lang, ("Language model", "Reward model", "Reinforcement learning"),
                   ("语言模型", "奖励模型", "强化学习"))
    with style():
        fig = card(5.56, say(lang, "RLHF in three steps", "RLHF 三步走"), caption)
        fig.set_layout_engine("none")
        ax = fig.add_axes((0, 0, 1, 1))
        ax.set(xlim=(0, WIDTH), ylim=(fig.get_figheight(), 0))
        ax.axis("off")
        for i, items in enumerate(pipeline_columns(summary, story, lang)):
            x, colour = 0.16 + 2.93 * i, models[i][2]
            ax.add_patch(FancyBboxPatch((x + 0.08, 0.6), 2.66, 3.98, boxstyle="round,pad=0.08",
                                        facecolor=colour, alpha=0.09, linewidth=0))
            ax.text(x + 0.27, 0.76, str(i + 1), size=11, color="white", ha="center", va="center",
                    bbox={"boxstyle": "circle,pad=0.25", "facecolor": colour, "edgecolor": "none"})
            ax.text(x + 0.5, 0.76, headings[i], size=11, color=colour, va="center")
            draw_column(ax, x + 0.11, 1.05, 4.52, 2.42 if i == 2 else 2.6, colour, items)
        # The loop: from the update back to the policy, along the right edge of panel 3.
        ax.plot([x + 2.53, x + 2.67, x + 2.67], [4.24, 4.24, 1.33], color=colour, linewidth=1.3)
        ax.annotate("", (x + 2.52, 1.33), (x + 2.68, 1.33), arrowprops={
            "arrowstyle": "-|>", "color": colour, "linewidth": 1.3, "shrinkA": 0, "shrinkB": 0})
        draw_outcome(ax, 4.95, summary, story, models, lang)
    return fig


def draw_outcome(ax, y, summary, story, models, lang):
    """Bars of natural answers per model and, where a story is told, the answer before and after."""
    from matplotlib.patches import Rectangle
    ax.text(0.2, y, say(lang, "natural answers, held-out questions", "自然回答，留出问题"), size=8.5)
    ax.text(4.0, y, say(lang, "training", "训练"), size=8, color=GREY, ha="right")
    ax.text(4.7, y, say(lang, "true", "属实"), size=8, color=GREY, ha="right")
    for i, (key, name, colour) in enumerate(models):
        middle, row = y + 0.25 + 0.3 * i, summary[key]
        ax.text(0.98, middle, name, size=9, ha="right", va="center")
        ax.add_patch(Rectangle((1.05, middle - 0.1), 1.75, 0.2, facecolor=PALE, linewidth=0))
        ax.add_patch(Rectangle((1.05, middle - 0.1), 1.75 * row["natural_held_out"], 0.2,
                               facecolor=colour, linewidth=0))
        ax.text(3.3, middle, percent(row["natural_held_out"]), size=10, ha="right", va="center")
        for x, share in ((4.0, row.get("natural_train")), (4.7, row.get("truthful"))):
            ax.text(x, middle, percent(share), size=8.5, color=GREY, ha="right", va="center")
    if story.get("before") and story.get("after"):
        ax.text(5.1, y, shorten(story.get("prompt", "").strip(), 40), size=8.5)
        for i, (key, name) in enumerate((("before", say(lang, "before", "之前")),
                                         ("after", say(lang, "after", "之后")))):
            top, colour = y + 0.12 + 0.44 * i, (GREY, RED)[i]
            robot(ax, 5.28, top + 0.23, 0.2, colour)
            box(ax, 5.55, top, 3.2, 0.37, colour, [shorten(story[key], 28)])
            ax.text(8.65, top + 0.19, name, size=7.6, color=colour, ha="right", va="center")
