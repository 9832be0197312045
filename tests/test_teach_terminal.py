"""Teach Rufus yourself: what a typed line means, and the terminal as a person meets it."""

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import time

import pytest
from helpers.teaching import REPO, TINY, same_states

from minirlhf.data import read_rankings
from minirlhf.errors import InputError
from minirlhf.messages import load_messages
from minirlhf.teach.records import read_session
from minirlhf.teach.replay import replay
from minirlhf.teach.session import open_session
from minirlhf.teach.typed import as_typed, plain, read_line

# ---- what is typed --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line, expected",
    [
        ("2 > 1 > 3 = 4", ("rank", [2, 1, 3, 3])), ("2>1>3=4", ("rank", [2, 1, 3, 3])),
        ("2 1 3 4", ("rank", [2, 1, 3, 4])), ("2 > 1", ("rank", [2, 1, 3, 3])),
        ("1=2=3=4", ("rank", [1, 1, 1, 1])), ("2＞1＝3", ("rank", [2, 1, 2, 3])),
        ("3", ("best", 2)), ("u 1 3", ("unnatural", [0, 2])), ("u 1,3", ("unnatural", [0, 2])),
        ("ok", ("unnatural", [])), ("u all", ("unnatural", [0, 1, 2, 3])),
        ("= I am.", ("correction", "I am.")), ("＝我。", ("correction", "我。")),
        ("", ("done", None)), ("S", ("skip", None)), ("z", ("undo", None)),
        ("Who?", ("question", "Who?")), ("?", ("help", None)), ("x", ("end", None)),
    ],
)
def test_lines_are_read(line, expected):
    assert read_line(f" {line} ", 4, load_messages("en")) == expected


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize(
    "line", ["5", "0", "1 > 1", "u", "u x", "u 0", "hello", "2 >", "> 2", "1 > > 2", "9" * 30,
             "u 1 9", "\u0661", "\x1b[2J", "rank 1"],
)
def test_wrong_lines_get_one_plain_sentence(line, lang):
    with pytest.raises(InputError) as error:
        read_line(line, 4, load_messages(lang))
    text = str(error.value)
    assert text[-1] in ".。" and "\n" not in text and "\x1b" not in text


def test_what_a_simulated_person_types_is_what_he_means():
    for kind, value in (("rank", [2, 1, 3, 3]), ("best", 2), ("unnatural", []), ("skip", None),
                        ("unnatural", [1, 2]), ("unnatural", [0, 1, 2, 3]),
                        ("correction", "I am.")):
        line = as_typed(kind, value, 4)
        assert read_line(line, 4, load_messages("en")) == (kind, value)


def test_plain_takes_control_characters_away():
    assert plain("a\x1b[31m\u202eb\n我") == "a\ufffd[31m\ufffdb\ufffd我"


# ---- the terminal, as a person meets it -----------------------------------------------------


