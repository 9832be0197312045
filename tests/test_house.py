"""The house rules, checked on the source itself (by ast, not by running it).

A rule that no test holds is a rule that tomorrow's edit will break.  Each failure lists file:line.
No rule has a list of files that need not keep it.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize

import pytest
from helpers.source import (
    FUNCTIONS,
    PACKAGE,
    REPO,
    SOURCES,
    TESTS,
    TREES,
    calls,
    docstrings,
    dotted,
    found,
    functions,
    imports,
    last_name,
    own_imports,
    public_functions,
)

# ---- the layout -----------------------------------------------------------------------------

# What a reader reads to know RLHF; each file imports only from files before it.
CORE = [
    "errors", "debugger_view", "tokenizer", "data", "layers", "gpt", "adam", "sample", "gradcheck",
    "checkpoint", "step1_language_model", "step2_reward_model", "ppo_log", "step3_ppo",
]
ROOT = [*CORE, "messages", "plots"]
# A folder imports the root, folders of a row above its own, and itself.
LEVELS = [["beyond"], ["rufus"], ["teach", "experiments", "walk"], ["course", "cli"]]
LEVEL_OF = {folder: level for level, row in enumerate(LEVELS) for folder in row}
EXPERIMENTS = ["ablations", "frontier", "kl_estimators", "labels", "overoptimization"]
LESSONS = [f"lesson{number:02}" for number in range(10)]


def folder_of(name):
    """"teach/panel" -> "teach"; "gpt" -> ""."""
    return name.split("/")[0] if "/" in name else ""


def test_the_root_holds_the_core_and_two_files_more():
    assert {name for name in SOURCES if "/" not in name} == {*ROOT, "__init__", "__main__"}


def test_the_folders_are_those_of_the_house():
    folders = {path.parent.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")}
    assert folders == {
        ".", *LEVEL_OF, *(f"experiments/{name}" for name in EXPERIMENTS),
        *(f"course/{name}" for name in LESSONS),
    }
    assert all(f"{folder}/__init__" in SOURCES for folder in folders - {"."})
    assert {path.name for path in (PACKAGE / "experiments").glob("*.py")} == {
        "__init__.py", "trials.py",
    }


def listed_files(docstring):
    """The files in the list of a docstring: lines of `name.py   what it is`."""
    return re.findall(r"(?:^ *|  )(\w+)\.py(?= {2,})", docstring, flags=re.MULTILINE)


def listed_folders(docstring):
    """The folders in the list of a docstring: lines of `name/   what it is`."""
    return re.findall(r"(?:^ *|  )(\w+)/(?= {2,})", docstring, flags=re.MULTILINE)


FOLDERS = sorted(path.parent for path in PACKAGE.rglob("__init__.py"))


@pytest.mark.parametrize("folder", FOLDERS, ids=[path.name for path in FOLDERS])
def test_a_folder_lists_its_files_one_line_each(folder):
    docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
    files = {path.stem for path in folder.glob("*.py")} - {"__init__", "__main__"}
    folders = {path.parent.name for path in folder.glob("*/__init__.py")}
    named, named_folders = listed_files(docstring), listed_folders(docstring)
    assert sorted(named) == sorted(files)
    if folder.name == "course":
        assert named_folders == ["lessonNN"]
    else:
        assert sorted(named_folders) == sorted(folders)
    assert docstring.split("\n")[0].endswith((".", ":", "?"))  # one sentence says what it is


def test_a_folder_exports_nothing():
    """Each thing has one address.  The course has a second, short one for the notebooks."""
    exporting = [
        name for name, tree in TREES.items() if name.endswith("__init__") and imports(tree)
    ]
    assert exporting == ["course/__init__"]


# ---- who imports whom -----------------------------------------------------------------------


def may_import(name, target):
    """May this file import that one?"""
    if target == "__init__":  # the version
        return True
    if name.endswith("__init__") and name != "course/__init__":
        return False
    folder, target_folder = folder_of(name), folder_of(target)
    if name == "__main__":
        return target_folder == "cli"
    if not folder:
        return target in ROOT and ROOT.index(target) < ROOT.index(name)
    if not target_folder:
        return target in (CORE if folder == "beyond" else ROOT)
    if folder != target_folder:
        return LEVEL_OF[target_folder] < LEVEL_OF[folder]
    if folder == "experiments":  # leaves: each its own files, and what all share
        mine = name.split("/")[1] == target.split("/")[1] and name.count("/") == 2
        return mine or target == "experiments/trials" != name
    if folder == "course":  # a lesson: its own files, and what all share
        mine = name.split("/")[1] == target.split("/")[1] and name.count("/") == 2
        return mine or target.count("/") == 1
    return True


def test_imports_go_one_way():
    wrong = []
    for name, tree in TREES.items():
        for node, target in own_imports(tree):
            if not may_import(name, target):
                wrong.append(found(name, node, f"imports {target}"))
    assert not wrong


def test_the_rule_of_imports_says_no():
    """One pair for each sentence of the rule."""
    for name, target in [
        ("gpt", "adam"), ("gpt", "beyond/dpo"), ("step3_ppo", "messages"), ("plots", "rufus/world"),
        ("beyond/dpo", "plots"), ("beyond/dpo", "rufus/people"), ("rufus/world", "teach/session"),
        ("rufus/world", "experiments/trials"), ("teach/panel", "course/notebook"),
        ("teach/panel", "experiments/trials"), ("walk/walks", "teach/session"),
        ("experiments/labels/run", "experiments/frontier/run"),
        ("experiments/trials", "experiments/frontier/run"), ("course/engine", "cli/main"),
        ("cli/main", "course/grading"), ("course/lesson03/exercises", "course/lesson04/exercises"),
        ("course/registry", "course/lesson04/exercises"), ("__main__", "rufus/demo"),
    ]:
        assert not may_import(name, target), (name, target)
    for name, target in [
        ("step3_ppo", "step2_reward_model"), ("beyond/dpo", "beyond/best_of_n"),
        ("rufus/demo", "plots"), ("experiments/labels/run", "rufus/people"),
        ("experiments/labels/run", "experiments/trials"), ("cli/talk", "teach/session"),
        ("experiments/labels/run", "experiments/labels/words"), ("__main__", "cli/main"),
        ("course/lesson09/runs", "experiments/frontier/run"), ("course/lesson03/runs", "plots"),
        ("course/lesson03/figures", "course/drawing"),
    ]:
        assert may_import(name, target), (name, target)


def test_plots_know_nothing_of_models_and_people():
    """They draw plain results; what they need of the package is a font's folder and words."""
    assert {target for _, target in own_imports(TREES["plots"])} <= {"data", "errors", "messages"}


