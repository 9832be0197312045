"""Texts in other languages: every text is found, every rendering is used, a language is a file."""

import ast
import json
import re
import shutil
import string
import tokenize
from pathlib import Path

import pytest

from minirlhf.data import DATA
from minirlhf.errors import InputError
from minirlhf.messages import CATALOGUE, later, load_messages, read_catalogue

ROOT = Path(__file__).resolve().parent.parent
CHINESE = DATA / "zh" / CATALOGUE
# Folders and files of the package without a Chinese character outside of docstrings.
FOLDERS_DONE = ["rufus", "plots.py", "messages.py", "teach", "experiments", "beyond"]
CHINESE_CHARACTER = re.compile("[\u4e00-\u9fff]")


def trees():
    """-> list of (path, tree) of all files of the package, and of the benchmarks."""
    files = sorted([*ROOT.glob("minirlhf/**/*.py"), *ROOT.glob("benchmarks/*.py")])
    return [(path, ast.parse(path.read_text(encoding="utf-8"))) for path in files]


def called(node):
    """The last name of what a call calls: say(..) and demo.say(..) -> "say"."""
    return getattr(node.func, "id", getattr(node.func, "attr", ""))


def texts_in_the_code():
    """-> {text: "file:line"} of all literals given to say or later."""
    found = {}
    for path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and called(node) in ("say", "later"):
                if len(node.args) != 1:
                    continue  # not one of ours: ours take the text, and values by name
                first = node.args[0]
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    found.setdefault(first.value, f"{path.relative_to(ROOT)}:{node.lineno}")
    return found


def fields(text):
    """-> set of the names of {fields} in a template."""
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


# ---- the Chinese catalogue ------------------------------------------------------------------


def test_every_text_has_a_chinese_rendering_and_every_rendering_is_used():
    texts, renderings = texts_in_the_code(), read_catalogue(CHINESE)
    assert len(texts) > 100
    missing = {text: place for text, place in texts.items() if text and text not in renderings}
    assert not missing, f"add to {CHINESE}: {missing}"
    unused = renderings.keys() - texts.keys()
    assert not unused, f"no say or later in the package says: {unused}"


def test_a_rendering_fills_in_the_same_values():
    for text, rendering in read_catalogue(CHINESE).items():
        assert fields(text) == fields(rendering), text
        assert "" not in fields(text), f"a field without a name: {text}"


def test_no_text_stands_twice_and_a_kept_library_reads_the_same():
    pofile = pytest.importorskip("babel.messages.pofile")
    ids = re.findall(r'^msgid (".*"(?:\n".*")*)', CHINESE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(ids) == len(set(ids))
    with CHINESE.open("rb") as file:
        catalogue = pofile.read_po(file, abort_invalid=True)
    theirs = {message.id: message.string for message in catalogue if message.id and message.string}
    assert theirs == read_catalogue(CHINESE)
    assert str(catalogue.locale) == "zh" and not list(catalogue.check())


def test_no_chinese_in_the_code():
    """A docstring may show an example; whatever people read is in the catalogue."""
    wrong = []
    for path, tree in trees():
        if path.relative_to(ROOT).parts[1] not in FOLDERS_DONE:
            continue
        docstrings = set()
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                first = node.body[0] if node.body else None
                if isinstance(first, ast.Expr):
                    docstrings.add(first.value)
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                if node not in docstrings and CHINESE_CHARACTER.search(node.value):
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}: {node.value!r}")
        with path.open("rb") as file:
            for token in tokenize.tokenize(file.readline):
                if token.type == tokenize.COMMENT and CHINESE_CHARACTER.search(token.string):
                    wrong.append(f"{path.relative_to(ROOT)}:{token.start[0]}: {token.string}")
    assert not wrong


# ---- the reader -----------------------------------------------------------------------------


def write_catalogue(folder, text):
    path = folder / CATALOGUE
    path.write_text(text, encoding="utf-8")
    return path


