"""Teach Rufus yourself: he speaks, a person ranks or corrects, he learns and speaks again.

records     a session's file: every question, label, undo and learning is one record
rounds      one round: which question, who answers, what may be typed, what has changed
learning    the three steps in small: the records in, the models out
replay      every version of Rufus from the records alone, bit for bit
session     the loop: ask, label, undo, learn
agreement   whether annotators agree, with themselves and with each other; sessions together
simulated   SIMULATED people who teach
actions     the conversation: what a person can do, and the sentence that answers
typed       what a typed line means
terminal    the conversation in plain lines: `python -m minirlhf teach`
panel       the conversation by buttons, in a notebook
panel_html  what the panel shows, made from plain values
show        what a notebook can show
"""