def test_no_file_imports_itself_in_the_end():
    """Inside a folder too, imports have no ring: there is an order to read the files in."""
    edges = {name: {target for _, target in own_imports(tree)} for name, tree in TREES.items()}
    left = set(edges)
    while True:  # take away files that import nothing that is left, again and again
        free = {name for name in left if not edges[name] & left}
        if not free:
            break
        left -= free
    assert not left, {name: sorted(edges[name] & left) for name in sorted(left)}


THIRD_PARTY = {  # who may import what, and only inside a function; NumPy is everybody's
    "matplotlib": {"plots", "rufus/pipeline_picture", "course/drawing", "teach/show"},
    "tqdm": {"cli/progress"},
    "ipywidgets": {"teach/panel", "course/notebook"},
    "PIL": {"teach/show"},  # comes with matplotlib
}


def test_only_numpy_and_the_standard_library():
    wrong = []
    for name, tree in TREES.items():
        for node, module, at_top in imports(tree):
            top = module.split(".")[0]
            if top in ("minirlhf", "numpy") or top in sys.stdlib_module_names:
                continue
            if name not in THIRD_PARTY.get(top, ()) or at_top:
                wrong.append(found(name, node, f"imports {top}{' at the top' * at_top}"))
    assert not wrong


def modules_after(code):
    """-> names of the modules that are loaded when a new Python has run this code."""
    print_modules = "\nimport sys\nprint(*sys.modules, sep='\\n', file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code + print_modules], cwd=REPO, check=True, encoding="utf-8",
        capture_output=True,
    )
    return set(done.stderr.split())


