"""The set-up: what is installed runs where there is no repository, and the files around the code
say what is true.

The wheel is built and installed without a network, into an environment that sees the packages of
this one, and is tried in an empty folder.
"""

import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

import minirlhf
from minirlhf.cli.arguments import VERBS, build_parser
from minirlhf.data import DATA

REPO = Path(__file__).parent.parent
MINUTES = 20 * 60.0  # far more than any of these take: it only ends what hangs


def run(command, cwd, **variables):
    """A command that must succeed, with no PYTHONPATH -> its stdout."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env=env | {"PYTHONIOENCODING": "utf-8"} | variables,
        encoding="utf-8", capture_output=True, timeout=MINUTES,
    )
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-1000:]
    return done.stdout


def text_of(name):
    return (REPO / name).read_text(encoding="utf-8")


# ---- the command line's page ----------------------------------------------------------------


@pytest.mark.parametrize("columns", ["40", "200"])
def test_the_page_of_the_command_line_is_what_the_parser_gives(columns):
    run([sys.executable, REPO / "docs/command_line.py", "--check"], REPO, COLUMNS=columns)


def test_the_page_of_the_command_line_has_every_verb_and_option():
    page = text_of("docs/command_line.md")
    (verbs,) = [a for a in build_parser()._actions if hasattr(a, "choices") and a.choices]
    assert list(verbs.choices) == list(VERBS)
    for verb, parser in verbs.choices.items():
        section = page.split(f"\n## {verb}\n")[1].split("\n## ")[0]
        for line in parser.format_help().split("\n"):
            for option in re.findall(r"^  (--[\w-]+|-\w, --\w+)", line):
                assert option == "-h, --help" or f"`{option}" in section, (verb, option)
        assert f"example: python -m minirlhf {verb} " in section
        assert parser.format_help().count("example: python -m minirlhf ") == 1


# ---- one thread before NumPy ----------------------------------------------------------------

WATCH = """
import os, sys

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "numpy":
            print(os.environ.get("OPENBLAS_NUM_THREADS"), os.environ.get("OMP_NUM_THREADS"),
                  os.environ.get("MKL_NUM_THREADS"))

sys.meta_path.insert(0, Watch())
from minirlhf.__main__ import main
"""


def test_the_command_says_one_thread_before_numpy_is_imported(tmp_path):
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    env = {name: value for name, value in os.environ.items() if name not in names}
    for own, expected in (({}, "1 1 1"), ({"OMP_NUM_THREADS": "4"}, "1 4 1")):
        done = subprocess.run(
            [sys.executable, "-c", WATCH], cwd=tmp_path, env=env | own | {"PYTHONPATH": str(REPO)},
            encoding="utf-8", stdout=subprocess.PIPE, check=True,
        )
        assert done.stdout.split("\n")[0] == expected


# ---- the files around the code --------------------------------------------------------------


def targets():
    """-> names of the Makefile's targets."""
    return set(re.findall(r"^([a-z][\w-]*):(?!=)", text_of("Makefile"), re.M))


def test_make_help_lists_every_target():
    listed = set(re.findall(r'^\t@echo "make ([\w-]+) ', text_of("Makefile"), re.M))
    assert listed == targets() - {"help", "force"}
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text_of("Makefile"), re.M)
    assert set(phony.split()) == targets() | {"force"}


@pytest.mark.parametrize(
    "name", ["README.md", "README.zh.md", "CONTRIBUTING.md", "notebooks/TEACHING.md", ".ci/run",
             ".devcontainer/devcontainer.json", ".github/workflows/test.yml"],
)
def test_every_make_command_that_is_written_down_exists(name):
    for said in re.findall(r"(?:^|[`\"])make ([a-z][\w-]*)", text_of(name), re.M):
        assert said in targets(), said


def test_quick_and_slow_tests_together_are_all_tests():
    makefile = text_of("Makefile")
    assert '$(PYTEST) -m "not slow" $(ARGS)' in makefile and "$(PYTEST) -m slow" in makefile
    assert "test-all: test test-slow\n" in makefile
    assert "\nmake test\nmake test-slow\n" in text_of(".ci/run")


