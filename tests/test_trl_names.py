"""Lesson 09 names TRL's classes and settings.  Are they TRL's?

helpers/trl_names.json holds the names of one version, read from its wheel (trl_names.py beside it
says how to do it again).  TRL itself is not needed: no line of the script is run.
"""

import ast
import importlib
import json
import re
from dataclasses import fields, is_dataclass

import pytest
from helpers import course

from minirlhf.course.lesson09 import exercises as lesson09

PINNED = json.loads((course.REPO / "tests/helpers/trl_names.json").read_text(encoding="utf-8"))
NAME = "09_beyond_ppo"
HERE = ("step1_language_model", "step2_reward_model", "step3_ppo", "beyond.policy_gradient",
        "beyond.dpo")


def known(name):
    """"RLOOConfig.beta" or "RLOOTrainer": is it in the pinned version?"""
    owner, _, field = name.partition(".")
    if owner not in PINNED["public"]:
        return False
    return not field or field in PINNED["fields"][owner] or field in PINNED["common_fields"]


def script():
    """The TRL script that the lesson prints."""
    texts = course.cells_of(course.load(NAME), "markdown")
    found = re.findall(r"```python\n(.*?)```", "\n".join(texts), re.DOTALL)
    assert len(found) == 1
    return found[0]


def test_the_lesson_says_which_version_was_read():
    assert (lesson09.TRL_VERSION, lesson09.TRL_READ) == (PINNED["trl"], PINNED["read"])
    printed = "".join(map(course.printed, course.load(NAME)["cells"][-3:-2]))
    assert f"TRL {PINNED['trl']}, read on {PINNED['read']}" in printed


@pytest.mark.parametrize("row", lesson09.TRL_MAP, ids=" ".join)
def test_both_sides_of_the_map_exist(row):
    here, there, note = row
    assert known(there), f"TRL {PINNED['trl']} has no {there}"
    owner, _, field = here.partition(".")
    modules = [importlib.import_module(f"minirlhf.{name}") for name in HERE]
    mine = [getattr(module, owner) for module in modules if hasattr(module, owner)]
    assert mine, here
    if field:
        assert is_dataclass(mine[0]) and field in {f.name for f in fields(mine[0])}
    default = re.match(r".*?default (\S+?)[,;:]?(?: |$)", note)
    if default:
        config, _, name = there.partition(".")
        assert PINNED["fields"][config][name] == default.group(1), note


def test_the_map_can_be_wrong():
    """The check above has to be able to fail."""
    for name in ("PPOTrainer", "PPOConfig", "RLOOConfig.cliprange", "GRPOConfig.kl_coef"):
        assert not known(name)
    assert known("DPOConfig.learning_rate") and known("SFTConfig.max_steps")


def test_there_is_no_ppo():
    """The lesson says so.  If it comes back, the lesson should say that."""
    assert not PINNED["files_named_ppo"]
    assert not [name for name in PINNED["public"] if name.startswith("PPO")]


def test_the_script_uses_names_that_exist():
    tree = ast.parse(script())
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "trl":
            imported |= {alias.name for alias in node.names}
    assert imported and imported <= set(PINNED["public"])
    called = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            name, words = node.func.id, {word.arg for word in node.keywords}
            if name in imported:
                called.add(name)
                assert not node.args, f"{name}: arguments by name only"
            if name in imported and name.endswith("Config"):
                assert words <= set(PINNED["fields"][name]) | set(PINNED["common_fields"]), name
            if name in imported and name.endswith("Trainer"):
                assert words <= set(PINNED["arguments"][name]), name
    assert called == imported


def test_names_in_the_prose_exist_or_are_said_to_be_gone():
    texts = course.cells_of(course.load(NAME), "markdown")
    spoken = set(re.findall(r"`(\w+(?:Trainer|Config))`", "\n".join(texts)))
    assert spoken == {"PPOTrainer", "RLOOTrainer"}
    assert known("RLOOTrainer") and not known("PPOTrainer")


def test_the_script_reads_columns_that_the_files_have():
    for name, columns in re.findall(r'read\("(\w+)", (\[.*?\])\)', script()):
        file = course.REPO / "data" / "zh" / f"{name}.jsonl"
        first = json.loads(file.read_text(encoding="utf-8").split("\n")[0])
        assert set(ast.literal_eval(columns)) <= set(first), name