def test_an_import_brings_nothing_with_it():
    """Not even NumPy: that is why it is quick."""
    loaded = modules_after("import minirlhf")
    assert "minirlhf" in loaded and not [name for name in loaded if name.startswith("minirlhf.")]
    assert not {"numpy", "matplotlib", "tqdm"} & loaded


def test_the_core_brings_numpy_and_itself():
    loaded = modules_after("import minirlhf.step3_ppo")
    own = {name.removeprefix("minirlhf.") for name in loaded if name.startswith("minirlhf.")}
    assert own <= set(CORE) and "step3_ppo" in own
    assert not {"matplotlib", "tqdm", "IPython", "scipy", "torch"} & loaded


def test_help_loads_no_pictures_and_no_course():
    """What makes `python -m minirlhf --help` come at once."""
    loaded = modules_after(
        "import sys; sys.argv = ['minirlhf', '--help']\n"
        "from minirlhf.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass"
    )
    assert "minirlhf.cli" in loaded
    assert not {"matplotlib", "tqdm", "IPython", "ipywidgets", "PIL"} & loaded
    assert not [name for name in loaded if name.startswith("minirlhf.course")]


def test_training_needs_no_plotting():
    code = "import sys; sys.modules['matplotlib'] = sys.modules['tqdm'] = None; import minirlhf."
    for name in ("rufus.pipeline", "plots", "teach.session", "experiments.trials", "__main__"):
        subprocess.run([sys.executable, "-c", code + name], cwd=REPO, check=True)


# ---- what a debugger and a reader can follow ------------------------------------------------


def test_no_lambda_and_no_function_inside_a_function():
    wrong = []
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Lambda):
                wrong.append(found(name, node, "lambda"))
            if isinstance(node, FUNCTIONS):
                inner = [n for n in ast.walk(node) if isinstance(n, (*FUNCTIONS, ast.ClassDef))]
                wrong += [found(name, n, f"{n.name} inside {node.name}") for n in inner[1:]]
    assert not wrong


def test_no_decorator_but_the_plain_ones():
    wrong = []
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            for decorator in getattr(node, "decorator_list", []):
                called = decorator.func if isinstance(decorator, ast.Call) else decorator
                if dotted(called) not in ("dataclass", "classmethod", "staticmethod", "property"):
                    wrong.append(found(name, decorator, ast.unparse(decorator)))
    assert not wrong


def test_no_inheritance_but_of_namedtuple_and_errors():
    wrong = []
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            for base in getattr(node, "bases", []):
                if dotted(base) not in ("NamedTuple", "ValueError", "ArithmeticError"):
                    wrong.append(found(name, node, f"{node.name}({ast.unparse(base)})"))
    assert not wrong


def test_no_global_state():
    wrong = []
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, (ast.Global, ast.Nonlocal)):
                wrong.append(found(name, node, ast.unparse(node)))
        for node in tree.body:  # a list or dict at the top level must be a table, in capitals
            if isinstance(node, ast.Assign) and isinstance(node.value, (ast.List, ast.Dict)):
                for target in node.targets:
                    if not dotted(target).isupper() and dotted(target) != "__all__":
                        wrong.append(found(name, node, f"{ast.unparse(target)} at the top level"))
    assert not wrong


def test_randomness_is_always_an_argument():
    """np.random.default_rng(seed) makes a Generator; all other names there are the global one.

    The core and the methods of beyond/ do not even make one: it is given to them.
    """
    wrong = []
    for name, tree in TREES.items():
        wrong += [found(name, n, m) for n, m, _ in imports(tree) if m.split(".")[0] == "random"]
        for node in ast.walk(tree):
            path = dotted(node)
            if path.startswith(("np.random.", "numpy.random.")):
                if path.split(".")[2] not in ("default_rng", "Generator"):
                    wrong.append(found(name, node, path))
        given = name in CORE or folder_of(name) == "beyond"
        for call in calls(tree):
            seeded = call.args or call.keywords
            if dotted(call.func).endswith("default_rng") and (given or not seeded):
                wrong.append(found(name, call, "default_rng"))
    assert not wrong