def requirement_names(lines):
    return {re.match(r"[\w-]+", line)[0] for line in lines if re.match(r"\w", line)}


def test_versions_and_requirements_agree():
    tomllib = pytest.importorskip("tomllib")  # Python 3.11 and newer
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    assert project["requires-python"] == ">=3.10" and project["dynamic"] == ["version"]
    assert f"\nversion: {minirlhf.__version__}\n" in text_of("CITATION.cff")
    assert f"## [{minirlhf.__version__}]" in text_of("CHANGELOG.md")
    wanted = project["dependencies"] + project["optional-dependencies"]["test"]
    asked = text_of("requirements.txt").split("\n")
    assert requirement_names(asked) == requirement_names(wanted)
    assert "-e ." in asked and "-e ." in text_of(".binder/requirements.txt")
    notebooks = requirement_names(project["optional-dependencies"]["notebooks"])
    assert notebooks - {"jupyter"} <= requirement_names(
        text_of(".binder/requirements.txt").split("\n")
    )


def test_the_address_of_the_repository_is_a_placeholder_everywhere():
    assert 'Repository = "https://github.com/OWNER/minirlhf"' in text_of("pyproject.toml")
    for pattern in ("*.md", "*.cff", "*.toml", "notebooks/src/*.py", "docs/*.md"):
        for path in REPO.glob(pattern):
            owners = re.findall(r"github\.com/([\w-]+)/minirlhf", path.read_text(encoding="utf-8"))
            assert set(owners) <= {"OWNER"}, path


def test_the_forms_and_workflows_can_be_read():
    yaml = pytest.importorskip("yaml")  # comes with jupyter
    container = json.loads(text_of(".devcontainer/devcontainer.json"))
    assert set(container) >= {"image", "postCreateCommand"} and "build" not in container
    for name in ("bug", "teaching"):
        form = yaml.safe_load(text_of(f".github/ISSUE_TEMPLATE/{name}.yml"))
        assert set(form) >= {"name", "description", "body"}
        for field in form["body"]:
            assert field["type"] in ("textarea", "input") and field["attributes"]["label"]
    (hook,) = yaml.safe_load(text_of(".pre-commit-config.yaml"))["repos"]
    assert [h["id"] for h in hook["hooks"]] == ["ruff-check"]
    lint = yaml.safe_load(text_of(".github/workflows/test.yml"))["jobs"]["lint"]["steps"][-1]["run"]
    assert re.search(r"ruff==(\d+\.\d+)\.", lint)[1] in hook["rev"]
    citation = yaml.safe_load(text_of("CITATION.cff"))
    assert set(citation) >= {"cff-version", "message", "title", "authors", "version", "license"}
    classroom = yaml.safe_load(text_of(".github/classroom/classroom.yml"))
    assert classroom["name"] == "Autograding Tests"  # GitHub Classroom reads this name ...
    assert list(classroom["jobs"]) == ["run-autograding-tests"]  # ... and this
    steps = "\n".join(str(s) for s in classroom["jobs"]["run-autograding-tests"]["steps"])
    assert ".github/classroom/grade.py" in steps


# ---- grading a repository -------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("folder, status", [("notebooks/solutions", 0), ("notebooks", 1)])
def test_the_classroom_grades_a_repository(tmp_path, folder, status):
    """What classroom.yml runs, on a repository whose notebooks are solved, and on one as given."""
    for name in (".github/classroom/grade.py", f"{folder}/00_rufus_in_one_minute.ipynb"):
        target = tmp_path / name.replace("/solutions", "")
        target.parent.mkdir(parents=True)
        target.write_text(text_of(name), encoding="utf-8", newline="")
    done = subprocess.run(
        [sys.executable, ".github/classroom/grade.py", "rufus-ann", "00"], cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPO), "GITHUB_STEP_SUMMARY": "summary.md"},
        encoding="utf-8", capture_output=True, timeout=MINUTES,
    )
    assert done.returncode == status, done.stdout + done.stderr
    (got, of), = re.findall(r"^::notice title=Autograding complete::Points (\d+)/(\d+)$",
                            done.stdout, re.M)
    found, = re.findall(r"^::notice title=Autograding report::(.*)$", done.stdout, re.M)
    assert json.loads(found) == {"totalPoints": int(got), "maxPoints": int(of)}
    assert (got == of and int(of) > 0) if status == 0 else int(got) < int(of)
    summary = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert f"**Points {got}/{of}**" in summary and "| 00.1 " in summary