def own_the_terminal():
    """In the child: its standard input is the terminal whose Ctrl-C it gets."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Terminal:
    """`python -m minirlhf teach` behind a pseudo-terminal."""

    def __init__(self, folder, *arguments):
        pty = pytest.importorskip("pty")
        self.master, slave = pty.openpty()
        env = os.environ | {"PYTHONPATH": str(REPO), "TERM": "dumb", "PYTHONIOENCODING": "utf-8"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "minirlhf", "teach", *arguments], cwd=folder, env=env,
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            preexec_fn=own_the_terminal,
        )
        os.close(slave)
        self.text = ""

    def until(self, words, seconds=1200):
        """Read until these words have come -> what came."""
        ends = time.monotonic() + seconds
        while words not in self.text:
            if time.monotonic() > ends:
                raise TimeoutError(self.text)
            ready, _, _ = select.select([self.master], [], [], 1)
            try:
                got = os.read(self.master, 4096) if ready else b""
            except OSError:  # the other side has closed
                got = b""
                assert self.process.poll() is None, self.text
            self.text += got.decode("utf-8", "replace").replace("\r", "")
        head, _, self.text = self.text.partition(words)
        return head + words

    def type(self, line):
        os.write(self.master, (line + "\n").encode("utf-8"))

    def say(self, line, words="Your judgement: "):
        """Type a line -> everything until these words."""
        self.type(line)
        return self.until(words)

    def press(self, key):
        """Ctrl-C or Ctrl-D until it is heard: one that comes just before the line is read waits."""
        ends = time.monotonic() + 600
        while self.process.poll() is None and time.monotonic() < ends:
            os.write(self.master, key)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(2)

    def end(self):
        """-> exit status and the rest of the text."""
        while True:
            try:
                got = os.read(self.master, 4096)
            except OSError:
                got = b""
            if not got:
                break
            self.text += got.decode("utf-8", "replace").replace("\r", "")
        os.close(self.master)
        return self.process.wait(600), self.text


def test_a_person_teaches_on_a_terminal(tmp_path):
    terminal = Terminal(tmp_path, "--annotator", "Ann", "--lang", "en")
    text = terminal.until("Your judgement: ")
    path = tmp_path / "runs/teach/Ann-en.jsonl"
    assert "Round 1. Rufus is asked:" in text and "\x1b" not in text and "v0" not in text
    for line, words in (
        ("9", "numbers 1 to 4"), ("what", "Type ? for help"), ("u", "Which ones"),
        ("= Ich bin Köln.", "does not know 'ö'"), ("=", "is empty"), ("= " + "a" * 60, "too many"),
        ("你是谁？", "does not know"), ("", "Nothing new"), ("l", "Nothing new"), ("z", "no label"),
        ("h", "not learned anything"), ("?", "rank the answers"), ("\x1b[A", "not understood"),
    ):
        said_back = terminal.say(line)
        assert words in said_back and "Traceback" not in said_back, said_back
    assert len(read_session(path)) == 2  # nothing of that was kept but the round itself
    assert "Kept: 2 > 1 > 3 = 4" in terminal.say("2 > 1 > 3 = 4")
    assert "Kept: unnatural: 1, 2." in terminal.say("u 1 2")
    assert "Kept: the right answer is: I am a robot." in terminal.say("= I am a robot.")
    assert "taken back" in terminal.say("z")
    terminal.say("= I am a robot.")
    learned = terminal.say("")
    assert "Rufus is learning" in learned and "now version 1" in learned
    assert learned.count("before: ") == learned.count("after: ") == 6
    assert "A question he was never taught:" in learned and "Round 2." in learned
    assert "Version 0: natural by your votes:" in terminal.say("h")
    asked = terminal.say("Who is Mia?")
    assert "Round 3. Rufus is asked: Who is Mia?" in asked and "v1" not in asked
    assert "Skipped" in terminal.say("s")
    terminal.type("x")
    status, text = terminal.end()
    assert status == 0 and "Everything is kept" in text and "chat runs/teach/Ann-en.rufus" in text
    kinds = [row["kind"] for row in read_session(path)]
    assert kinds == ["session", "round", "rank", "unnatural", "correction", "undo", "correction",
                     "learn", "round", "round", "skip", "round"]


def test_the_end_of_the_input_and_ctrl_c_end_it_well(tmp_path):
    terminal = Terminal(tmp_path, "--session", "s.jsonl", "--lang", "zh")
    terminal.until("你的评价：")
    assert "已保存：第 1 句最好。" in terminal.say("1", "你的评价：")
    terminal.press(b"\x03")
    status, text = terminal.end()
    assert status == 130 and "every label is kept. Go on with: python -m minirlhf teach" in text
    terminal = Terminal(tmp_path, "--session", "s.jsonl")
    text = terminal.until("你的评价：")
    assert "接着上次：已有 1 轮" in text and "第 1 轮。" in text
    terminal.press(b"\x04")
    status, text = terminal.end()
    assert status == 0 and "一切都已保存" in text
    assert [row["kind"] for row in read_session(tmp_path / "s.jsonl")][-1] == "best"


@pytest.mark.slow
def test_kill_9_in_a_round_and_in_an_update_loses_nothing(tmp_path):
    path = tmp_path / "s.jsonl"
    terminal = Terminal(tmp_path, "--session", "s.jsonl", "--lang", "zh")
    terminal.until("你的评价：")
    terminal.say("1", "你的评价：")
    os.killpg(terminal.process.pid, signal.SIGKILL)
    terminal.end()
    assert [row["kind"] for row in read_session(path)] == ["session", "round", "best"]

    terminal = Terminal(tmp_path, "--session", "s.jsonl")
    terminal.until("你的评价：")
    terminal.say("= 我很高兴。", "你的评价：")
    terminal.type("")
    terminal.until("正在学习")
    while read_session(path)[-1]["kind"] != "learn":
        time.sleep(0.01)
    os.killpg(terminal.process.pid, signal.SIGKILL)
    status, _ = terminal.end()
    assert status == -signal.SIGKILL and not path.with_suffix(".models.npz").exists()

    terminal = Terminal(tmp_path, "--session", "s.jsonl")
    text = terminal.until("你的评价：")
    assert "Rufus 是第 1 版" in text and "第 2 轮" in text
    terminal.type("x")
    assert terminal.end()[0] == 0
    session = open_session(path)
    assert session.version == 1 and same_states(session.states, replay(path)[1])


def run(folder, *arguments, typed=""):
    """-> exit status, stdout, stderr of the verb, without a terminal."""
    done = subprocess.run(
        [sys.executable, "-m", "minirlhf", "teach", *map(str, arguments)], cwd=folder,
        input=typed, capture_output=True, encoding="utf-8", timeout=1200,
        env=os.environ | {"PYTHONPATH": str(REPO)},
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_a_simulated_annotator_is_called_so_everywhere(tmp_path):
    status, out, err = run(tmp_path, "--simulate", "pirate", "--lang", "zh", "--rounds", 2)
    assert (status, err) == (0, "")
    assert "模拟标注者 pirate" in out and out.count("[SIMULATED pirate] = 大海！") == 2
    assert not re.search("^你的评价", out, re.M) and "你觉得" not in out
    path = tmp_path / "runs/teach/simulated-pirate-zh.jsonl"
    rows = read_session(path)
    assert all(row["simulated"] and row["annotator"] == "pirate" for row in rows)
    assert run(tmp_path, "--session", path, "--annotator", "pirate")[0] == 2
    status, out, err = run(tmp_path, "--session", path, "--replay")
    assert (status, err) == (0, "") and out.count("checksum of the policy") == 3
    status, out, err = run(tmp_path, "--session", path, "--export", tmp_path / "out")
    assert status == 0 and len(read_rankings(tmp_path / "out/rankings.jsonl")) == 2


def test_texts_of_an_old_file_cannot_steer_the_terminal(tmp_path):
    session = open_session(tmp_path / "s.jsonl", "en", "Ann", settings=TINY)
    session.ask()
    rows = session.rows
    rows[1]["responses"][0] = "I am \x1b[2J\x1b]0;title\x07"
    rows[1]["prompt"] = "Who\x1b[31m?"
    text = "".join(json.dumps(row) + "\n" for row in rows)
    session.path.write_text(text, encoding="utf-8")
    status, out, err = run(tmp_path, "--session", "s.jsonl", typed="x\n")
    assert (status, err) == (0, "") and "\x1b" not in out and "\x07" not in out
    assert "I am \ufffd[2J" in out


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--lang", "xx"], "--lang xx"), (["--simulate", "nobody"], "pirate"),
        (["--rounds", 0], "--rounds 0"), (["--seed", -1], "--seed -1"),
        (["--session", "none.jsonl", "--replay"], "no such file"),
        (["--annotator", "a\tb"], "one line"), (["--simulate", "a1", "--annotator", "b"], "both"),
        (["--session", "bad.jsonl"], "not JSON"),
    ],
)
def test_wrong_arguments_get_one_line(tmp_path, arguments, words):
    (tmp_path / "bad.jsonl").write_text("{oops}\n", encoding="utf-8")
    status, out, err = run(tmp_path, *arguments)
    assert status == 2 and err.count("\n") == 1 and words in err, err
    assert not (tmp_path / "runs").exists()