def parameters(node):
    """-> names of all parameters of a function, without self and cls."""
    a = node.args
    given = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg))]
    return [argument.arg for argument in given if argument.arg not in ("self", "cls")]


def test_no_function_has_more_than_seven_parameters():
    wrong = []
    for name, tree in TREES.items():
        for node in functions(tree):
            if len(parameters(node)) > 7:
                wrong.append(found(name, node, f"{node.name}: {len(parameters(node))}"))
    assert not wrong


def test_no_function_of_the_core_is_told_the_place_of_an_error():
    """The caller who knows it says `with at(place)`."""
    wrong = []
    for name in CORE:
        for node in functions(TREES[name]):
            if {"where", "place"} & set(parameters(node)) and name != "errors":
                wrong.append(found(name, node, node.name))
    assert not wrong


def test_no_tuple_of_arguments_is_passed_on():
    """f(*job): nobody sees what f is given, and no editor finds the call."""
    wrong = []
    for name, tree in TREES.items():
        handed_on = set()  # def do(self, method, *args): method(*args) is no secret
        for function in functions(tree):
            if function.args.vararg is not None:
                handed_on |= {(id(c), function.args.vararg.arg) for c in calls(function)}
        for call in calls(tree):
            for value in [a.value for a in call.args if isinstance(a, ast.Starred)]:
                packed = re.fullmatch(r"(\w+_)?(job|task|work|args)", dotted(value))
                if packed and (id(call), dotted(value)) not in handed_on:
                    wrong.append(found(name, call, ast.unparse(call)))
    assert not wrong


def records():
    """-> names of all NamedTuples of the package."""
    names = set()
    for tree in TREES.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and "NamedTuple" in map(dotted, node.bases):
                names.add(node.name)
    return names


def positional_records(tree, names):
    """Calls that build a record with more than three fields by their place alone."""
    wrong = []
    for call in calls(tree):
        starred = any(isinstance(argument, ast.Starred) for argument in call.args)
        if last_name(call) in names and (len(call.args) > 3 or starred):
            wrong.append(call)
    return wrong


def test_records_are_built_by_keyword():
    names = records()
    assert {"Rollout", "PPOModels", "Ranking", "Samples", "Minibatch", "PPOHooks"} <= names
    wrong = []
    for name, tree in TREES.items():
        wrong += [found(name, n, ast.unparse(n)[:60]) for n in positional_records(tree, names)]
    assert not wrong
    for text, count in (("data.R(1, 2, 3)", 0), ("R(1, 2, 3, 4)", 1), ("R(*x)", 1), ("R(a=1)", 0)):
        assert len(positional_records(ast.parse(text), {"R"})) == count


# ---- safety ---------------------------------------------------------------------------------

TYPED_BY_PEOPLE = {"cli/talk", "teach/terminal"}  # who may ask for a line
RUNS_STUDENTS_CODE = {"course/submission"}  # grading is running what a student has written ...
STARTS_A_PROCESS = {"course/grading"}  # ... in a process of its own


def test_no_code_out_of_data():
    wrong = []
    allowed = {"input": TYPED_BY_PEOPLE, "exec": RUNS_STUDENTS_CODE, "compile": RUNS_STUDENTS_CODE}
    for name, tree in TREES.items():
        for node, module, _ in imports(tree):
            top = module.split(".")[0]
            if top in ("pickle", "shelve", "marshal", "joblib", "ctypes"):
                wrong.append(found(name, node, module))
            if top == "subprocess" and name not in STARTS_A_PROCESS:
                wrong.append(found(name, node, module))
        for call in calls(tree):
            path = dotted(call.func)
            if path in ("eval", "exec", "compile", "__import__", "os.system", "input"):
                if name not in allowed.get(path, ()):
                    wrong.append(found(name, call, path))
            if path in ("np.load", "numpy.load"):
                words = {word.arg: ast.unparse(word.value) for word in call.keywords}
                if words.get("allow_pickle") != "False":
                    wrong.append(found(name, call, "np.load without allow_pickle=False"))
    assert not wrong


