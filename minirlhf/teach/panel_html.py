"""What the notebook's panel shows: HTML and a picture, made from plain values.

No widget is here (teach_widgets.py has them).  A text of the model, a person or a file becomes HTML
only through `safe`.  The colours of texts and lines are the page's own, so that a dark page stays
dark; nothing is said by colour alone.
"""

import base64
import html

import numpy as np

from minirlhf.course.drawing import canvas
from minirlhf.course.notebook import png_of
from minirlhf.plots import BLUE, GREY, ORANGE, column, frame, style
from minirlhf.teach.typed import plain, say

NOTED = 10  # points of a curve that say of how many; more could not be read
MOST_TICKS = 15
CSS = """<style>
.rufus { max-width: 920px; line-height: 1.4; color: var(--jp-ui-font-color1, inherit); }
.rufus .widget-html-content, .rufus .jupyter-widgets { line-height: 1.4; }
.rufus .widget-html-content { white-space: normal; }
.rufus .rufus-who { opacity: .85; }
.rufus .rufus-simulated { border: 2px solid; padding: 1px 8px; font-weight: bold; }
.rufus .rufus-question { font-size: 17px; margin: 6px 0 2px; }
.rufus .rufus-row { border-top: 1px solid var(--jp-border-color2, #bbb); padding: 3px 0; }
.rufus .rufus-answer { font-size: 16px; overflow-wrap: anywhere; }
.rufus .rufus-number { display: inline-block; min-width: 1.6em; font-weight: bold; opacity: .7; }
.rufus .rufus-status { border-left: 4px solid var(--jp-border-color1, #999); padding: 2px 10px; }
.rufus .rufus-wrong { border-left-color: var(--jp-error-color1, #d32f2f); font-weight: bold; }
.rufus .rufus-line { margin-top: 3px; }
.rufus table { border-collapse: collapse; margin: 2px 0 8px; font-size: 14px;
  table-layout: fixed; width: 100%; max-width: 640px; }
.rufus th:last-child { width: 4.5em; }
.rufus th, .rufus td { border-bottom: 1px solid var(--jp-border-color2, #bbb); text-align: left;
  padding: 3px 14px 3px 0; overflow-wrap: anywhere; }
.rufus caption { text-align: left; padding: 8px 0 2px; color: inherit; }
.rufus img { max-width: 100%; border-radius: 6px; }
.rufus button:focus-visible, .rufus input:focus-visible {
  outline: 3px solid var(--jp-brand-color1, #1976d2); outline-offset: 1px; }
</style>"""


def safe(text):
    """A text that nobody vouches for -> HTML that shows it and does nothing else."""
    return html.escape(plain(str(text)))


def place_name(lang, place):
    """1 -> "1st"."""
    ordinal = {1: "1st", 2: "2nd", 3: "3rd"}.get(place, f"{place}th")
    return say(lang, ordinal, f"第 {place}")


# ---- HTML -----------------------------------------------------------------------------------


def title_html(lang, annotator, simulated, path):
    """Who teaches, and where the labels are kept."""
    who = say(lang, f"{annotator} teaches Rufus.", f"{annotator} 来教 Rufus。")
    mark = "rufus-who"
    if simulated:
        who = say(lang, f"SIMULATED annotator {annotator} teaches Rufus. No person judges here.",
                  f"由模拟标注者 {annotator} 教 Rufus，没有真人参与。")
        mark = "rufus-simulated"
    kept = say(lang, f"Every label is kept at once in {path}.", f"每个标注立即保存在 {path}。")
    return f'{CSS}<span class="{mark}">{safe(who)}</span> <small>{safe(kept)}</small>'


def question_html(lang, count, asked):
    """The question of a Round, the count-th of the session."""
    head = say(lang, f"Round {count}. Rufus is asked:", f"第 {count} 轮。问 Rufus：")
    return f'<div class="rufus-question">{safe(head)} <b>{safe(asked.prompt)}</b></div>'


def answer_html(number, text):
    """One answer with its number."""
    return (
        f'<div class="rufus-answer"><span class="rufus-number">{number}</span>{safe(text)}</div>'
    )


def status_html(text, wrong):
    """What has just happened; read out by a screen reader.  wrong: it is an error."""
    if not text:
        return ""
    role, mark = ("alert", " rufus-wrong") if wrong else ("status", "")
    return f'<div role="{role}" class="rufus-status{mark}">{safe(text)}</div>'


