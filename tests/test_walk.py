"""The walk: every stop replayed under a debugger and compared with the table it is documented by.

One source: minirlhf.walk.stops.STOPS.  The printed walk, the tour's table and these tests read it.
"""

import bdb
import contextlib
import io
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from helpers.adapter import SECONDS, Adapter, free_port

from minirlhf import gpt, step3_ppo
from minirlhf.gpt import gpt_backward, gpt_forward
from minirlhf.layers import token_logprobs_backward, token_logprobs_forward
from minirlhf.messages import load_messages
from minirlhf.walk import stops, transformer
from minirlhf.walk import walks as walk

REPO = Path(__file__).parent.parent
WALK = REPO / "minirlhf" / "walk" / "walks.py"
SCENARIOS = ("ppo", "transformer", "reward")
TOURS = {"en": REPO / "notebooks/debugger_tour.md", "zh": REPO / "notebooks/debugger_tour.zh.md"}
LAUNCH = REPO / ".vscode/launch.json"


def exact(expression):
    """An exact value of the table: Python, with the names of stops.py (log, sqrt, np, X2, ...)."""
    return eval(expression, dict(stops.NAMES))


class Replay(bdb.Bdb):
    """Stops at the `# STOP n` lines and evaluates expressions in the frame, as a watch does."""

    def __init__(self, scenario, expressions):
        super().__init__()
        self.expressions = {walk.stop_line(scenario, n): (n, e) for n, e in expressions.items()}
        self.file = walk.WALKS[scenario].__code__.co_filename
        for line in self.expressions:
            assert self.set_break(self.file, line) is None
        self.seen = {}

    def user_line(self, frame):
        if frame.f_lineno in self.expressions and frame.f_code.co_filename == self.file:
            number, expressions = self.expressions[frame.f_lineno]
            values = {}
            for text in expressions:
                value = eval(text, frame.f_globals, frame.f_locals)
                values[text] = value.copy() if isinstance(value, np.ndarray) else value
            self.seen[number] = values
        self.set_continue()


def replay(scenario, expressions):
    """{stop: list of expressions} -> {stop: {expression: value}}."""
    debugger = Replay(scenario, expressions)
    before = sys.gettrace()
    with contextlib.redirect_stdout(io.StringIO()):
        debugger.runcall(walk.WALKS[scenario])
    sys.settrace(before)
    assert set(debugger.seen) == set(expressions), "a stop was not reached"
    return debugger.seen


def environment(**more):
    cleared = {key: value for key, value in os.environ.items() if key != "MINIRLHF_STOP"}
    return cleared | {"PYTHONPATH": str(REPO), "PYTHONIOENCODING": "utf-8"} | more