PYTHON = sorted(
    path
    for folder in ("minirlhf", "tests", "benchmarks", "notebooks", "data")
    for path in (REPO / folder).rglob("*.py")
    if ".ipynb_checkpoints" not in path.parts
)


def test_text_files_are_opened_as_utf8():
    wrong = []
    for path in PYTHON:
        for call in calls(ast.parse(path.read_text(encoding="utf-8"))):
            name = last_name(call)
            if name not in ("open", "read_text", "write_text"):
                continue
            if dotted(call.func) in ("Image.open", "tarfile.open", "zipfile.open"):
                continue
            if isinstance(call.func, ast.Name) and name != "open":
                continue  # read_text and write_text of minirlhf.data, which are always UTF-8
            if name == "open" and not call.args and not call.keywords:
                continue  # conversation.open(): a file is opened with a mode, house rule
            modes = [str(a.value) for a in call.args if isinstance(a, ast.Constant)]
            binary = any(re.fullmatch(r"[rwax]\+?b\+?", mode) for mode in modes)
            words = {ast.unparse(word) for word in call.keywords}
            words |= {f"encoding={ast.unparse(a)}" for a in call.args}
            if not binary and not {"encoding='utf-8'", "encoding='utf-8-sig'"} & words:
                wrong.append(f"{path.relative_to(REPO)}:{call.lineno}: {ast.unparse(call)[:60]}")
    assert not wrong


def test_no_chinese_stands_in_the_code():
    """It is data: data/zh.  A docstring may show an answer, and punctuation may be typed."""
    wrong = []
    for name, source in SOURCES.items():
        explaining = docstrings(TREES[name])
        for number, line in enumerate(source.split("\n"), start=1):
            if re.search("[\u3400-\u9fff]", line) and number not in explaining:
                wrong.append(f"minirlhf/{name}.py:{number}: {line.strip()[:60]}")
    assert not wrong


# ---- docstrings -----------------------------------------------------------------------------


def says_it_by_its_name(name, label):
    """A verb of the command line is described by what --help prints, a known mistake of an
    exercise by its name."""
    a_verb = folder_of(name) == "cli" and re.fullmatch(r"add_\w+|run_\w+", label)
    return a_verb or re.fullmatch(r"course/lesson\d\d/exercises", name)


def test_every_file_class_and_public_function_has_a_docstring():
    """But caches and stats, whose fields have a comment each."""
    wrong = []
    for name, tree in TREES.items():
        if not ast.get_docstring(tree):
            wrong.append(f"minirlhf/{name}.py:1: no docstring")
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.endswith(("Cache", "Stats")):
                if not ast.get_docstring(node):
                    wrong.append(found(name, node, f"class {node.name}"))
        for label, node in public_functions(tree):
            if not ast.get_docstring(node) and not says_it_by_its_name(name, label):
                wrong.append(found(name, node, label))
    assert not wrong


def test_methods_say_where_they_depart_from_their_papers():
    for name in ("step1_language_model", "step2_reward_model", "step3_ppo", "beyond/best_of_n",
                 "beyond/policy_gradient", "beyond/dpo"):
        assert "departs from" in ast.get_docstring(TREES[name]), name


SHAPE = re.compile(r"\(((?:[^()]|\([^()]*\))*)\)")
DIMENSION = re.compile(r"\.\.\.|[A-Z]{1,2}(\s*[-+*]\s*\w+)*|\d?[A-Z]|len\(\w+\)|steps|batch_size|b")


def speaks_of_a_shape(text):
    """Is there a parenthesis such as (B, T), (N,), (..., C), (B, T+1), (2, L, B, H, S, D)?

    "Any shape" and "one shape" are shapes too.
    """
    if re.search(r"\b(any|one) shape\b", text):
        return True
    for inside in SHAPE.findall(text):
        parts = [part.strip() for part in inside.split(",")]
        if len(parts) > 1 and DIMENSION.fullmatch(parts[0]):
            return True
    return False


def comments_of(name, node):
    """Docstring and comments of a function."""
    lines = SOURCES[name].split("\n")[node.lineno - 1 : node.end_lineno]
    text = [ast.get_docstring(node) or ""]
    for token in tokenize.generate_tokens(io.StringIO("\n".join(lines)).readline):
        if token.type == tokenize.COMMENT:
            text.append(token.string)
    return "\n".join(text)


