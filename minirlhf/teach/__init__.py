"""Teach Rufus yourself: he speaks, a person ranks or corrects, he learns and speaks again.

    records.py     a session's file: every question, label, undo and learning is one record
    rounds.py      one round: which question, who answers, what may be typed, what has changed
    learning.py    the three steps in small: the records in, the models out
    replay.py      every version of Rufus from the records alone, bit for bit
    session.py     the loop: ask, label, undo, learn
    agreement.py   whether annotators agree, with themselves and with each other; sessions together
    simulated.py   SIMULATED people who teach
    actions.py     the conversation: what a person can do, and the sentence that answers
    typed.py       what a typed line means
    terminal.py    the conversation in plain lines: `python -m minirlhf teach`
    panel.py       the conversation by buttons, in a notebook
    panel_html.py  what the panel shows, made from plain values
    show.py        what a notebook can show
"""
