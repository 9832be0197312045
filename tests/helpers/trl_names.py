"""Writes trl_names.json: the public names of TRL and the fields of its settings, read by ast.

    pip download trl transformers --no-deps -d wheels
    python tests/helpers/trl_names.py wheels/trl-*.whl wheels/transformers-*.whl

Nothing is imported or installed: a wheel is a zip file.  Run it when TRL has a new version, then
run test_trl_names.py, and mend lesson09/exercises.py where it fails.
"""

import ast
import datetime
import json
import sys
import zipfile
from pathlib import Path

CONFIGS = ("SFT", "Reward", "DPO", "RLOO", "GRPO")
TARGET = Path(__file__).with_suffix(".json")


def public_names(source):
    """Text of trl/__init__.py -> sorted list of the names that `from trl import` finds."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "_import_structure":
            return sorted(set(sum(ast.literal_eval(node.value).values(), [])))
    raise ValueError("trl/__init__.py has no _import_structure any more")


def class_of(source, name):
    """-> the ast of a class, by name."""
    found = [n for n in ast.parse(source).body if isinstance(n, ast.ClassDef) and n.name == name]
    return found[0]


def fields(source, name):
    """-> {field of a settings class: its default as text}; "" where it is computed."""
    rows = {}
    for node in class_of(source, name).body:
        if isinstance(node, ast.AnnAssign):
            given = {"default": node.value}
            if isinstance(node.value, ast.Call):
                given = {word.arg: word.value for word in node.value.keywords}
            default = given.get("default", given.get("default_factory"))
            if isinstance(default, ast.Lambda):
                default = default.body
            rows[node.target.id] = ast.unparse(default) if default is not None else ""
    return rows


def arguments(source, name):
    """-> names of the arguments of a class's __init__, without self."""
    methods = [n for n in class_of(source, name).body if isinstance(n, ast.FunctionDef)]
    init = next(method for method in methods if method.name == "__init__")
    return [a.arg for a in init.args.args + init.args.kwonlyargs][1:]


def main(trl_wheel, transformers_wheel):
    """Paths of two wheels -> trl_names.json beside this file."""
    trl, transformers = zipfile.ZipFile(trl_wheel), zipfile.ZipFile(transformers_wheel)
    base = transformers.read("transformers/training_args.py").decode("utf-8")
    common = fields(base, "TrainingArguments")
    shared = trl.read("trl/trainer/base_config.py").decode("utf-8")
    common |= fields(shared, "_BaseConfig")
    found = {
        "trl": Path(trl_wheel).name.split("-")[1],
        "transformers": Path(transformers_wheel).name.split("-")[1],
        "read": datetime.date.today().isoformat(),
        "public": public_names(trl.read("trl/__init__.py").decode("utf-8")),
        "files_named_ppo": [n for n in trl.namelist() if "ppo" in n.lower().split("/")[-1]],
        "common_fields": sorted(common),
        "fields": {},
        "arguments": {},
    }
    for short in CONFIGS:
        config = trl.read(f"trl/trainer/{short.lower()}_config.py").decode("utf-8")
        trainer = trl.read(f"trl/trainer/{short.lower()}_trainer.py").decode("utf-8")
        found["fields"][f"{short}Config"] = fields(config, f"{short}Config")
        found["arguments"][f"{short}Trainer"] = arguments(trainer, f"{short}Trainer")
    TARGET.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