def makes_arrays(node):
    """Does the body call a function of NumPy, or multiply matrices?"""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Call):
            if re.match(r"np\.(?!load|savez|errstate|random)", dotted(inner.func)):
                return True
        if isinstance(inner, ast.BinOp) and isinstance(inner.op, ast.MatMult):
            return True
    return False


def test_the_test_knows_a_shape():
    for text in ("(B, T)", "x (N,) y", "(..., C)", "(B, T+1)", "(B*T, V)", "(R, V) (R,)",
                 "an array of any shape", "two arrays of one shape"):
        assert speaks_of_a_shape(text), text
    for text in ("(Ouyang et al. 2022, eq. 1)", "(N)", "f(x, y)", "(a word, another)", "no",
                 "many shapes"):
        assert not speaks_of_a_shape(text), text


def test_functions_of_core_and_methods_say_the_shapes_of_their_arrays():
    """Every public function whose body calls NumPy or multiplies matrices says at least one shape,
    in its docstring or in a comment."""
    wrong, seen = [], 0
    for name in [*CORE, *(name for name in TREES if folder_of(name) == "beyond")]:
        for label, node in public_functions(TREES[name]):
            if makes_arrays(node):
                seen += 1
                if not speaks_of_a_shape(comments_of(name, node)):
                    wrong.append(found(name, node, label))
    assert not wrong and seen > 60


def test_forward_and_backward_come_in_pairs_and_say_their_shapes():
    wrong = []
    for name in CORE:
        labels = {label: node for label, node in public_functions(TREES[name])}
        for label, node in labels.items():
            if label.endswith(("_forward", "_backward")):
                twin = label.replace("_forward", "_?").replace("_backward", "_forward")
                twins = {twin.replace("_?", "_backward"), twin.removesuffix("_forward")}
                if not twins & set(labels):  # softmax needs no cache: it has no _forward
                    wrong.append(found(name, node, f"{label} stands alone"))
                if not speaks_of_a_shape(ast.get_docstring(node) or ""):
                    wrong.append(found(name, node, f"{label}: no shape in the docstring"))
    assert not wrong


# ---- size and tidiness ----------------------------------------------------------------------


def test_lines_fit():
    wrong = []
    for path in PYTHON:
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
            where = f"{path.relative_to(REPO)}:{number}"
            if len(line) > 100:
                wrong.append(f"{where}: {len(line)} columns")
            if line != line.rstrip() or "\t" in line:
                wrong.append(f"{where}: tab or space at the end")
    assert not wrong


def test_files_fit():
    """Under 400 lines, and under 500 for each of the three steps."""
    wrong = {}
    for name, source in SOURCES.items():
        lines = source.count("\n")
        if lines >= (500 if name.startswith("step") else 400):
            wrong[name] = lines
    assert not wrong


PRINTS = re.compile(
    r"cli/\w+|walk/\w+|rufus/(demo|summary)|teach/(terminal|panel)"
    r"|course/(engine|notebook|grading|submission)"
)


def test_no_leftovers():
    """What is printed is printed by the files that talk to a person: PRINTS."""
    wrong = []
    for name, source in SOURCES.items():
        for number, line in enumerate(source.split("\n"), start=1):
            stops_here = folder_of(name) == "walk" and line.strip() == "breakpoint()"
            if re.search(r"\b(TODO|FIXME|XXX|breakpoint\(|set_trace)", line) and not stops_here:
                wrong.append(f"minirlhf/{name}.py:{number}: {line.strip()}")
            if re.search(r"# (fmt|yapf|isort|type|pragma|pylint):", line):
                wrong.append(f"minirlhf/{name}.py:{number}: {line.strip()}")
        printing = [call for call in calls(TREES[name]) if dotted(call.func) == "print"]
        if not PRINTS.fullmatch(name):
            wrong += [found(name, call, "print") for call in printing]
    assert not wrong


# ---- the tests themselves -------------------------------------------------------------------