def run(arguments, typed="", **more):
    """-> exit status, stdout, stderr of a command of Python."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], input=typed, cwd=REPO, env=environment(**more),
        encoding="utf-8", capture_output=True, timeout=SECONDS,
    )
    return done.returncode, done.stdout, done.stderr


# ---- the stops ------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_stop_shows_what_the_table_says(scenario):
    table = stops.STOPS[scenario]
    assert [stop.number for stop in table] == list(range(1, len(table) + 1))
    names = {stop.number: [name for name, _ in stop.values] for stop in table}
    seen = replay(scenario, names)
    for stop in table:
        for name, expression in stop.values:
            value, expected = seen[stop.number][name], exact(expression)
            where = f"{scenario}, stop {stop.number}, {name}"
            # Python's own numbers at the stops: a watch shows 2.0, not np.float64(2.0)
            assert type(value) in (float, bool, list, np.ndarray), where
            assert np.shape(value) == np.shape(expected), where
            np.testing.assert_allclose(
                np.asarray(value, float), np.asarray(expected, float), rtol=0, atol=1e-12,
                err_msg=where,
            )


def test_the_table_is_that_of_the_design():
    """Each number of the fourteen stops once more, typed in by hand from paper."""
    names = {stop.number: [name for name, _ in stop.values] for stop in stops.PPO_STOPS}
    seen = replay("ppo", names)
    paper = {
        1: {"old_probs": (0.25, 0.75), "old_logprobs": (-1.386, -0.288)},
        2: {"scores": (1, -1), "kl": (0, 0), "rewards": (1, -1)},
        3: {"advantages": (1, -1)},
        4: {"ratio": 1, "onehot_minus_probs": (0.75, -0.75), "dlogits": (0.75, -0.75)},
        5: {"ratio": 1, "dlogits": (0.25, -0.25)},
        6: {"grad": (0.5, -0.5), "probs": (0.5, 0.5)},
        7: {"kl_new_ref": 0.1438, "k1": 0.1438, "k3": 0.1438, "k2": 0.1612},
        8: {"ratio": (2, 0.6667), "is_clipped": (True, True), "grad": (0, 0)},
        9: {"grad": (0.6667, -0.6667), "probs": (0.812, 0.188)},
        10: {"entropy_before": 0.562, "entropy_after": 0.693},
        11: {"optimal_half": (0.5, 0.5), "optimal_three": (0.75, 0.25),
             "optimal_sharp": (27 / 28, 1 / 28)},
        12: {"preferred": 0.75, "loss": 0.2877, "elo": 190.8485},
        13: {"rloo": (2, -0.667, -0.667, -0.667), "grpo": (1.732, -0.577, -0.577, -0.577)},
        14: {"delta": (0, 0, 0.5), "advantages": (0.125, 0.25, 0.5), "returns": (0.625, 0.75, 1)},
    }
    assert set(paper) == set(range(1, 15))
    for number, values in paper.items():
        for name, expected in values.items():
            value = np.asarray(seen[number][name], float).reshape(-1)
            np.testing.assert_allclose(value, np.reshape(expected, -1), atol=6e-4, err_msg=name)


def test_a_wrong_table_would_be_seen():
    seen = replay("ppo", {8: ["ratio"]})
    assert np.abs(np.subtract(seen[8]["ratio"], [2, 2 / 3 + 1e-11])).max() > 1e-12


def test_the_written_out_transformer_is_the_package():
    seen = replay("transformer", {14: ["logits", "loss", "grads.flat"]})[14]
    params, config, inputs, targets = transformer.tiny_transformer()
    hidden, cache = gpt_forward(params, config, inputs)
    logits, head_cache = gpt.lm_head_forward(params, hidden)
    logprobs, logprobs_cache = token_logprobs_forward(logits, targets)
    dlogits = token_logprobs_backward(np.full((1, 3), -1 / 3), logprobs_cache)
    dhidden, dw = gpt.lm_head_backward(params, dlogits, head_cache)
    grads = gpt_backward(params, config, dhidden, cache)
    grads.wte += dw
    np.testing.assert_allclose(seen["logits"], logits, rtol=0, atol=1e-13)
    np.testing.assert_allclose(seen["loss"], -logprobs.mean(), rtol=1e-13)
    np.testing.assert_allclose(seen["grads.flat"], grads.flat, rtol=0, atol=1e-13)
    assert np.abs(grads.flat).max() > 0.1


def test_agreement_with_a_finite_difference_can_fail():
    gradient = np.array([[1.0, -2.0]])
    assert transformer.agree(gradient, gradient * (1 + 1e-9))
    assert not transformer.agree(gradient, gradient * (1 + 1e-5))
    assert not transformer.agree(gradient, -gradient)
    assert not transformer.agree(gradient, np.zeros((1, 2)))
    assert transformer.agree(gradient * 0, gradient * 0)


# ---- what is printed ------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_printed_walk_holds_every_value(scenario):
    status, out, err = run(["-m", "minirlhf", "walk", "--scenario", scenario])
    assert (status, err) == (0, "")
    blocks = re.split(r"^STOP (?=\d)", out, flags=re.M)[1:]
    assert len(blocks) == len(stops.STOPS[scenario])
    for stop, block in zip(stops.STOPS[scenario], blocks):
        assert block.startswith(f"{stop.number}  {stop.title}\n") and stop.formula in block
        flat = " ".join(block.split())
        for name, expression in stop.values:
            value = exact(expression)
            kind = "float" if isinstance(value, int) and not isinstance(value, bool) else None
            value = float(value) if kind or isinstance(value, np.floating) else value
            shown = " ".join(stops.text_of(value).split())
            assert f" {name} {stops.shape_of(value)} {shown} = {expression}" in flat, name


def test_the_real_iteration_runs():
    status, out, err = run(["-m", "minirlhf", "walk", "--scenario", "rufus"])
    assert (status, err) == (0, "")
    assert "Rollout(tokens (4, " in out and "policy_loss" in out
    assert out == run(["-m", "minirlhf", "walk", "--scenario", "rufus"])[1]


@pytest.mark.parametrize("scenario,stop", [
    ("ppo", "0"), ("ppo", "15"), ("ppo", "-1"), ("ppo", "x"), ("ppo", "4.0"), ("reward", "6"),
    ("reward", "ratio"), ("transformer", "99"), ("rufus", "2"),
])
def test_a_wrong_stop_is_one_line(scenario, stop, capsys, monkeypatch):
    from minirlhf.__main__ import main

    for arguments, variable in (([f"--stop={stop}"], ""), ([], stop)):
        monkeypatch.setenv("MINIRLHF_STOP", variable)
        assert main(["walk", "--scenario", scenario, *arguments]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1 and stop in err and f"scenario {scenario}" in err


# ---- the tour -------------------------------------------------------------------------------

WATCH = {"en": r"Watch `(.+?)`: it is `(.+?)`\.", "zh": r"监视 `(.+?)`，得到 `(.+?)`。"}


@pytest.mark.parametrize("lang", TOURS)
def test_the_tour_shows_the_table(lang):
    text = TOURS[lang].read_text(encoding="utf-8")
    for scenario in SCENARIOS:
        assert stops.markdown_table(scenario, lang) in text


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_answers_of_the_tour_are_what_a_watch_shows(scenario):
    asked = {}
    for lang, path in TOURS.items():
        text = path.read_text(encoding="utf-8")
        heading = rf"### {scenario}, stop (\d+): (.*)|### {scenario} 第 (\d+) 站：(.*)"
        for match in re.finditer(heading, text):
            number = int(match[1] or match[3])
            stop = stops.STOPS[scenario][number - 1]
            assert (match[2] or match[4]) == load_messages(lang)(stop.title)
            section = text[match.end() : text.find("\n#", match.end()) + 1 or None]
            question, answer = section.split("<details>")
            assert "?" in question or "？" in question or "." in question
            assert answer.rstrip().endswith("</details>")
            expression, value = re.search(WATCH[lang], answer).groups()
            asked[lang, number] = (expression, value)
    numbers = [stop.number for stop in stops.STOPS[scenario]]
    assert sorted(asked) == sorted((lang, n) for lang in TOURS for n in numbers)
    seen = replay(scenario, {n: [asked["en", n][0]] for n in numbers})
    for n in numbers:
        assert asked["en", n] == asked["zh", n]
        expression, value = asked["en", n]
        assert stops.text_of(seen[n][expression]) == value, (n, expression)


# ---- debuggers ------------------------------------------------------------------------------


def test_pdb_opens_at_the_stop():
    status, out, err = run(["-m", "minirlhf", "walk", "--stop", "4"], "p dlogits\nq\n")
    assert (status, err) == (0, "")
    assert f"walks.py({walk.stop_line('ppo', 4)})walk_ppo()" in out
    assert "array([ 0.75, -0.75])" in out and "STOP 4" not in out.split("# STOP 4")[1]


def test_pdb_opens_where_the_ratio_is_not_1():
    status, out, err = run(["-m", "minirlhf", "walk", "--stop", "ratio"], "p ratio\nc\n")
    assert (status, err) == (0, "")
    assert out.count("(Pdb)") == 2 and "(Pdb) [2.0, 0.666666666666666" in out
    assert f"walks.py({walk.stop_line('ppo', 8)})walk_ppo()" in out


@pytest.mark.parametrize("scenario", [*SCENARIOS, "rufus"])
def test_each_stop_has_its_breakpoint(scenario, monkeypatch):
    hits = []
    monkeypatch.setattr(sys, "breakpointhook", lambda: hits.append(sys._getframe(1).f_lineno))
    with contextlib.redirect_stdout(io.StringIO()):
        for number in range(1, len(stops.STOPS.get(scenario, (1,))) + 1):
            monkeypatch.setenv("MINIRLHF_STOP", str(number))
            walk.run_walk(scenario)
            assert hits == [walk.stop_line(scenario, number) - 1]
            hits.clear()
        if scenario == "ppo":
            monkeypatch.setenv("MINIRLHF_STOP", "ratio")
            walk.run_walk(scenario)
            assert hits == [walk.stop_line(scenario, 8) - 1]


def configurations():
    return json.loads(LAUNCH.read_text(encoding="utf-8"))["configurations"]


def command(configuration, file):
    """-> arguments for Python, environment."""
    assert configuration["type"] == "debugpy" and configuration["request"] == "launch"
    assert configuration["justMyCode"] is True
    module = ["-m", configuration["module"]] if "module" in configuration else []
    words = [*module, configuration.get("program"), *configuration.get("args", [])]
    words = [word.replace("${file}", str(file)) for word in words if word]
    env = configuration["env"]
    return words, {k: v.replace("${workspaceFolder}", str(REPO)) for k, v in env.items()}


@pytest.mark.parametrize("name,typed,expected", [
    ("walk: stop 1", "p old_probs\nc\n", "array([0.25, 0.75])"),
    ("walk: where ratio != 1", "p ratio\nc\n", "[2.0, 0.666666666666666"),
    ("one PPO iteration on Rufus, 4 prompts", "p models\nc\n", "policy_loss"),
    ("the current notebook source", "", "PPO(4, 2)"),
    ("the current test", "", "1 passed"),
])
def test_the_entries_of_vs_code_run(name, typed, expected, tmp_path):
    file = tmp_path / "test_current.py"
    file.write_text(
        "# %% a cell\nfrom minirlhf.step3_ppo import PPOSettings\n"
        "def test_it():\n    assert PPOSettings()\nprint('PPO(4, 2)')\n", encoding="utf-8",
    )
    (configuration,) = [entry for entry in configurations() if entry["name"] == name]
    words, env = command(configuration, file)
    status, out, err = run(words, typed, **env)
    assert (status, err) == (0, "") and expected in out, out
    assert ("(Pdb)" in out) == bool(typed)


def test_pycharm_has_the_same_entries():
    found = {}
    for path in (REPO / ".run").glob("*.run.xml"):
        (configuration,) = ElementTree.parse(path).getroot()
        options = {o.get("name"): o.get("value") for o in configuration.findall("option")}
        env = {e.get("name"): e.get("value") for e in configuration.findall("envs/env")}
        module = ["-m"] if options["MODULE_MODE"] == "true" else []
        words = [*module, options["SCRIPT_NAME"], *options["PARAMETERS"].split()]
        words = [word.replace("$FilePath$", "FILE") for word in words]
        env.pop("PYTHONUNBUFFERED")
        env = {k: v.replace("$PROJECT_DIR$", str(REPO)) for k, v in env.items()}
        found[configuration.get("name")] = (words, env)
    assert found == {entry["name"]: command(entry, "FILE") for entry in configurations()}


def test_the_debug_adapter_stops_reads_and_steps_into_the_package_only():
    pytest.importorskip("debugpy", reason="debugpy is not installed; it comes with jupyter")
    (entry,) = [e for e in configurations() if e["name"] == "walk: stop 1"]
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "debugpy", "--listen", f"127.0.0.1:{port}", "--wait-for-client",
         *command(entry, "")[0]],
        cwd=REPO, env=environment(MINIRLHF_STOP="4", PYDEVD_DISABLE_FILE_VALIDATION="1"),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
    )
    try:
        adapter = Adapter(port)
        adapter.ask("initialize", adapterID="debugpy", clientID="test", pathFormat="path")
        attached = adapter.send("attach", justMyCode=entry["justMyCode"])
        adapter.wait("initialized")
        source = WALK.read_text(encoding="utf-8").split("\n")
        line = walk.stop_line("ppo", 5)
        while "ppo_policy_loss(" not in source[line]:  # index: the line after `line`
            line += 1
        breakpoints = [{"line": walk.stop_line("ppo", 3)}, {"line": line + 1}]
        done = adapter.ask("setBreakpoints", source={"path": str(WALK)}, breakpoints=breakpoints)
        assert all(b["verified"] for b in done["breakpoints"])
        adapter.ask("configurationDone")
        adapter.answer(attached)

        # a breakpoint by line
        thread, frame = adapter.stopped()
        assert (frame["name"], frame["line"]) == ("walk_ppo", walk.stop_line("ppo", 3))
        assert Path(frame["source"]["path"]) == WALK

        # the environment's breakpoint, and the variables there
        adapter.ask("continue", threadId=thread)
        thread, frame = adapter.stopped()
        assert frame["name"] == "walk_ppo" and abs(frame["line"] - walk.stop_line("ppo", 4)) <= 1
        scopes = adapter.ask("scopes", frameId=frame["id"])["scopes"]
        (local,) = [s for s in scopes if s["name"] == "Locals"]
        variables = adapter.ask("variables", variablesReference=local["variablesReference"])
        shown = {v["name"]: v["value"] for v in variables["variables"]}
        assert shown["logits"] == "array([0.    , 1.0986])"  # the print options reach the debugger
        assert shown["ratio"] == "1.0" and shown["dlogits"] == "array([ 0.75, -0.75])"
        watch = adapter.ask("evaluate", expression="ratio * advantage", frameId=frame["id"])
        assert watch["result"] == "1.0"

        # F11 into the package; there, F11 line by line never lands in NumPy
        adapter.ask("continue", threadId=thread)
        thread, frame = adapter.stopped()
        adapter.ask("stepIn", threadId=thread)
        thread, frame = adapter.stopped()
        assert frame["name"] == "ppo_policy_loss"
        seen = []
        while frame["name"] != "walk_ppo":
            seen.append((Path(frame["source"]["path"]).name, frame["name"], frame["line"]))
            adapter.ask("stepIn", threadId=thread)
            thread, frame = adapter.stopped()
        assert {name for name, _, _ in seen} == {"step3_ppo.py"}
        assert {name for _, name, _ in seen} == {"ppo_policy_loss", "token_count"}
        passed = step3_ppo.__file__ and Path(step3_ppo.__file__).read_text(encoding="utf-8")
        lines = [passed.split("\n")[number - 1] for _, _, number in seen]
        assert any("np.clip(" in text for text in lines)  # has a Python part in NumPy
        adapter.ask("disconnect", terminateDebuggee=True)
    finally:
        process.kill()
        process.wait(timeout=SECONDS)


def test_a_notebook_cell_gets_the_prompt():
    """The cell of the tour in a kernel of its own, over Jupyter's protocol."""
    reason = "jupyter is not installed"
    pytest.importorskip("ipykernel", reason=reason)
    manager = pytest.importorskip("jupyter_client.manager", reason=reason)
    cell = 'from minirlhf.walk.walks import run_walk\n\nrun_walk("ppo", stop=4)'
    for path in TOURS.values():
        assert f"```python\n{cell}\n```" in path.read_text(encoding="utf-8")
    kernel, client = manager.start_new_kernel(
        kernel_name="python3", cwd=str(REPO), env=environment(), startup_timeout=SECONDS
    )
    try:
        request = client.execute(cell, allow_stdin=True)
        for typed in ("p ratio * advantage", "q"):
            assert client.get_stdin_msg(timeout=SECONDS)["content"]["prompt"].strip() == "ipdb>"
            client.input(typed)
        reply = client.get_shell_msg(timeout=SECONDS)
        while reply["msg_type"] == "kernel_info_reply":  # an answer to the start, on a busy machine
            reply = client.get_shell_msg(timeout=SECONDS)
        assert reply["parent_header"]["msg_id"] == request
        assert reply["content"]["status"] == "ok", reply["content"]
        printed = ""
        while True:
            message = client.get_iopub_msg(timeout=SECONDS)
            if message["parent_header"].get("msg_id") == request:
                printed += message["content"].get("text", "")
                if message["content"].get("execution_state") == "idle":
                    break
        assert "STOP 3" in printed and "\n1.0\n" in printed and "STOP 5" not in printed
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)
