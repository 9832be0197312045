"""What the notebook's panel shows: HTML and a picture, made from plain values.

No widget is here (panel.py has them).  A text of the model, a person or a file becomes HTML
only through `safe`.  The colours of texts and lines are the page's own, so that a dark page stays
dark; nothing is said by colour alone.
"""

import base64
import html

import numpy as np

from minirlhf.messages import later
from minirlhf.plots import BLUE, GREY, ORANGE, column, frame, style
from minirlhf.teach.actions import what_is_compared
from minirlhf.teach.show import canvas, png_of
from minirlhf.teach.typed import plain

NOTED = 10  # points of a curve that say of how many; more could not be read
MOST_TICKS = 15
PLACES = (later("1st"), later("2nd"), later("3rd"))
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


def bold_in(sentence, text):
    """A sentence that ends in a text -> HTML, the text in bold."""
    before, found, after = safe(sentence).rpartition(safe(text))
    return f"{before}<b>{found}</b>{after}"


def place_name(say, place):
    """1 -> "1st"."""
    if place <= len(PLACES):
        return say(PLACES[place - 1])
    return say("{place}th", place=place)


# ---- HTML -----------------------------------------------------------------------------------


def title_html(who, where, simulated):
    """Who teaches, and where the labels are kept."""
    mark = "rufus-simulated" if simulated else "rufus-who"
    return f'{CSS}<span class="{mark}">{safe(who)}</span> <small>{safe(where)}</small>'


def question_html(sentence, prompt):
    """The sentence with the question of a Round."""
    return f'<div class="rufus-question">{bold_in(sentence, prompt)}</div>'


def answer_html(number, text):
    """One answer with its number."""
    return f'<div class="rufus-answer"><span class="rufus-number">{number}</span>{safe(text)}</div>'


def status_html(text, wrong):
    """What has just happened; read out by a screen reader.  wrong: it is an error."""
    if not text:
        return ""
    role, mark = ("alert", " rufus-wrong") if wrong else ("status", "")
    said = "<br>".join(map(safe, text.split("\n")))
    return f'<div role="{role}" class="rufus-status{mark}">{said}</div>'


def corrections_html(say, corrections):
    """The corrections of the open round."""
    if not corrections:
        return ""
    texts = " · ".join(corrections)
    return bold_in(say("Right answers so far: {texts}", texts=texts), texts)


def comparisons_html(say, comparisons):
    """list of Comparison -> tables, before and after side by side; what changed says so."""
    if not comparisons:
        return safe(say("What Rufus said before and after appears here when he has learned."))
    before, after, same, changed = say("before"), say("after"), say("same"), say("changed")
    head = "".join(f'<th scope="col">{safe(word)}</th>' for word in (before, after))
    tables = []
    for found in comparisons:
        caption, rows = bold_in(what_is_compared(say, found), found.prompt), []
        for old, new in zip(found.before, found.after):
            shown = safe(new) if old == new else f"<b>{safe(new)}</b>"
            note = safe(same if old == new else changed)
            rows.append(f"<tr><td>{safe(old)}</td><td>{shown}</td><td>{note}</td></tr>")
        tables.append(
            f'<table class="rufus-table"><caption>{caption}</caption>'
            f'<thead><tr>{head}<th></th></tr></thead><tbody>{"".join(rows)}</tbody></table>')
    return "".join(tables)


def history_html(lines, png):
    """The picture (bytes of a PNG, or None), and below it the sentences; the first is also said in
    its place."""
    said = "".join(f"<div>{safe(line)}</div>" for line in lines)
    if png is None:
        return said
    data = base64.b64encode(png).decode("ascii")
    return f'<img alt="{safe(lines[0])}" src="data:image/png;base64,{data}">{said}'


# ---- the picture ----------------------------------------------------------------------------


def history_png(say, history, simulated):
    """session.history -> bytes of a PNG, or None where nothing in it could be drawn.

    Each is a share of few answers, so the points say of how many.
    """
    rounds, votes = column(history, "rounds"), column(history, "votes")  # (N,) each
    natural, agreement = column(history, "natural"), column(history, "agreement")  # (N,) each
    if not (np.isfinite(natural).any() or np.isfinite(agreement).any()):
        return None
    names = (say("natural answers, by your votes"), say("reward model agrees with your new pairs"))
    if simulated:
        names = (say("natural answers, by the SIMULATED annotator's votes"),
                 say("reward model agrees with the SIMULATED annotator's new pairs"))
    shares = [f"{share * n:.0f}/{n:.0f}" for share, n in zip(natural, votes)]
    pairs = [say("of {count:.0f}", count=n) for n in column(history, "pairs")]
    with style():
        fig, (ax,) = canvas(2.7)
        curve(ax, rounds, natural, shares, 8, label=names[0], color=BLUE, marker="o")
        curve(ax, rounds, agreement, pairs, -13, label=names[1], color=ORANGE, marker="s",
              linestyle="--")
        if len(history) <= MOST_TICKS:
            ax.set_xticks(sorted(set(rounds.astype(int))))
        ax.margins(x=0.06)
        frame(ax, "", say("rounds judged"), "", (-0.14, 1.16), True)
        ax.set_yticks([0, 0.25, 0.5, 0.75, 1])
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=9)
        return png_of(fig)


def curve(ax, x, shares, notes, offset, **look):
    """One line of points (N,), and by the last ones of how many they speak, `offset` points above.

    look: what matplotlib's plot takes.
    """
    known = np.flatnonzero(np.isfinite(shares))  # (n,)
    if not len(known):
        return
    ax.plot(x[known], shares[known], linewidth=1.8, markersize=5, **look)
    for i in known[-NOTED:]:
        ax.annotate(notes[i], (x[i], shares[i]), (0, offset), textcoords="offset points",
                    ha="center", size=8.5, color=GREY)