# ---- wheel and sdist ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """{"whl": path, "gz": path} of a wheel and an sdist of this checkout."""
    if find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed; requirements.txt has it")
    folder = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "hatchling", "build", "-d", folder], REPO)
    paths = {path.suffix[1:]: path for path in folder.iterdir()}
    assert set(paths) == {"whl", "gz"}
    return paths


def contents(wheel):
    """Path of a wheel -> {name: bytes}, without the metadata."""
    with zipfile.ZipFile(wheel) as file:
        return {name: file.read(name) for name in file.namelist() if ".dist-info" not in name}


def bundled():
    """{name in the wheel: path in the repository} of what a wheel must hold."""
    paths = [*REPO.glob("minirlhf/**/*.py")]
    names = {path.relative_to(REPO).as_posix(): path for path in paths}
    for path in (REPO / "data").rglob("*"):
        if path.is_file() and path.suffix not in (".py", ".pyc"):
            name = path.relative_to(REPO / "data").as_posix()
            names[f"minirlhf/bundled_data/{name}"] = path
    for source in (REPO / "notebooks/src").glob("*.py"):  # the figures that lessons read
        text = source.read_text(encoding="utf-8")
        for name in re.findall(r'DATA\.parent / "benchmarks" / "(\w+\.json)"', text):
            names[f"minirlhf/benchmarks/{name}"] = REPO / "benchmarks" / name
    return names


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_its_data_and_nothing_else(built):
    found, wanted = contents(built["whl"]), bundled()
    assert set(found) == set(wanted)
    for name, path in wanted.items():
        assert found[name] == path.read_bytes(), name


@pytest.mark.slow
def test_the_sdist_holds_what_tests_and_notebooks_need_and_gives_the_same_wheel(built, tmp_path):
    with tarfile.open(built["gz"]) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
        if sys.version_info >= (3, 12):
            file.extractall(tmp_path, filter="data")
        else:
            file.extractall(tmp_path)
    (root,) = tmp_path.iterdir()
    for folder in ("minirlhf", "data", "notebooks", "tests", "benchmarks", "docs", ".github"):
        for path in (REPO / folder).rglob("*"):
            name = path.relative_to(REPO).as_posix()
            made = re.search(r"__pycache__|\.ipynb_checkpoints|\.pyc$|\.DS_Store", name)
            assert made or not path.is_file() or name in names, name
    assert {"Makefile", "requirements.txt", "README.md", "LICENSE", ".ci/run"} <= names
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / "again"], root)
    (again,) = (tmp_path / "again").iterdir()
    assert contents(again) == contents(built["whl"])


def make_environment(folder):
    """A virtual environment without packages that sees those of this one.  -> its Python.

    The folders of packages are named in a .pth file, whose own .pth files are then not read: an
    editable minirlhf of this environment is not seen.
    """
    run([sys.executable, "-m", "venv", "--without-pip", folder], REPO)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    site = run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], REPO)
    here = [path for path in sys.path if re.search(r"(site|dist)-packages$", path)]
    (Path(site.strip()) / "packages.pth").write_text("\n".join(here), encoding="utf-8")
    return python


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """Folder of the scripts of an environment into which the wheel was installed."""
    python = make_environment(tmp_path_factory.mktemp("env"))
    run([python, "-m", "pip", "install", "--no-deps", "--no-index", "--ignore-installed",
         built["whl"]], REPO)
    return python.parent


