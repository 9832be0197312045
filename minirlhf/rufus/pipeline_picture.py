"""The three steps of RLHF in one picture, with the numbers of one run."""

from minirlhf.messages import later, load_messages
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
    shorten,
    style,
)

MODELS = (("pretrained", BLUE), ("sft", GREEN), ("ppo", RED))


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


def box(ax, place, colour, lines, icon=""):
    """A rounded box: first line strong, the others quiet.

    place: (x, y, width, height) in inches, (x, y) its upper left corner.
    """
    from matplotlib.patches import FancyBboxPatch
    x, y, width, height = place
    ax.add_patch(FancyBboxPatch((x + 0.06, y + 0.06), width - 0.12, height - 0.12,
                                facecolor="white", boxstyle="round,pad=0.06", edgecolor=colour,
                                linewidth=1.1))
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


def seconds_text(summary, key, say):
    """" · 12.3 s" for one step of the run, or nothing."""
    value = summary.get("seconds", {}).get(key)
    return "" if value is None else say(" · {value:.1f} s", value=value)


def fact(story, key, phrase, say):
    """A phrase with story[key] as its {n}, or nothing where the run did not report it."""
    return "" if story.get(key) is None else say(phrase, n=story[key])


def language_model_column(summary, story, say):
    """What panel 1 says: a list of (kind, lines or label, icon)."""
    size = fact(story, "parameters", later("{n:,} parameters · "), say)
    corpus = fact(story, "documents", later("{n:,} questions and answers"), say)
    shown = fact(story, "demonstrations", later("SFT: imitate {n:,} demonstrations"), say)
    natural = {}
    for name in ("pretrained", "sft"):
        natural[name] = say("natural: ") + percent(summary[name]["natural_held_out"])
    return [
        ("box", [say("Text"), corpus or say("questions, answers")], "☰"),
        ("arrow", say("pretrain: guess the\nnext character")
         + seconds_text(summary, "pretrain", say), ""),
        ("box", [say("Pretrained model"), size + natural["pretrained"]], "robot"),
        ("arrow", (shown or say("SFT: imitate people")) + seconds_text(summary, "sft", say), ""),
        ("box", [say("SFT model"), natural["sft"] + say(" · kept as reference")], "robot")]


def reward_model_column(summary, story, say):
    """What panel 2 says: a list of (kind, lines or label, icon)."""
    prompt = shorten(story.get("prompt", "").strip() or say("a question"), 24)
    answers = list(zip(story.get("answers") or (), story.get("ranks") or ()))
    reward = summary["reward_model"]
    right = say("held-out pairs right: ") + percent(reward["accuracy_held_out"])
    return [
        ("box", [f"“{prompt}”", say("one prompt x")], "☺"),
        ("arrow", say("answers of the models"), ""),
        ("answers", answers or [(say("answer ") + name, "?") for name in "ABCD"], ""),
        ("arrow", say("simulated people rank\n{n:,} rankings", n=reward["rankings"])
         + seconds_text(summary, "rank", say), ""),
        ("box", [say("Reward model r(x, y)"), right + seconds_text(summary, "reward", say)], "⚖")]


def ppo_column(summary, story, say):
    """What panel 3 says: a list of (kind, lines or label, icon)."""
    answer = f":\n“{shorten(story['after'], 28)}”" if story.get("after") else ""
    ppo = summary["ppo"]
    steps = fact(story, "iterations", later("{n:,} iterations · "), say)
    clip = say("clip ") + percent(ppo["clip_fraction"]) + seconds_text(summary, "ppo", say)
    return [
        ("box", [say("Policy"), say("starts as the SFT model")], "robot"),
        ("arrow", say("answers y") + answer, ""),
        ("pair", [[say("Reward model"), say("score ") + f"{ppo['score']:.2f}"],
                  [say("❄ Reference"), say("KL {kl:.2f} nats", kl=ppo["kl_exact"])]], ""),
        ("arrow", say("reward = score − β · KL"), ""),
        ("box", [say("PPO update"), steps + clip], "↻")]


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
                place = (x + side * (half + 0.08), top, half, heights[kind])
                box(ax, place, colour, lines)
            ax.text(x + width / 2, top + 0.28, "−", size=8, color="white", ha="center", va="center",
                    bbox={"boxstyle": "circle,pad=0.15", "facecolor": colour, "edgecolor": CARD})
        elif kind == "answers":
            box(ax, (x, top, width, heights[kind]), colour, [])
            for i, (answer, rank) in enumerate(text[:4]):
                height = top + 0.19 + 0.26 * i
                ax.text(x + 0.14, height, shorten(answer, 27), size=8.2, va="center")
                ax.text(x + width - 0.2, height, str(rank), size=8, va="center", ha="center",
                        color="white", bbox={"boxstyle": "circle,pad=0.18", "edgecolor": "none",
                                             "facecolor": colour if rank == 1 else GREY})
        else:
            box(ax, (x, top, width, heights[kind]), colour, text, icon)
        top += length if kind == "arrow" else heights[kind]


