"""README and its Chinese mirror: links lead somewhere, commands exist, quoted output is real, the
map shows what is there, and both stay short."""

import inspect
import re
import shlex
from pathlib import Path

import pytest

from minirlhf.cli.arguments import build_parser
from minirlhf.teach.panel import teach_panel
from minirlhf.teach.session import open_session

REPO = Path(__file__).parent.parent
NAMES = ("README.md", "README.zh.md")
CORE = ("errors", "tokenizer", "data", "layers", "gpt", "adam", "sample", "gradcheck", "checkpoint")
STEPS = ("step1_language_model", "step2_reward_model", "step3_ppo")
LINK = re.compile(r"(?<!`)\[[^\]]*\]\(([^)\s]+)\)")
SCREEN = 40  # lines


def read(name):
    return (REPO / name).read_text(encoding="utf-8")


def pages():
    """-> paths of the pages that people read on the web."""
    folders = (REPO, REPO / "docs", REPO / "docs/results", REPO / "benchmarks")
    return [path for folder in folders for path in sorted(folder.glob("*.md"))]


def blocks(text, kind):
    """-> the lines of all fenced blocks of a kind ("sh", or "" for plain ones)."""
    found = re.findall(rf"^```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [line for block in found for line in block.splitlines()]


def commands(text):
    """-> the words after `python -m minirlhf` or make, in blocks and in sentences."""
    found = [line for line in blocks(text, "sh") if line.startswith("python -m minirlhf")]
    found += re.findall(r"`(python -m minirlhf [^`]+)`", re.sub(r"^```.*?^```$", "", text,
                                                               flags=re.MULTILINE | re.DOTALL))
    made = [[verb, *shlex.split(words)] for verb, words in
            re.findall(r'make (demo|teach) ARGS="([^"]*)"', text)]
    return [shlex.split(line, comments=True)[3:] for line in found] + made


def anchors(path):
    """A Markdown file -> the anchors that GitHub gives its headings."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", [path.relative_to(REPO).as_posix() for path in pages()])
def test_links_lead_somewhere(name):
    path = REPO / name
    for target in LINK.findall(path.read_text(encoding="utf-8")):
        if target.startswith("http"):
            continue
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists() and found.is_relative_to(REPO.resolve()), target
        assert not anchor or anchor in anchors(found), target


@pytest.mark.parametrize("name", NAMES)
def test_short_and_the_first_command_and_the_course_on_two_screens(name):
    lines = read(name).splitlines()
    assert len(lines) <= 170
    assert next(i for i, line in enumerate(lines) if line.startswith("make demo")) < SCREEN
    course = [i for i, line in enumerate(lines) if re.match(r"\| 0\d \|", line)]
    assert len(course) == 10 and course[-1] < 2 * SCREEN


@pytest.mark.parametrize("name", [*NAMES, "docs/own_files.md", "docs/own_files.zh.md"])
def test_every_command_is_one_that_the_package_understands(name):
    found = commands(read(name))
    assert len(found) >= 4
    for arguments in found:
        if arguments != ["VERB"]:
            build_parser().parse_args(arguments)  # exits, with a message, if it does not


@pytest.mark.parametrize("name", NAMES)
def test_every_make_target_exists(name):
    targets = re.findall(r"^([\w-]+):", read("Makefile"), re.MULTILINE)
    asked = set(re.findall(r"(?:^|`)make ([a-z-]+)", read(name), re.MULTILINE))
    assert {"demo", "test", "notebooks"} <= asked <= set(targets)


@pytest.mark.parametrize("name", NAMES)
def test_the_call_of_the_panel_fits(name):
    call, = re.findall(r"`teach_panel\(open_session\((.+?)\)\)`", read(name))
    values = re.findall(r'(?:(\w+)=)?"([^"]+)"', call)
    inspect.signature(open_session).bind(
        *[value for key, value in values if not key], **{key: value for key, value in values if key}
    )
    assert list(inspect.signature(teach_panel).parameters)[0] == "session"


@pytest.mark.parametrize("name, lang", list(zip(NAMES, ("en", "zh"))))
def test_quoted_output_is_real(name, lang):
    log = {line.rstrip() for line in read(f"docs/results/demo_{lang}.txt").splitlines()}
    start = read(name).split("```\n", 2)[2]
    quoted = start.split("```")[0].splitlines()
    assert 12 <= len(quoted) <= 20
    assert [line for line in quoted if line not in log] == ["..."] * quoted.count("...")
    assert quoted.count("...") >= 2  # it says where it was cut


@pytest.mark.parametrize("name", NAMES)
def test_the_core_has_as_many_lines_as_is_said(name):
    said = [int(number.replace(",", "")) for number in
            re.findall(r"(?:about |约 )(1,\d00)", read(name).split("minirlhf/\n")[0])]
    for files, number in zip((CORE, STEPS), said, strict=True):
        count = sum(len(read(f"minirlhf/{file}.py").splitlines()) for file in files)
        assert abs(count - number) <= 60, f"{len(files)} files have {count} lines"


@pytest.mark.parametrize("name", NAMES)
def test_the_map_shows_what_is_there(name):
    block = read(name).split("```\nminirlhf/\n")[1].split("```")[0]
    shown = set(re.findall(r"(?:^|\s)([a-z_]+(?:\.py|/))", block))
    files = {path.name for path in (REPO / "minirlhf").glob("*.py") if path.stem[0] != "_"}
    folders = {f"{path.parent.name}/" for path in (REPO / "minirlhf").glob("*/__init__.py")}
    steps = {f"{step}.py" for step in STEPS}
    assert files - steps <= shown and folders <= shown
    assert all(f"({'minirlhf/' + step})" in read(name) for step in steps)
    for found in shown:
        assert (REPO / "minirlhf" / found).exists() or (REPO / found).exists(), found


def test_the_chinese_readme_mirrors_the_english_one():
    english, chinese = map(read, NAMES)
    for pattern in (r"^#+ ", r"^```(\w*)", r"^\|", r"^- \*\*", r"^!\["):
        counts = [len(re.findall(pattern, text, re.MULTILINE)) for text in (english, chinese)]
        assert counts[0] == counts[1], pattern
    targets = [[re.sub(r"[._]zh\b", "", target) for target in LINK.findall(text)]
               for text in (english, chinese)]
    assert targets[0] == targets[1]
    for text in (english, chinese):
        assert "venv" in text and "uv run" in text and "py -m venv" in text


@pytest.mark.parametrize("name", NAMES)
def test_it_says_who_the_people_are_and_that_the_story_does_not_come_true_every_time(name):
    text = read(name)
    assert "**simulated**" in text or "**模拟的**" in text
    assert "only on some seeds" in text or "只在一部分随机种子上" in text


def test_the_changelog_names_places_that_exist():
    """New paths are there, old ones are not."""
    rows = re.findall(r"^\| (`.+?) \| (`.+?) \|$", read("CHANGELOG.md"), re.MULTILINE)
    assert len(rows) > 35
    for old, new in rows:
        for path in re.findall(r"`([\w.]+)`", new):
            file = path.replace("NN", "06").replace(".", "/")
            places = [REPO / f"minirlhf/{place}" for place in
                      (f"{file}.py", f"{file}/__init__.py", f"{file.rpartition('/')[0]}.py")]
            assert path == "figure" or any(place.exists() for place in places), path
        for path in re.findall(r"`([\w.]+)`", old):
            file = path.replace("NN", "06").replace(".", "/")
            assert path == "__main__" or not (REPO / f"minirlhf/{file}.py").exists(), path
