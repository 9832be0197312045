"""The source of the package and of the tests, read by ast and not by running it.

A file of the package is called by its path without the ending: "gpt", "teach/panel".
"""

import ast
from pathlib import Path

REPO = Path(__file__).parent.parent.parent
PACKAGE = REPO / "minirlhf"
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def read(folder):
    """Every .py file below a folder -> {name: source}, the name being its path without .py."""
    return {
        path.relative_to(folder).with_suffix("").as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*.py"))
    }


SOURCES = read(PACKAGE)
TREES = {name: ast.parse(source) for name, source in SOURCES.items()}
TESTS = {name: ast.parse(source) for name, source in read(REPO / "tests").items()}


def found(name, node, what):
    """One line of a failure: file, line, what is wrong there."""
    return f"minirlhf/{name}.py:{node.lineno}: {what}"


def dotted(node):
    """a.b.c -> "a.b.c"; "" for anything else."""
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value)
        return f"{inner}.{node.attr}" if inner else ""
    return node.id if isinstance(node, ast.Name) else ""


def last_name(call):
    """What a call calls, without what stands before it: path.read_text() -> "read_text"."""
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def calls(tree):
    """-> list of all calls."""
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def functions(tree):
    """-> list of all functions and methods."""
    return [node for node in ast.walk(tree) if isinstance(node, FUNCTIONS)]


def public_functions(tree):
    """-> list of (name with its class, node), without names that begin with an underscore."""
    rows = []
    for node in tree.body:
        if isinstance(node, FUNCTIONS):
            rows.append((node.name, node))
        if isinstance(node, ast.ClassDef):
            methods = [child for child in node.body if isinstance(child, FUNCTIONS)]
            rows += [(f"{node.name}.{method.name}", method) for method in methods]
    return [(name, node) for name, node in rows if not node.name.startswith("_")]


def imports(tree):
    """-> list of (node, module, at the top level); `from a import b` gives a.b."""
    rows = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            rows += [(node, alias.name, node in tree.body) for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            names = [alias.name for alias in node.names]
            rows += [(node, f"{node.module}.{name}", node in tree.body) for name in names]
    return rows


def own_imports(tree):
    """-> list of (node, name of the file of the package that is imported)."""
    rows = []
    for node, module, _ in imports(tree):
        parts = module.split(".")
        if parts[0] != "minirlhf":
            continue
        parts = parts[1:]
        while parts and "/".join(parts) not in TREES and not (PACKAGE / "/".join(parts)).is_dir():
            parts = parts[:-1]  # the name of something inside the file
        name = "/".join(parts)
        rows.append((node, name if name in TREES else f"{name}/__init__".removeprefix("/")))
    return rows


def docstrings(tree):
    """-> set of the lines that docstrings stand on."""
    lines = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, *FUNCTIONS)) and ast.get_docstring(node):
            lines |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return lines
