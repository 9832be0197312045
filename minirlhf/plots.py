"""Every picture of the package, drawn from plain results: dicts, lists and NumPy arrays.

matplotlib is imported inside functions only, here and elsewhere, so training needs none of it.
Each plot_* function returns a `matplotlib.figure.Figure` made with the object-oriented API: no
pyplot, no change of the reader's rcParams. `lang` is as in messages.py. Every figure is an opaque
light card with a caption that says what to see; `figure.get_label()` is that caption.
Colours: Okabe and Ito 2008 (safe for colour-blind readers), always beside a line style, a marker or
a printed value. Heatmaps: cividis; signed values: RdBu with zero at white. Shares are 0..1.
Chinese glyphs come from data/fonts/minirlhf-cjk.otf (a subset, see make_subset.py beside it).
"""

import os
import re
from operator import itemgetter
from pathlib import Path

import numpy as np

from minirlhf.data import DATA
from minirlhf.messages import later, load_messages

FONT_FILE = DATA / "fonts" / "minirlhf-cjk.otf"
FONT_FAMILY = "minirlhf CJK"
# Installed Chinese fonts, for characters outside the subset (macOS, Windows, Linux names).
SYSTEM_FONTS = ("Noto Sans CJK SC", "Source Han Sans SC", "PingFang SC", "Hiragino Sans GB",
                "Microsoft YaHei", "SimHei", "WenQuanYi Micro Hei", "Arial Unicode MS")
CARD, INK, GREY, PALE = "#fcfcfa", "#1a1a1a", "#595959", "#dddddd"
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"     # Okabe-Ito
PURPLE, SKY = "#CC79A7", "#56B4E9"
WIDTH, DPI = 9.0, 160                                  # inches: 1440 pixels, shown at about 900
WIDE = r"\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef"      # characters as wide as two Latin ones


# ---------------------------------------------------------------- text, fonts, files

def visible(char):
    """One character as a person can see it: a space as ␣, a newline as ↵, a tab as ⇥."""
    return {" ": "␣", "\n": "↵", "\t": "⇥"}.get(char, char)


def percent(share, digits=0):
    """0.934 -> "93 %"; a dash when there is nothing to say (None or NaN)."""
    missing = share is None or not np.isfinite(share)
    return "–" if missing else f"{100 * share:.{digits}f} %"


def text_cells(text):
    """Width of a text in Latin characters, a Chinese one counted twice."""
    return len(text) + len(re.findall(f"[{WIDE}]", text))


def wrap(text, cells):
    """Lines of at most `cells` Latin widths; Chinese breaks anywhere but before punctuation."""
    pieces = re.findall(rf"[“（《]*(?:[^\s{WIDE}]+|[{WIDE}])[”）》，。！？：；、…,.]*\s*", text)
    lines = [""]
    for piece in pieces:
        if lines[-1] and text_cells((lines[-1] + piece).rstrip()) > cells:
            lines.append("")
        lines[-1] += piece
    return [line.rstrip() for line in lines]


def shorten(text, cells):
    """The text on one line (newline as ↵), cut with … where it is wider than `cells`."""
    text = shown = str(text).replace("\n", "↵")
    while text_cells(shown) > cells:
        text = text[:-1]
        shown = text + "…"
    return shown


def font_families():
    """Latin from DejaVu Sans, Chinese from the bundled subset, then from whatever is installed."""
    from matplotlib.font_manager import fontManager
    installed = {font.name for font in fontManager.ttflist}
    if FONT_FAMILY not in installed and FONT_FILE.exists():
        fontManager.addfont(FONT_FILE)
        installed.add(FONT_FAMILY)
    return ["DejaVu Sans"] + [name for name in (FONT_FAMILY, *SYSTEM_FONTS) if name in installed]


def style():
    """The context figures are made in; leaving it restores the reader's own settings."""
    import matplotlib
    return matplotlib.rc_context({
        "font.family": font_families(), "font.size": 9, "font.weight": "normal",
        "text.color": INK, "text.parse_math": False, "text.usetex": False,
        "axes.facecolor": CARD, "axes.edgecolor": GREY, "axes.labelcolor": INK,
        "axes.titlecolor": INK, "axes.titlesize": 9.5, "axes.titleweight": "normal",
        "axes.titlelocation": "left", "axes.labelsize": 8.5, "axes.labelweight": "normal",
        "axes.spines.top": False, "axes.spines.right": False, "axes.grid": False,
        "xtick.labelsize": 8, "ytick.labelsize": 8, "xtick.color": GREY, "ytick.color": GREY,
        "hatch.linewidth": 0.6})