def test_a_text_without_a_rendering_stays_english(tmp_path):
    path = write_catalogue(tmp_path, 'msgid "step"\nmsgstr "Schritt"\n\nmsgid "loss"\nmsgstr ""\n')
    say = load_messages(str(tmp_path / "world.json"))
    assert path.parent == tmp_path
    assert say("step") == "Schritt" and say("loss") == "loss"
    assert say("{n} of {m:.1f}", n=2, m=3) == "2 of 3.0"
    assert say("{braces} stay where nothing is filled in") == (
        "{braces} stay where nothing is filled in"
    )
    assert later("step") == "step" == load_messages("en")("step")
    assert load_messages("zh")("step") == read_catalogue(CHINESE)["step"]


def test_long_texts_quotes_and_line_breaks(tmp_path):
    path = write_catalogue(
        tmp_path,
        '# a comment\nmsgid ""\nmsgstr "Language: xx\\n"\n\n'
        'msgid ""\n"one \\"two\\"\\n"\n"three"\nmsgstr ""\n"eins\\n"\n"zwei \\\\ {n}"\n',
    )
    assert read_catalogue(path) == {'one "two"\nthree': "eins\nzwei \\ {n}"}


@pytest.mark.parametrize(
    "line, text",
    [
        (1, 'msgstr "a"\n'),
        (1, '"a"\n'),
        (2, 'msgid "a"\nmsgstr b\n'),
        (3, 'msgid "a"\nmsgstr "b"\nmsgctxt "c"\n'),
        (2, 'msgid "a"\nmsgstr "\\q"\n'),
    ],
)
def test_errors_name_file_and_line(tmp_path, line, text):
    path = write_catalogue(tmp_path, text)
    with pytest.raises(InputError) as error:
        load_messages(str(tmp_path / "world.json"))
    assert str(error.value).startswith(f"{path}, line {line}: ")


# ---- a third language -----------------------------------------------------------------------


@pytest.fixture
def third(tmp_path):
    """-> path of a world.json with a catalogue of some texts beside it."""
    for name in ("world.json", "corpus.txt", "sft.jsonl"):
        shutil.copy(DATA / "en" / name, tmp_path / name)
    write_catalogue(
        tmp_path,
        'msgid "\\n== Step 1: A language model =="\n'
        'msgstr "\\n== Schritt 1: Ein Sprachmodell =="\n\n'
        'msgid "\\nRufus is asked `{prompt}` {n} times and says:"\n'
        'msgstr "\\n{n}-mal gefragt: `{prompt}` Rufus sagt:"\n\n'
        'msgid "RLHF in three steps"\nmsgstr "RLHF in drei Schritten"\n\n'
        'msgid "{n:,} parameters · "\nmsgstr "{n:,} Parameter · "\n',
    )
    return tmp_path / "world.json"


class Enough(Exception):
    """The part of the demo that is of interest is over."""


def stop(*args):
    raise Enough


def test_a_third_language_is_a_file_and_no_python(third, tmp_path, capsys, monkeypatch):
    from dataclasses import replace

    from minirlhf.rufus import demo, pipeline

    monkeypatch.setattr(pipeline, "run_sft", stop)
    short = replace(pipeline.PRETRAIN, steps=2, batch_size=2)
    with pytest.raises(Enough):
        demo.run_demo(str(third), 0, tmp_path, pipeline.no_progress, pretrain=short)
    printed = capsys.readouterr().out
    assert "== Schritt 1: Ein Sprachmodell ==" in printed
    assert "20-mal gefragt: `Who are you?` Rufus sagt:" in printed
    assert "Pretrained on the corpus" in printed  # no rendering: English


def test_a_picture_in_a_third_language(third):
    pytest.importorskip("matplotlib")
    from minirlhf.rufus.pipeline_picture import plot_pipeline

    text = (ROOT / "benchmarks" / "story.json").read_text(encoding="utf-8")
    summary = json.loads(text)["en"][0]["summary"]
    figure = plot_pipeline(summary, str(third))
    texts = {text.get_text() for text in figure.texts + figure.axes[0].texts}
    assert {"RLHF in drei Schritten", "PPO update"} <= texts
    assert any(re.match(r"\d+,\d+ Parameter · ", text) for text in texts)