def plot_pipeline(summary, lang="en"):
    """The three steps of RLHF as InstructGPT draws them, with this run's own numbers."""
    from matplotlib.patches import FancyBboxPatch
    say = load_messages(lang)
    story = summary.get("story") or {}
    shares = {key: percent(summary[key]["natural_held_out"]) for key, _ in MODELS}
    caption = say(
        "On questions never used for feedback, natural answers go from {pretrained} (pretrained) "
        "to {sft} (SFT) and {ppo} (PPO). Seed {seed}, all three steps in {seconds:.0f} s. The "
        "people are simulated.",
        seed=summary["seed"], seconds=summary["seconds"]["total"], **shares)
    panels = ((say("Language model"), language_model_column(summary, story, say)),
              (say("Reward model"), reward_model_column(summary, story, say)),
              (say("Reinforcement learning"), ppo_column(summary, story, say)))
    with style():
        fig = card(5.56, say("RLHF in three steps"), caption)
        fig.set_layout_engine("none")
        ax = fig.add_axes((0, 0, 1, 1))
        ax.set(xlim=(0, WIDTH), ylim=(fig.get_figheight(), 0))
        ax.axis("off")
        for i, (heading, items) in enumerate(panels):
            x, colour = 0.16 + 2.93 * i, MODELS[i][1]
            ax.add_patch(FancyBboxPatch((x + 0.08, 0.6), 2.66, 3.98, boxstyle="round,pad=0.08",
                                        facecolor=colour, alpha=0.09, linewidth=0))
            ax.text(x + 0.27, 0.76, str(i + 1), size=11, color="white", ha="center", va="center",
                    bbox={"boxstyle": "circle,pad=0.25", "facecolor": colour, "edgecolor": "none"})
            ax.text(x + 0.5, 0.76, heading, size=11, color=colour, va="center")
            draw_column(ax, x + 0.11, 1.05, 4.52, 2.42 if i == 2 else 2.6, colour, items)
        # The loop: from the update back to the policy, along the right edge of panel 3.
        ax.plot([x + 2.53, x + 2.67, x + 2.67], [4.24, 4.24, 1.33], color=colour, linewidth=1.3)
        ax.annotate("", (x + 2.52, 1.33), (x + 2.68, 1.33), arrowprops={
            "arrowstyle": "-|>", "color": colour, "linewidth": 1.3, "shrinkA": 0, "shrinkB": 0})
        draw_outcome(ax, 4.95, summary, story, say)
    return fig


def draw_outcome(ax, y, summary, story, say):
    """Bars of natural answers per model and, where a story is told, the answer before and after."""
    from matplotlib.patches import Rectangle
    ax.text(0.2, y, say("natural answers, held-out questions"), size=8.5)
    ax.text(4.0, y, say("training"), size=8, color=GREY, ha="right")
    ax.text(4.7, y, say("true"), size=8, color=GREY, ha="right")
    names = (say("pretrained"), "SFT", "PPO")
    for i, ((key, colour), name) in enumerate(zip(MODELS, names)):
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
        for i, (key, name) in enumerate((("before", say("before")), ("after", say("after")))):
            top, colour = y + 0.12 + 0.44 * i, (GREY, RED)[i]
            robot(ax, 5.28, top + 0.23, 0.2, colour)
            box(ax, (5.55, top, 3.2, 0.37), colour, [shorten(story[key], 28)])
            ax.text(8.65, top + 0.19, name, size=7.6, color=colour, ha="right", va="center")