def save_figure(fig, path, alt=""):
    """Write the PNG so that `path` is always whole: a temporary neighbour, then a rename.

    The alternative text goes into the PNG's "Description"; empty means the figure's caption.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        fig.savefig(temporary, format="png", dpi=DPI, facecolor=CARD,
                    metadata={"Software": None, "Description": alt or fig.get_label()})
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


# ---------------------------------------------------------------- the parts of a figure

def card(body, title, caption):
    """An empty figure: title, `body` inches for axes, caption (also the figure's label)."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    lines = wrap(caption, 138)
    foot = 0.17 * len(lines) + 0.24
    height = 0.5 + body + foot
    fig = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor=CARD, layout="constrained")
    fig.get_layout_engine().set(rect=(0.01, foot / height, 0.98, body / height))
    fig.text(0.16 / WIDTH, 1 - 0.27 / height, title, size=12.5, va="center")
    fig.text(0.16 / WIDTH, (foot - 0.13) / height, "\n".join(lines), size=8.5, color=GREY,
             va="top", linespacing=1.35)
    fig.add_artist(Line2D([0.16 / WIDTH, 1 - 0.16 / WIDTH], [(foot - 0.05) / height] * 2,
                          color=PALE, linewidth=0.8))
    fig.set_label(caption)
    return fig