def corrections_html(lang, corrections):
    """The corrections of the open round."""
    if not corrections:
        return ""
    said = " · ".join(f"<b>{safe(text)}</b>" for text in corrections)
    return say(lang, f"Right answers so far: {said}", f"已写的正确回答：{said}")


def comparisons_html(lang, comparisons):
    """list of Comparison -> tables, before and after side by side; what changed says so."""
    if not comparisons:
        return safe(say(lang, "What Rufus said before and after appears here when he has learned.",
                        "Rufus 学习之后，这里会出现之前和之后的回答。"))
    before, after = say(lang, "before", "之前"), say(lang, "after", "之后")
    same, changed = say(lang, "same", "没变"), say(lang, "changed", "变了")
    tables = []
    for found in comparisons:
        name = say(lang, "A question he was never taught:", "从没教过的问题：")
        if found.taught:
            name = say(lang, "The same question again:", "同一个问题：")
        rows = []
        for old, new in zip(found.before, found.after):
            shown = safe(new) if old == new else f"<b>{safe(new)}</b>"
            note = same if old == new else changed
            rows.append(f"<tr><td>{safe(old)}</td><td>{shown}</td><td>{note}</td></tr>")
        tables.append(
            f'<table class="rufus-table"><caption>{safe(name)} <b>{safe(found.prompt)}</b>'
            f'</caption><thead><tr><th scope="col">{before}</th><th scope="col">{after}</th>'
            f'<th></th></tr></thead><tbody>{"".join(rows)}</tbody></table>'
        )
    return "".join(tables)


def history_html(lines, png, alt):
    """The picture (bytes of a PNG, or None) and sentences below it."""
    said = "".join(f"<div>{safe(line)}</div>" for line in lines)
    if png is None:
        return said
    data = base64.b64encode(png).decode("ascii")
    return f'<img alt="{safe(alt)}" src="data:image/png;base64,{data}">{said}'


# ---- the picture ----------------------------------------------------------------------------


def history_png(history, lang, simulated):
    """session.history -> bytes of a PNG, or None where nothing in it could be drawn.

    Each is a share of few answers, so the points say of how many.
    """
    rounds = column(history, "rounds")  # (N,)
    natural, agreement = column(history, "natural"), column(history, "agreement")  # (N,) each
    if not (np.isfinite(natural).any() or np.isfinite(agreement).any()):
        return None
    whose = say(lang, "your", "你的")
    if simulated:
        whose = say(lang, "the SIMULATED annotator's", "模拟标注者的")
    names = (say(lang, f"natural answers, by {whose} votes", f"自然的回答（{whose}评价）"),
             say(lang, f"reward model agrees with {whose} new pairs",
                 f"奖励模型与{whose}新标注一致"))
    with style():
        fig, axes = canvas(2.7)
        ax = axes[0]
        votes = [f"{share * n:.0f}/{n:.0f}" for share, n in zip(natural, column(history, "votes"))]
        of = say(lang, "of", "共")
        pairs = [f"{of} {n:.0f}" for n in column(history, "pairs")]
        curve(ax, rounds, natural, votes, names[0], BLUE, "-o", 8)
        curve(ax, rounds, agreement, pairs, names[1], ORANGE, "--s", -13)
        if len(history) <= MOST_TICKS:
            ax.set_xticks(sorted(set(rounds.astype(int))))
        ax.margins(x=0.06)
        frame(ax, "", say(lang, "rounds judged", "已评价的轮数"), "", (-0.14, 1.16), True)
        ax.set_yticks([0, 0.25, 0.5, 0.75, 1])
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=9)
        return png_of(fig)


def curve(ax, x, shares, notes, name, colour, look, offset):
    """One line of points, and by the last ones of how many they speak, `offset` points above."""
    known = np.flatnonzero(np.isfinite(shares))  # (n,)
    if not len(known):
        return
    ax.plot(x[known], shares[known], look, color=colour, label=name, linewidth=1.8, markersize=5)
    for i in known[-NOTED:]:
        ax.annotate(notes[i], (x[i], shares[i]), (0, offset), textcoords="offset points",
                    ha="center", size=8.5, color=GREY)