def test_no_test_imports_another_test():
    """What they share stands in helpers/, which imports no test either."""
    wrong = []
    for name, tree in TESTS.items():
        for node, module, _ in imports(tree):
            if re.search(r"(^|\.)(test_\w+|conftest)(\.|$)", module):
                wrong.append(f"tests/{name}.py:{node.lineno}: {module}")
    assert not wrong


def test_what_is_no_test_lives_in_helpers():
    names = {name for name in TESTS if not name.split("/")[-1].startswith("test_")}
    assert {name for name in names if not name.startswith("helpers/")} == {"conftest"}


CLOCK = ("perf_counter", "perf_counter_ns", "monotonic", "process_time", "thread_time", "time_ns")
A_DURATION = ("elapsed", "took")  # names that can be nothing else


def reads_the_clock(node, tainted):
    """Does the expression call a clock, or speak of what one has said?"""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Call):
            if last_name(inner) in CLOCK or dotted(inner.func) == "time.time":
                return True
        if isinstance(inner, ast.Name) and inner.id in tainted:
            return True
    return False


def assertions_about_time(tree):
    """-> list of asserts that compare a clock, or a name that was given a clock's number."""
    wrong = []
    for function in functions(tree):
        words = {getattr(node, "attr", getattr(node, "id", "")) for node in ast.walk(function)}
        if not words & {*CLOCK, "time", *A_DURATION}:
            continue
        tainted = set(A_DURATION)
        for _ in range(3):  # a name may go through others
            for node in ast.walk(function):
                value = getattr(node, "value", None)
                if isinstance(node, (ast.Assign, ast.AugAssign)) and value is not None:
                    targets = getattr(node, "targets", None) or [node.target]
                    if reads_the_clock(value, tainted):
                        names = [n.id for t in targets for n in ast.walk(t)
                                 if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
                        bases = [dotted(t.value) for t in targets if isinstance(t, ast.Subscript)]
                        tainted |= set(names) | set(bases)
                if isinstance(node, ast.Call) and last_name(node) == "append":
                    if any(reads_the_clock(argument, tainted) for argument in node.args):
                        tainted.add(dotted(node.func.value))
        for node in ast.walk(function):
            if isinstance(node, ast.Assert):
                compares = [n for n in ast.walk(node.test) if isinstance(n, ast.Compare)]
                if any(reads_the_clock(compare, tainted) for compare in compares):
                    wrong.append(node)
    return wrong


def test_no_test_asserts_a_time_of_the_clock():
    """A loaded machine would fail it.  Times are printed; benchmarks judge them."""
    wrong = []
    for name, tree in TESTS.items():
        for node in assertions_about_time(tree):
            wrong.append(f"tests/{name}.py:{node.lineno}: {ast.unparse(node)[:70]}")
    assert not wrong


@pytest.mark.parametrize("body, caught", [
    ("assert time.perf_counter() - start < 3", True),
    ("start = time.time()\n    took = time.time() - start\n    assert took < 3", True),
    ("rows = []\n    rows.append(time.perf_counter())\n    assert min(rows) < 1", True),
    ("table[1] = time.monotonic()\n    assert table[1] < 1", True),
    ("assert elapsed < 2", True),
    ("seconds = 5\n    assert f(seconds)", False),
    ("start = time.time()\n    print(time.time() - start)\n    assert x == 3", False),
    ("assert {**row, 'seconds': 0} == {}", False),
])
def test_the_test_of_the_clock_sees_it(body, caught):
    tree = ast.parse(f"def test():\n    {body}")
    assert bool(assertions_about_time(tree)) == caught


def test_limits_of_processes_are_generous():
    """A limit is there to end what hangs: a minute at least, ten times what it takes."""
    wrong = []
    for name, tree in TESTS.items():
        numbers = {
            ast.unparse(node.targets[0]): node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        }
        for call in calls(tree):
            if last_name(call) not in ("run", "communicate", "wait", "check_output", "check_call"):
                continue
            for word in call.keywords:
                limit = getattr(word.value, "value", numbers.get(ast.unparse(word.value), 60))
                if word.arg == "timeout" and isinstance(limit, (int, float)) and limit < 60:
                    wrong.append(f"tests/{name}.py:{call.lineno}: timeout={limit}")
    assert not wrong