def frame(ax, title="", xlabel="", ylabel="", ylim=None, as_percent=False):
    """Title, axis labels and a quiet horizontal grid."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
    ax.grid(axis="y", color=PALE, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.tick_params(labelsize=8, colors=GREY, length=2.5)
    ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    if ylim is not None:
        ax.set_ylim(*ylim)
    if as_percent:
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def label_ends(ax, labels, size=8):
    """Write each (y, text, colour) right of the axes at height y, moved apart where they touch."""
    low, high = ax.get_ylim()
    ax.set_ylim(low, high)
    inches = ax.get_position().height * ax.figure.get_figheight()
    gap = 1.5 * size / 72 / inches                     # one line of text, as a share of the axes
    labels = sorted((label for label in labels if np.isfinite(label[0])), key=itemgetter(0))
    heights = [(label[0] - low) / (high - low) for label in labels]
    for i in range(1, len(heights)):
        heights[i] = max(heights[i], heights[i - 1] + gap)
    for i in range(len(heights) - 1, -1, -1):
        ceiling = 1.0 if i == len(heights) - 1 else heights[i + 1] - gap
        heights[i] = min(heights[i], ceiling)
    for height, (_, text, colour) in zip(heights, labels):
        ax.annotate(text, (1, height), (4, 0), xycoords="axes fraction", color=colour, size=size,
                    textcoords="offset points", va="center", annotation_clip=False)


def column(rows, key):
    """One field of a history as floats (N,); absent or None becomes NaN."""
    values = [row.get(key) for row in rows]
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def curves(ax, histories, x_key, key, colour, linestyle="-"):
    """A thin line per seed and, when there are several, their bold median. -> last value drawn."""
    length = min(len(history) for history in histories)
    table = np.array([column(history[:length], key) for history in histories])   # (seeds, N)
    steps = column(histories[0][:length], x_key)                                 # (N,)
    known = np.isfinite(table).any(axis=0)                                       # (N,)
    if not known.any():
        return np.nan
    median = np.nanmedian(table[:, known], axis=0)
    for row in table if len(table) > 1 else ():
        ax.plot(steps[known], row[known], color=colour, linewidth=0.7, alpha=0.45)
    ax.plot(steps[known], median, color=colour, linewidth=1.8, linestyle=linestyle)
    ax.margins(x=0)
    return float(median[-1])


# ---------------------------------------------------------------- curves and points

def plot_lm_loss(history, entropies, lang="en"):
    """Loss of step 1. history: rows step, loss, held_out_loss or None; entropies: nats by name."""
    say = load_messages(lang)
    caption = say(
        "Loss in nats per character, {loss:.2f} after {steps:.0f} steps. A model that only counts "
        "characters ends at the unigram line, one that looks one character back at the bigram "
        "line; what lies below both was learned from longer context.",
        loss=column(history, "loss")[-1], steps=column(history, "step")[-1])
    with style():
        fig = card(3.2, say("Learning to speak"), caption)
        ax = fig.subplots()
        frame(ax, "", say("step"), say("nats per character"))
        labels = [(curves(ax, [history], "step", "loss", BLUE), say("training"), BLUE)]
        rows = [row for row in history if row.get("held_out_loss") is not None]
        if rows:
            labels.append((curves(ax, [rows], "step", "held_out_loss", RED, "--"),
                           say("held out"), RED))
        for (name, nats), dashes in zip(entropies.items(), (":", "-.", "--")):
            ax.axhline(nats, color=GREY, linewidth=1.1, linestyle=dashes)
            labels.append((nats, f"{name} {nats:.2f}", GREY))
        top = np.nanmax(np.append(column(history, "loss"), list(entropies.values())))
        ax.set_ylim(0, 1.05 * top)
        label_ends(ax, labels)
    return fig


def plot_reward_model(results, lang="en"):
    """Scores (N,) against naturalness (N,), the learning curve, accuracy beside its limits."""
    say = load_messages(lang)
    scores, gold = np.asarray(results["scores"]), np.asarray(results["naturalness"])   # (N,) each
    shares = [results["accuracy_gold"], results["accuracy_labels"]]
    ceiling, history = results["ceiling_labels"], results["history"]
    caption = say(
        "Left: the score rises with gold naturalness (correlation {correlation:.2f}), which the "
        "reward model has never seen. Right: it orders {gold} of the pairs as the gold judge does "
        "and {labels} as the noisy labels do; even a perfect judge would only match {ceiling} of "
        "those. Guessing: 50 %.",
        correlation=np.corrcoef(scores, gold)[0, 1], gold=percent(shares[0]),
        labels=percent(shares[1]), ceiling=percent(ceiling))
    with style():
        fig = card(3.2, say("What the reward model has learned"), caption)
        left, middle, right = fig.subplots(1, 3, width_ratios=(1.25, 1.1, 1))
        frame(left, say("score and naturalness"), say("gold naturalness"), say("learned score"))
        left.scatter(gold, scores, s=14, color=BLUE, alpha=0.35, linewidths=0)
        frame(middle, say("learning"), say("step"), "", (0, 1.05))
        ends = [(curves(middle, [history], "step", "accuracy", BLUE), say("accuracy"), BLUE),
                (curves(middle, [history], "step", "loss", RED, "--"), say("loss"), RED)]
        middle.set_ylim(0, max(1.05, 1.05 * np.nanmax(column(history, "loss"))))
        label_ends(middle, ends)
        frame(right, say("pairs in the right order"), ylim=(0, 1.08), as_percent=True)
        right.bar([0, 1], shares, width=0.6, color=[BLUE, SKY], edgecolor=INK, hatch=["", "//"])
        for place, share in enumerate(shares):
            right.text(place, share / 4, percent(share, 1), ha="center", va="center", size=9,
                       color=INK, bbox={"facecolor": CARD, "edgecolor": "none", "pad": 2})
        right.axhline(0.5, color=GREY, linestyle=":", linewidth=1.2)
        right.plot([0.62, 1.38], [ceiling] * 2, color=RED, linewidth=2)
        right.set_xlim(-0.45, 1.45)
        label_ends(right, [(0.5, say("chance"), GREY), (ceiling, say("ceiling"), RED)])
        right.set_xticks([0, 1], [say("gold\norder"), say("noisy\nlabels")])
    return fig


# The panels of the PPO dashboard: title, limits, lines (field of the history, name, colour).
DASHBOARD = (
    (later("reward model score"), None, [("score", "", BLUE)]),
    (later("gold: evaluation only"), (0, 1.04), [
        ("naturalness", later("mean"), GREEN), ("natural", later("natural"), BLUE)]),
    (later("KL to the reference, nats"), None, [
        ("kl_exact", later("exact"), BLUE), ("kl_estimate", later("sampled"), RED)]),
    (later("entropy, nats per token"), None, [("entropy", "", BLUE)]),
    (later("ratio outside 1 ± ε"), None, [
        ("clip_fraction", later("clipped"), BLUE), ("ratio_outside", later("outside"), RED)]),
    (later("approx. KL of one update"), None, [("approx_kl", "", BLUE)]),
    (later("explained variance"), None, [("explained_variance", "", BLUE)]),
    (later("response length, tokens"), None, [("response_length", "", BLUE)]))


def plot_dashboard(histories, lang="en"):
    """PPO diagnostics: histories holds one list of rows (dicts) per seed."""
    say = load_messages(lang)
    with style():
        fig = card(4.3, say("PPO, iteration by iteration"), dashboard_caption(histories, say))
        for i, (ax, (title, ylim, lines)) in enumerate(zip(fig.subplots(2, 4).flat, DASHBOARD)):
            as_percent = lines[0][0] in ("naturalness", "clip_fraction")
            frame(ax, say(title), say("iteration") if i >= 4 else "", "", ylim, as_percent)
            ax.set_title(say(title), size=8.5)
            ends = []
            for (key, name, colour), linestyle in zip(lines, ("-", "--")):
                height = curves(ax, histories, "iteration", key, colour, linestyle)
                if name:
                    ends.append((height, say(name), colour))
            label_ends(ax, ends, 7.5)
    return fig


def last_known(histories, key):
    """The median over seeds of the last value each history reports; NaN if none does."""
    columns = [column(history, key) for history in histories]
    ends = [values[np.isfinite(values)][-1] for values in columns if np.isfinite(values).any()]
    return float(np.median(ends)) if ends else np.nan


def dashboard_caption(histories, say):
    """What to see on the dashboard, with the final numbers (medians over seeds)."""
    last = {key: last_known(histories, key) for key in (
        "iteration", "score", "naturalness", "kl_exact", "kl_estimate", "clip_fraction")}
    extra = say(", in bold their median") if len(histories) > 1 else ""
    for key in ("kl_coef", "missing_eos"):
        value = last_known(histories, key)
        if np.isfinite(value):
            extra += say("; {name} {value:.3g}", name=key, value=value)
    last["clip_fraction"] = percent(last["clip_fraction"], 1)
    return say(
        "Score and gold naturalness should rise together: at iteration {iteration:.0f} they are "
        "{score:.2f} and {naturalness:.2f}. If the score rises alone, the reward model is being "
        "fooled. KL is the price: {kl_exact:.2f} nats exact, {kl_estimate:.2f} sampled. The clip "
        "acts on {clip_fraction} of the tokens. Seeds: {seeds}{extra}.",
        seeds=len(histories), extra=extra, **last)


# ---------------------------------------------------------------- heatmaps and strips

def plot_attention(probs, labels, lang="en"):
    """Attention patterns: probs (n_layer, n_head, T, T), row t looks at columns 0..t; T labels."""
    say = load_messages(lang)
    probs = np.asarray(probs, dtype=float)
    n_layer, n_head, T, _ = probs.shape
    labels = [visible(label) for label in labels]
    previous = np.diagonal(probs, -1, 2, 3).mean(axis=2) if T > 1 else probs[:, :, 0, 0]
    layer, head = np.unravel_index(previous.argmax(), previous.shape)
    caption = say(
        "Each row is the character being read, each column a character it may look at; the "
        "future is blank. Bright means more attention. Strongest look at the previous character: "
        "layer {layer}, head {head} ({share} of it on average).",
        layer=layer + 1, head=head + 1, share=percent(previous.max()))
    side = (WIDTH - 1.3) / n_head                                # inches of one heatmap
    hidden = np.broadcast_to(np.triu(np.ones((T, T), dtype=bool), 1), probs.shape)
    shown = np.ma.masked_array(probs, mask=hidden)               # (n_layer, n_head, T, T)
    with style():
        fig = card(n_layer * min(side + 0.35, 3.8), say("Where each head looks"), caption)
        axes = fig.subplots(n_layer, n_head, squeeze=False)
        size = float(np.clip(0.95 * 72 * min(side - 0.1, 3.3) / T, 3.5, 9))   # points: one cell
        for (i, j), ax in np.ndenumerate(axes):
            image = ax.imshow(shown[i, j], cmap="cividis", vmin=0, vmax=1)
            ax.set_title(say("layer {layer}, head {head}", layer=i + 1, head=j + 1), size=8.5)
            ax.set_xticks(range(T), labels, size=size)
            ax.set_yticks(range(T), labels, size=size)
            ax.tick_params(length=0, pad=2, colors=INK)
            ax.spines[:].set_visible(False)
        bar = fig.colorbar(image, ax=axes, fraction=0.03, aspect=30, pad=0.01)
        bar.set_label(say("share of attention"), size=8)
        bar.outline.set_visible(False)
    return fig


def short_number(value):
    """A number for a narrow cell: -0.123 -> "−.12", 12.34 -> "12.3", 0.001 -> "0"; NaN -> "–"."""
    if not np.isfinite(value):
        return "–"
    if abs(value) < 0.005:
        return "0"
    text = f"{value:.2f}" if abs(value) < 9.995 else f"{value:.1f}"
    return re.sub(r"^(−?)0\.", r"\1.", text.replace("-", "−"))


def draw_row(ax, top, values, name, signed, limit):
    """One row of coloured cells with printed numbers; `top` in cells, values (n,)."""
    import matplotlib
    colours = matplotlib.colormaps["RdBu" if signed else "cividis"]
    ax.text(-0.15, top + 0.5, name, ha="right", va="center", size=8.5)
    for place, value in enumerate(values):
        share = 0.5 + 0.5 * value / limit if signed else 1 + value / limit
        red, green, blue, _ = colours(float(np.clip(share, 0, 1)) if np.isfinite(share) else 0.5)
        ax.add_patch(matplotlib.patches.Rectangle((place, top), 1, 1, facecolor=(red, green, blue),
                                                  edgecolor=CARD, linewidth=1))
        bright = 0.3 * red + 0.59 * green + 0.11 * blue > 0.46
        ax.text(place + 0.5, top + 0.52, short_number(value), ha="center", va="center", size=7.5,
                color=INK if bright else "white")


def plot_token_strip(strip, lang="en"):
    """One answer, character by character: every (T,) array of `strip` as a row of cells."""
    say = load_messages(lang)
    rows = (("logprobs", say("policy log-prob"), False),
            ("ref_logprobs", say("reference log-prob"), False), ("kl", say("KL term"), True),
            ("rewards", say("reward"), True), ("values", say("value"), True),
            ("advantages", say("advantage"), True))
    tokens, per_line = strip["tokens"], 17
    starts = range(0, len(tokens), per_line)
    caption = say(
        "The score {score:.2f} is paid once, at the last token; every other reward is the KL "
        "penalty, −{kl_coef:g} times the KL term (their sum here: {total:.2f} nats). Blue is "
        "positive, red negative; in the first two rows yellow means likely. The advantage spreads "
        "the verdict back over the characters that led to it.",
        score=strip["score"], kl_coef=strip["kl_coef"], total=float(np.sum(strip["kl"])))
    with style():
        question = shorten(strip["prompt"].strip(), 60)
        fig = card(2.3 * len(starts), say("One answer under the lens: ") + question, caption)
        ax = fig.subplots()
        ax.axis("off")
        for block, start in enumerate(starts):
            top, part = block * 8.2, slice(start, start + per_line)
            for place, token in enumerate(tokens[part]):
                ax.text(place + 0.5, top + 0.5, visible(token), ha="center", va="center", size=13)
            for number, (key, name, signed) in enumerate(rows, 1):
                whole = np.asarray(strip[key], dtype=float)                      # (T,)
                pool = [whole] if signed else [strip["logprobs"], strip["ref_logprobs"]]
                limit = max(float(np.nanmax(np.abs(pool))), 1e-9)
                draw_row(ax, top + number, whole[part], name, signed, limit)
        ax.set_xlim(-3.1, min(per_line, max(len(tokens), 12)))
        ax.set_ylim(8.2 * len(starts) - 1.0, -0.1)
    return fig