def command(installed, *words):
    """The installed command `minirlhf`, with its words."""
    return [installed / ("minirlhf.exe" if os.name == "nt" else "minirlhf"), *words]


@pytest.mark.slow
def test_the_installed_package_is_not_the_checkout(installed, tmp_path):
    code = "import minirlhf, sys; from minirlhf.data import DATA; print(minirlhf.__file__); " \
           "print(DATA); print(*sys.path, sep='\\n')"
    package, data, *path = run([installed / "python", "-c", code], tmp_path).splitlines()
    assert Path(data) == Path(package).parent / "bundled_data"
    assert REPO not in Path(package).parents
    assert not any(Path(folder or ".").resolve() == REPO.resolve() for folder in path[1:])
    assert run(command(installed, "--version"), tmp_path) == f"minirlhf {minirlhf.__version__}\n"


@pytest.mark.slow
def test_the_demo_runs_from_a_wheel_in_an_empty_folder(installed, tmp_path):
    """With a short pretraining and a short PPO: the same stages, files and pictures."""
    run(command(installed, "pretrain", "--out", "mine", "--quiet", "--set", "steps=400",
                "--n-embd", "32"), tmp_path)
    out = run(command(installed, "demo", "--resume", "--out", "mine", "--quiet", "--set",
                      "iterations=1", "--set", "rollout_size=16"), tmp_path)
    assert "Talk to him: python -m minirlhf chat" in out
    assert (tmp_path / "mine" / "summary.json").is_file()
    if find_spec("matplotlib"):
        pictures = {path.stem for path in (tmp_path / "mine" / "pictures").iterdir()}
        assert {"pipeline", "ppo_dashboard", "reward_model", "naturalness"} <= pictures
    code = "import sys; sys.modules['matplotlib'] = None; from minirlhf.__main__ import main; " \
           "sys.exit(main())"
    out = run([installed / "python", "-c", code, "demo", "--resume", "--out", "mine", "--quiet",
               "--set", "iterations=1", "--set", "rollout_size=16"], tmp_path)
    assert "No pictures: matplotlib is missing" in out and "Talk to him" in out


@pytest.mark.slow
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_teaching_runs_from_a_wheel_in_an_empty_folder(installed, tmp_path, lang):
    run(command(installed, "teach", "--simulate", "a1", "--rounds", "1", "--lang", lang), tmp_path)
    assert (tmp_path / "runs" / "teach" / f"simulated-a1-{lang}.jsonl").is_file()
    assert (tmp_path / "runs" / "teach" / f"simulated-a1-{lang}.rufus.npz").is_file()


@pytest.mark.slow
def test_walk_runs_from_a_wheel_in_an_empty_folder(installed, tmp_path):
    out = run(command(installed, "walk"), tmp_path)
    assert "advantages" in out and "[1/8, 1/4, 1/2]" in out


def first_cells(lesson):
    """Path of a notebook -> the code of its cells, to the one that loads Rufus."""
    cells = json.loads(lesson.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    last = next(n for n, text in enumerate(code) if "pretrained(" in text)
    return "\n\n".join(code[: last + 1])


@pytest.mark.slow
def test_the_first_cells_of_a_lesson_run_from_a_wheel_in_an_empty_folder(installed, tmp_path):
    code = first_cells(REPO / "notebooks" / "00_rufus_in_one_minute.ipynb")
    (tmp_path / "cells.py").write_text(code, encoding="utf-8")
    out = run([installed / "python", "cells.py"], tmp_path, MPLBACKEND="agg")
    assert "Who are you?" in out


@pytest.mark.slow
def test_an_editable_install_reads_the_data_of_the_checkout(built, tmp_path):
    python = make_environment(tmp_path / "env")
    run([python, "-m", "pip", "install", "--no-deps", "--no-index", "--no-build-isolation",
         "--ignore-installed", "-e", REPO], REPO)
    code = "from minirlhf.data import DATA; print(DATA)"
    assert Path(run([python, "-c", code], tmp_path).strip()) == REPO / "data" == DATA
