"""The command line as a user meets it: real processes, in a folder of their own.

Every verb on the user's own small files; one line and exit status 2 for wrong input, with nothing
written; Ctrl-C and kill at any moment, after which a resumed run ends with the same bytes.

Where many command lines differ in little, the quick tests call main() in this process, and the slow
tests are the same in processes of their own.
"""

import contextlib
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from minirlhf.__main__ import main
from minirlhf.checkpoint import load_model, save_model
from minirlhf.data import read_corpus, read_jsonl, read_preferences, read_rankings
from minirlhf.gpt import GPTConfig, init_params
from minirlhf.tokenizer import Tokenizer

REPO = Path(__file__).parent.parent
PYTHON = [sys.executable, "-X", "faulthandler"]
VERBS = ("demo", "pretrain", "sft", "rank", "reward", "ppo", "chat", "teach", "evaluate", "walk",
         "frontier", "ablations", "overoptimization", "estimators", "signals")
SMALL = ["--n-layer", "1", "--n-embd", "8", "--quiet"]
LIMIT = 600  # seconds after which something hangs; a busy machine needs a tenth
TINY_PPO = ["--set", "rollout_size=6", "--set", "minibatch_size=4", "--set", "ppo_epochs=2"]

# the same command line, with less pretraining where a verb has no option for it
LESS = """
import dataclasses, sys
from minirlhf.rufus import pipeline
pipeline.PRETRAIN = dataclasses.replace(pipeline.PRETRAIN, steps=60, save_every=10)
from minirlhf.__main__ import main
sys.exit(main())
"""

# the same command line, which says when `evaluate` has begun
TELLING = """
import sys
from minirlhf.__main__ import main
from minirlhf.cli import steps
measure = steps.evaluate_model
def evaluate_model(*arguments):
    print("asking", flush=True)
    return measure(*arguments)
steps.evaluate_model = evaluate_model
sys.exit(main())
"""


def start(arguments, cwd, program=("-m", "minirlhf"), **options):
    env = os.environ | {"PYTHONPATH": str(REPO), "PYTHONIOENCODING": ""}
    return subprocess.Popen(
        [*PYTHON, *program, *map(str, arguments)], cwd=cwd, env=env, encoding="utf-8",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )


def run(arguments, cwd, typed="", program=("-m", "minirlhf")):
    """-> exit status, stdout, stderr."""
    process = start(arguments, cwd, program)
    out, err = process.communicate(typed, timeout=LIMIT)
    return process.returncode, out, err


def run_inside(arguments, cwd):
    """The same in this process, which is quicker."""
    out, err, here, on_ctrl_c = io.StringIO(), io.StringIO(), Path.cwd(), signal.getsignal(2)
    os.chdir(cwd)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(list(map(str, arguments)))
    except SystemExit as end:  # of argparse
        status = end.code
    finally:
        os.chdir(here)
        signal.signal(signal.SIGINT, on_ctrl_c)
    return status, out.getvalue(), err.getvalue()


@pytest.fixture(params=["inside", pytest.param("process", marks=pytest.mark.slow)])
def how(request):
    """run_inside in a quick test, run in a slow one."""
    return {"inside": run_inside, "process": run}[request.param]


def succeed(arguments, cwd, typed="", program=("-m", "minirlhf")):
    """-> stdout of a run that must go well, and quietly."""
    status, out, err = run(arguments, cwd, typed, program)
    assert (status, err) == (0, ""), err
    return out


def fail(arguments, cwd, status=2, words=(), how=run):
    """-> stderr of a run that must end with this status and one line with these words in it."""
    found, out, err = how(arguments, cwd)
    assert found == status, err or out
    assert err.count("\n") == 1 and "Traceback" not in err, err
    assert err.startswith("minirlhf ") and len(err) < 700, err
    for word in words:
        assert str(word) in err, err
    return err


def files(folder):
    """{relative path: bytes} of everything in a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def put_rows(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path.name


# ---- every verb, end to end -----------------------------------------------------------------


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with a small corpus, demonstrations and prompts of one's own, and all models."""
    folder = tmp_path_factory.mktemp("work")
    texts = read_corpus(REPO / "data" / "en" / "corpus.txt")[:500]  # has every character
    (folder / "corpus.txt").write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    pairs = [text.split("\n") for text in texts[:20] if "\n" in text]
    rows = [{"prompt": prompt, "completion": " " + response} for prompt, response in pairs]
    put_rows(folder / "mine.jsonl", *rows)
    put_rows(folder / "prompts.jsonl", *[{"prompt": prompt} for prompt, _ in pairs[:5]])
    texts = [
        succeed(["pretrain", "--corpus", "corpus.txt", "--out", "o", *SMALL, "--set", "steps=12",
                 "--set", "batch_size=4"], folder),
        succeed(["sft", "--model", "o/pretrained.npz", "--demonstrations", "mine.jsonl", "--out",
                 "o", "--quiet"], folder),
        succeed(["rank", "--model", "o/pretrained.npz", "--model", "o/sft.npz", "--out", "o",
                 "--count", "40", "--held-out", "20"], folder),
        succeed(["reward", "--model", "o/sft.npz", "--preferences", "o/preferences.jsonl",
                 "--out", "o", "--quiet", "--set", "epochs=1"], folder),
        succeed(["ppo", "--model", "o/sft.npz", "--reward-model", "o/reward_model.npz", "--prompts",
                 "prompts.jsonl", "--out", "o", "--quiet", "--set", "iterations=2", *TINY_PPO],
                folder),
    ]
    (folder / "printed.json").write_text(json.dumps(texts), encoding="utf-8")
    return folder


def test_the_three_steps_on_files_of_ones_own(work):
    printed = json.loads((work / "printed.json").read_text(encoding="utf-8"))
    wrote = ("pretrained.npz", "sft.npz", "rankings.jsonl", "reward_model.npz", "ppo.npz")
    for text, name in zip(printed, wrote):
        assert re.search(rf"wrote {Path('o') / name}", text), text
    assert sorted(path.name for path in (work / "o").iterdir()) == [
        "ppo.jsonl", "ppo.npz", "ppo.value_model.npz", "preferences.jsonl", "pretrained.jsonl",
        "pretrained.npz", "rankings.jsonl", "rankings_held_out.jsonl", "reward_model.jsonl",
        "reward_model.npz", "sft.jsonl", "sft.npz",
    ]
    assert re.search(r"loss \d\.\d+ nats per character \(unigram entropy \d\.\d+", printed[0])
    assert re.search(r"held-out pair accuracy [01]\.\d+ on \d+ rankings", printed[3])
    rows = read_jsonl(work / "o" / "pretrained.jsonl", {"step": int, "loss": float})
    assert [row["step"] for _, row in rows] == list(range(12))
    assert len(read_jsonl(work / "o" / "ppo.jsonl", {"score": float, "kl_exact": float})) == 2
    assert len(read_rankings(work / "o" / "rankings.jsonl")) > 10
    assert len(read_preferences(work / "o" / "preferences.jsonl")) > 10


def test_reward_from_rankings_with_a_test_file(work, tmp_path):
    out = succeed(
        ["reward", "--model", work / "o/sft.npz", "--rankings", work / "o/rankings.jsonl",
         "--test", work / "o/rankings_held_out.jsonl", "--out", "r", "--set", "epochs=1",
         "--set", "loss=plackett-luce", "--quiet"], tmp_path,
    )
    n = len(read_rankings(work / "o/rankings_held_out.jsonl"))
    assert f"on {n} rankings" in out and "no --test" not in out
    assert load_model(tmp_path / "r" / "reward_model.npz", "reward model")


@pytest.mark.slow
def test_reward_from_anybodys_pairs_and_text(tmp_path):
    """Characters and lengths that only one of the three files has; a prompt longer than all."""
    (tmp_path / "text.txt").write_text("Guten Tag, schöne Welt!\n\nZweitens: ja.\n" * 3,
                                       encoding="utf-8")
    for name, word in (("train.jsonl", "да"), ("test.jsonl", "是")):
        rows = []
        for i in range(6):
            prompt = f"Frage {i} {word}: " + "sehr " * 5 + "lang?"
            rows.append({"prompt": prompt, "chosen": f" gut {i}", "rejected": f" schlecht {i}"})
        put_rows(tmp_path / name, *rows)
    out = succeed(
        ["reward", "--preferences", "train.jsonl", "--test", "test.jsonl", "--corpus", "text.txt",
         "--out", "r", "--quiet"], tmp_path, program=("-c", LESS),
    )
    assert re.search(r"held-out pair accuracy [01]\.\d+ on 6 rankings", out), out
    model = load_model(tmp_path / "r" / "reward_model.npz", "reward model")
    assert set("Guten schöне да是" + "\n") - {"н", "е"} <= set(model.tokenizer.vocab)
    out = succeed(["reward", "--preferences", "train.jsonl", "--out", "bare", "--quiet"], tmp_path)
    assert "no --test" in out and "held-out pair accuracy" in out


@pytest.mark.parametrize(
    "text",
    [
        "It was a dark night.\n\nThe rain fell.\n\nNobody came.\n",  # no questions in it
        "A very, very long question, is it not?\nYes.\n\nShort?\nA rather long answer, I say.\n",
    ],
)
def test_one_can_talk_to_a_model_of_any_text(tmp_path, text):
    """Every text of the corpus may be asked again: its first line, whole."""
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    succeed(
        ["pretrain", "--corpus", "text.txt", "--out", "o", *SMALL, "--set", "steps=3"], tmp_path
    )
    question = text.split("\n")[0]
    out = succeed(["chat", "o/pretrained.npz"], tmp_path, typed=question + "\n\n")
    assert "cannot read" not in out, out


def test_chat(work, tmp_path):
    arguments = ["chat", work / "o/ppo.npz", "--answers", "2"]
    out = succeed(arguments, tmp_path, typed="Who are you?\nWho ärё you?\nWho are you?\n\n")
    assert out.startswith("Ask a question") and out.rstrip().endswith("Goodbye.")
    assert "Rufus cannot read that" in out and "'ä'" in out
    assert len(re.findall(r"^  |> {3}", out, re.M)) >= 2
    assert succeed(arguments, tmp_path, typed="Who are you?") == succeed(
        arguments, tmp_path, typed="Who are you?\n"
    )  # the end of the input ends the talk
    assert succeed(arguments, tmp_path, typed="x" * 5000 + "\n").count("cannot read") == 1


def test_chat_survives_bytes_that_are_no_text(work, tmp_path):
    env = os.environ | {"PYTHONPATH": str(REPO)}
    done = subprocess.run(
        [*PYTHON, "-m", "minirlhf", "chat", work / "o/ppo.npz"], cwd=tmp_path, env=env,
        input=b"\xff\xfe\x00\nWho are you?\n", capture_output=True, timeout=LIMIT,
    )
    assert done.returncode == 0 and done.stderr == b"", done.stderr


def test_evaluate(work, tmp_path):
    model, reference = work / "o/ppo.npz", work / "o/sft.npz"
    arguments = ["evaluate", model, "--samples", "20", "--reference", reference, "--lang", "en"]
    out = succeed([*arguments, "--json"], tmp_path)
    figures = json.loads(out, parse_constant=pytest.fail)  # no NaN in JSON
    assert 0 <= figures["natural_train"] <= 1 and figures["kl_exact"] > 0
    assert {"natural_train", "natural_held_out", "truthful"} <= set(figures)
    text = succeed(arguments, tmp_path)
    assert f"natural_train {figures['natural_train']:17.4f}".split() == text.split("\n")[0].split()


def test_the_parts_of_the_help(tmp_path):
    out = succeed([], tmp_path)
    assert all(re.search(rf"^    {verb}\s", out, re.M) for verb in VERBS)
    assert succeed(["--version"], tmp_path).startswith("minirlhf ")


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_each_verb_has_an_example(verb, tmp_path, how):
    status, out, err = how([verb, "--help"], tmp_path)
    assert (status, err) == (0, ""), err
    assert f"example: python -m minirlhf {verb} " in out
    assert "reads:" in out and "writes:" in out
    assert not files(tmp_path)


def test_nothing_typed_is_unknown_without_a_traceback(tmp_path):
    for arguments in (["prteain"], ["pretrain", "--step", "5"], ["pretrain", "--seed", "x"]):
        status, out, err = run(arguments, tmp_path)
        assert status == 2 and "Traceback" not in err and err.startswith("usage:"), err
        assert str(arguments[-1]) in err or str(arguments[-2]) in err
    assert not files(tmp_path)


# ---- wrong input ----------------------------------------------------------------------------

OUT = ["--out", "out", "--quiet"]
PRETRAIN = ["pretrain", *OUT, "--n-embd", "8", "--corpus", "corpus.txt", "--set", "steps=3"]
SFT = ["sft", *OUT, "--model", "sft.npz", "--demonstrations"]
REWARD = ["reward", *OUT, "--model", "sft.npz", "--rankings", "good.jsonl"]
PAIRS = ["reward", *OUT, "--model", "sft.npz", "--test", "pairs.jsonl", "--preferences"]
PPO = ["ppo", *OUT, "--model", "sft.npz", "--reward-model", "reward_model.npz", "--prompts"]

WRONG = {
    # the files
    "no file": ([*PRETRAIN[:-2], "--corpus", "x.txt"], ["x.txt: no such file"]),
    "empty file": ([*PRETRAIN, "--corpus", "empty.txt"], ["empty.txt: the file is empty"]),
    "not UTF-8": ([*PRETRAIN, "--corpus", "latin.txt"], ["latin.txt, line 2: byte 0xe9"]),
    "a folder": ([*PRETRAIN, "--corpus", "."], [".: cannot be read"]),
    "broken JSON": ([*SFT, "broken.jsonl"], ["broken.jsonl, line 3: not JSON", "'{\"prompt\": "]),
    "missing field": ([*SFT, "field.jsonl"], ["field.jsonl, line 2", "'completion' is missing"]),
    "unknown character": ([*SFT, "odd.jsonl"], ["odd.jsonl, line 4: character 'é'", "'Café?"]),
    "long text": ([*SFT, "long.jsonl"], ["long.jsonl, line 2: ", "needs 307 positions"]),
    "text as model": (["chat", "good.jsonl"], ["good.jsonl: not a minirlhf checkpoint"]),
    # rankings and pairs
    "duplicate answers": ([*REWARD, "--rankings", "twice.jsonl"], ["twice.jsonl, line 2", "'a.'"]),
    "a gap": ([*REWARD, "--rankings", "gap.jsonl"], ["gap.jsonl, line 2: ranks [1, 3]"]),
    "only ties": ([*REWARD, "--rankings", "ties.jsonl"], ["ties.jsonl: all answers are tied"]),
    "tied test": ([*REWARD, "--test", "ties.jsonl"], ["ties.jsonl: all answers are tied"]),
    "one prompt": ([*REWARD, "--rankings", "one.jsonl"], ["one.jsonl", "1 different prompt"]),
    "no test file": ([*REWARD, "--test", "x.jsonl"], ["x.jsonl: no such file"]),
    "odd test file": ([*REWARD, "--test", "oddrank.jsonl"], ["oddrank.jsonl, line 3: char", "'é'"]),
    "odd ranking": ([*REWARD, "--rankings", "oddrank.jsonl"], ["oddrank.jsonl, line 3", "'é'"]),
    "equal pair": ([*PAIRS, "equal.jsonl"], ["equal.jsonl, line 1: chosen and rej", "'a.'"]),
    "rankings as pairs": ([*PAIRS, "good.jsonl"], ["good.jsonl, line 1: field 'chosen' is"]),
    "two kinds": ([*PAIRS, "pairs.jsonl", "--rankings", "good.jsonl"], ["not both"]),
    "two starts": ([*PAIRS, "pairs.jsonl", "--corpus", "corpus.txt"], ["not both"]),
    # prompts
    "odd prompt": ([*PPO, "oddprompt.jsonl"], ["oddprompt.jsonl, line 3: character 'é'", "'Café?"]),
    "long prompt": ([*PPO, "longprompt.jsonl"], ["longprompt.jsonl, line 2: prompt 'Who Who "]),
    "no prompt": ([*PPO, "corpus.txt"], ["corpus.txt, line 1: not JSON"]),
    "other language": (["evaluate", "sft.npz", "--lang", "zh"], ["sft.npz", "zh", "'你'"]),
    "no language": (["evaluate", "sft.npz", "--lang", "xx"], ["xx: no such file"]),
    "no corpus": (["pretrain", *OUT, "--lang", "xx"], ["--lang xx"]),
    # models
    "no model": (["chat", "x.npz"], ["x.npz: no such file"]),
    "wrong kind": (["chat", "reward_model.npz"], ["reward_model.npz: holds a reward model, exp"]),
    "other wrong kind": (
        [*PPO, "prompts.jsonl", "--reward-model", "sft.npz"], ["sft.npz: holds a language model"],
    ),
    "cut short": (["evaluate", "cut.npz"], ["cut.npz: not a minirlhf checkpoint, or cut short"]),
    "unknown config": (["chat", "config.npz"], ["config.npz: bad config", "dropout"]),
    "other vocabulary": (
        [*PPO, "prompts.jsonl", "--model", "tiny.npz"], ["reward_model.npz: ", "tiny.npz"],
    ),
    "no answer length": (["chat", "bare.npz"], ["bare.npz", "max_new_tokens"]),
    "rank, other language": (
        ["rank", "--out", "out", "--model", "sft.npz", "--lang", "zh"], ["sft.npz", "zh", "'你'"],
    ),
    # settings
    "unknown name": ([*PRETRAIN, "--set", "step=5"], ["--set step=5: unknown setting", "steps"]),
    "no value": ([*PRETRAIN, "--set", "steps"], ["--set steps"]),
    "a word": ([*PRETRAIN, "--set", "steps=many"], ["--set steps=many: expected a value like"]),
    "zero steps": ([*PRETRAIN, "--set", "steps=0"], ["--set steps=0: expected a number, 1 or"]),
    "minus": ([*PRETRAIN, "--set", "batch_size=-1"], ["--set batch_size=-1"]),
    "NaN": ([*PRETRAIN, "--set", "learning_rate=nan"], ["--set learning_rate=nan"]),
    "none": ([*PRETRAIN, "--set", "learning_rate=none"], ["--set learning_rate=none"]),
    "unknown schedule": ([*PRETRAIN, "--set", "schedule=fast"], ["schedule=fast", "cosine"]),
    "unknown loss": ([*REWARD, "--set", "loss=fast"], ["loss", "'fast'", "k-wise"]),
    "fixed setting": ([*PPO, "prompts.jsonl", "--set", "max_new_tokens=5"], ["max_new_tokens"]),
    "heads": ([*PRETRAIN, "--n-head", "3"], ["--n-embd 8", "--n-head 3"]),
    "no layers": ([*PRETRAIN, "--n-layer", "0"], ["--n-layer 0"]),
    "minus seed": ([*PRETRAIN, "--seed", "-1"], ["--seed -1: expected 0 or more"]),
    "no demonstrations": ([*SFT, "mine.jsonl", "--count", "0"], ["--count 0"]),
    "no answers": (["chat", "sft.npz", "--answers", "0"], ["--answers 0"]),
    "one answer": (["rank", "--out", "out", "--model", "sft.npz", "--k", "1"], ["--k 1"]),
    "cold": (["chat", "sft.npz", "--temperature", "0"], ["--temperature 0.0"]),
    "no samples": (["evaluate", "sft.npz", "--samples", "0"], ["--samples 0"]),
    "out is a file": ([*PRETRAIN, "--out", "empty.txt"], ["--out empty.txt"]),
    "out is in a file": ([*PRETRAIN, "--out", "empty.txt/x"], ["--out empty.txt/x"]),
}


@pytest.fixture(scope="module")
def wrong(work, tmp_path_factory):
    """A folder with good files and bad ones."""
    folder = tmp_path_factory.mktemp("wrong")
    for name in ("corpus.txt", "mine.jsonl", "prompts.jsonl"):
        shutil.copy(work / name, folder)
    for name in ("sft.npz", "reward_model.npz"):
        shutil.copy(work / "o" / name, folder)
    (folder / "empty.txt").write_bytes(b" \n\n")
    (folder / "latin.txt").write_bytes(b"ok\ncaf\xe9\n")
    good = {"prompt": "Who are you?", "completion": "I am a robot."}
    odd, long = {"prompt": "Café?", "completion": "I am."}, {"prompt": "Who " * 70}
    put_rows(folder / "field.jsonl", good, {"prompt": "Who are you?"})
    put_rows(folder / "oddprompt.jsonl", good, good, odd)
    put_rows(folder / "longprompt.jsonl", good, long)
    put_rows(folder / "long.jsonl", good, {"prompt": "Who are you?", "completion": "I am" * 73})
    name = put_rows(folder / "broken.jsonl", good, good)
    (folder / name).write_bytes((folder / name).read_bytes() + b'{"prompt": "Who\n')
    name = put_rows(folder / "odd.jsonl", good, odd)
    (folder / name).write_bytes(b"\n\n" + (folder / name).read_bytes())  # now on line 4
    ranking = {"prompt": "Who are you?", "responses": ["a.", "b."], "ranks": [1, 2]}
    other = ranking | {"prompt": "Who is Mia?"}
    put_rows(folder / "good.jsonl", ranking, other, other, ranking)
    put_rows(folder / "twice.jsonl", ranking, ranking | {"responses": ["a.", "a."]})
    put_rows(folder / "gap.jsonl", ranking, ranking | {"ranks": [1, 3]})
    put_rows(folder / "ties.jsonl", ranking | {"ranks": [1, 1]}, other | {"ranks": [1, 1]})
    put_rows(folder / "one.jsonl", ranking, ranking)
    put_rows(folder / "oddrank.jsonl", ranking, other, other | {"responses": ["a.", "é."]})
    pair = {"prompt": "Who are you?", "chosen": "a.", "rejected": "b."}
    put_rows(folder / "pairs.jsonl", pair, pair | {"prompt": "Who is Mia?"})
    put_rows(folder / "equal.jsonl", pair | {"rejected": " a."})
    whole = (folder / "sft.npz").read_bytes()
    (folder / "cut.npz").write_bytes(whole[: len(whole) // 2])
    shutil.copy(folder / "sft.npz", folder / "config.npz")
    with np.load(folder / "sft.npz") as file:
        arrays = dict(file)
    meta = json.loads(arrays["meta"].tobytes())
    meta["config"]["dropout"] = 0.1
    arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    np.savez(folder / "config.npz", **arrays)
    config = GPTConfig(vocab_size=6, block_size=40, n_layer=1, n_head=1, n_embd=4)
    params, tokenizer = init_params(config, np.random.default_rng(0)), Tokenizer("\nab")
    extra = {"max_new_tokens": 5}
    save_model(folder / "tiny.npz", "language model", params, config, tokenizer, extra)
    save_model(folder / "bare.npz", "language model", params, config, tokenizer)
    return folder


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_gets_one_line_and_writes_nothing(wrong, name, how):
    arguments, words = WRONG[name]
    before = files(wrong)
    fail(arguments, wrong, 2, words, how)
    assert files(wrong) == before


def test_a_traceback_on_request(wrong):
    status, _, err = run(["chat", "x.npz", "--traceback"], wrong)
    assert status != 0 and "Traceback" in err and "x.npz: no such file" in err


# ---- NaN ------------------------------------------------------------------------------------

TENSOR = r"\b(wte|wpe|ln1_[gb]|qkv_[wb]|proj_[wb]|ln2_[gb]|fc_[wb]|out_[wb]|lnf_[gb]|head_[wb])\b"
SIZE = ["--quiet", "--set", "batch_size=4"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["pretrain", "--corpus", "corpus.txt", "--n-embd", "8", *SIZE, "--set", "steps=9"],
        ["sft", "--model", "sft.npz", "--demonstrations", "mine.jsonl", *SIZE],
        ["reward", "--model", "sft.npz", "--rankings", "good.jsonl", *SIZE, "--set", "epochs=9"],
        ["ppo", "--model", "sft.npz", "--reward-model", "reward_model.npz", "--prompts",
         "prompts.jsonl", "--quiet", "--set", "iterations=3", *TINY_PPO],
    ],
)
def test_nan_stops_the_run_with_step_and_tensor(wrong, tmp_path, arguments, how):
    arguments = [*arguments, "--out", tmp_path / "out", "--set", "learning_rate=1e30"]
    err = fail(arguments, wrong, 1, how=how)
    assert re.search(r"(step|iteration) \d", err) and re.search(TENSOR, err), err
    assert not files(tmp_path)


# ---- Ctrl-C, kill, resume -------------------------------------------------------------------


def long_run(verb, work, out):
    """A verb that takes about a second, on the models of `work`."""
    return {
        "pretrain": ["pretrain", "--corpus", work / "corpus.txt", *SMALL, "--set", "steps=300",
                     "--set", "batch_size=4", "--set", "save_every=7"],
        "reward": ["reward", "--model", work / "o/sft.npz", "--rankings", work / "o/rankings.jsonl",
                   "--quiet", "--set", "epochs=90", "--set", "batch_size=4",
                   "--set", "save_every=7"],
        "ppo": ["ppo", "--model", work / "o/sft.npz", "--reward-model", work / "o/reward_model.npz",
                "--prompts", work / "prompts.jsonl", "--quiet", "--set", "iterations=40",
                "--set", "save_every=3", *TINY_PPO],
    }[verb] + ["--out", out]


MAKES = {"pretrain": ["pretrained.npz"], "reward": ["reward_model.npz"],
         "ppo": ["ppo.npz", "ppo.value_model.npz"]}


@pytest.fixture(scope="module")
def whole(work):
    """{verb: {file: bytes}} of runs that nobody stopped."""
    made = {}
    for verb in MAKES:
        succeed(long_run(verb, work, f"whole-{verb}"), work)
        made[verb] = {name: (work / f"whole-{verb}" / name).read_bytes() for name in MAKES[verb]}
    return made


def wait_for(path, process):
    """Until the file is there; the process must still be running then."""
    deadline = time.monotonic() + LIMIT
    while not path.exists():
        assert process.poll() is None, process.communicate()
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path} is still not there")
        time.sleep(0.002)


@pytest.mark.slow
@pytest.mark.parametrize("verb", MAKES)
def test_two_processes_same_seed_same_bytes(work, whole, verb, tmp_path):
    succeed(long_run(verb, work, tmp_path / "again"), tmp_path)
    assert {n: (tmp_path / "again" / n).read_bytes() for n in MAKES[verb]} == whole[verb]
    if verb == "pretrain":
        succeed([*long_run(verb, work, tmp_path / "other"), "--seed", "1"], tmp_path)
        assert (tmp_path / "other" / "pretrained.npz").read_bytes() != whole[verb]["pretrained.npz"]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_saves_and_says_how_to_go_on(work, whole, tmp_path):
    arguments = [*long_run("pretrain", work, "my out")]
    process = start(arguments, tmp_path)
    resume_file = tmp_path / "my out" / "pretrained.resume.npz"
    wait_for(resume_file, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 130 and "Traceback" not in err, err
    assert [path.name for path in resume_file.parent.iterdir()] == [resume_file.name]
    (again,) = re.findall(r"Go on with: python -m minirlhf (.*--resume)$", err.strip())
    assert "--out 'my out'" in again  # can be pasted into a shell

    left = files(tmp_path)
    fail(arguments, tmp_path, 2, ["pretrained.resume.npz", "--resume", "--fresh"])
    other = [*arguments, "--resume", "--set", "learning_rate=0.5"]
    fail(other, tmp_path, 2, ["pretrained.resume.npz", "learning_rate 0.005, not 0.5"])
    fail([*arguments, "--resume", "--n-embd", "16"], tmp_path, 2, ["pretrained.resume.npz"])
    assert files(tmp_path) == left

    command = " ".join([*PYTHON, "-m", "minirlhf", again])
    env = os.environ | {"PYTHONPATH": str(REPO)}
    done = subprocess.run(command, shell=True, cwd=tmp_path, env=env, capture_output=True)
    assert done.returncode == 0, done.stderr
    made = (resume_file.parent / "pretrained.npz").read_bytes()
    assert made == whole["pretrain"]["pretrained.npz"]
    assert not resume_file.exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_where_there_is_nothing_to_resume(work, tmp_path):
    """chat and evaluate keep nothing: they stop at once, and do not speak of --resume."""
    arguments = ["evaluate", work / "o/ppo.npz", "--samples", "200000"]
    process = start(arguments, tmp_path, program=("-c", TELLING))
    assert process.stdout.readline() == "asking\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 130 and err.strip() == "Interrupted.", err


@pytest.mark.slow
def test_fresh_throws_an_interrupted_run_away(work, whole, tmp_path):
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "pretrained.resume.npz").write_bytes(b"rubbish")
    arguments = long_run("pretrain", work, "o")
    fail([*arguments, "--resume"], tmp_path, 2, ["pretrained.resume.npz: not a minirlhf"])
    succeed([*arguments, "--fresh"], tmp_path)
    assert (tmp_path / "o" / "pretrained.npz").read_bytes() == whole["pretrain"]["pretrained.npz"]


@pytest.mark.slow
@pytest.mark.parametrize("verb", MAKES)
def test_killed_at_a_random_moment_and_resumed_the_bytes_are_the_same(work, whole, verb, tmp_path):
    """kill -9, twice, each time a random while after a resume file was written."""
    arguments, out = long_run(verb, work, tmp_path / "o"), tmp_path / "o"
    resume_file, seed = (out / MAKES[verb][0]).with_suffix(".resume.npz"), random.randrange(1000)
    moments, kills = random.Random(seed), 0
    for more in ([], ["--resume"]):
        process = start([*arguments, *more], tmp_path)
        before = resume_file.stat().st_mtime_ns if more else 0
        deadline = time.monotonic() + LIMIT
        while process.poll() is None and time.monotonic() < deadline:
            if resume_file.exists() and resume_file.stat().st_mtime_ns != before:
                break
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.15))
        process.kill()
        process.communicate()
        kills += process.returncode not in (0, 2)
        if not resume_file.exists():
            break  # it was done before we came
        if not (out / MAKES[verb][-1]).exists():
            load_whole_or_nothing(out)
    assert kills, f"never hit the running process, moments of seed {seed}"
    if resume_file.exists():
        succeed([*arguments, "--resume"], tmp_path)
    assert {n: (out / n).read_bytes() for n in MAKES[verb]} == whole[verb], f"moments: {seed}"
    assert not resume_file.exists()


def load_whole_or_nothing(out):
    """Whatever the killed run has left under a proper name can be opened."""
    for path in out.glob("[!.]*.npz"):
        with np.load(path, allow_pickle=False) as file:
            assert all(file[name].size for name in file.files)


@pytest.mark.slow
def test_reward_with_a_text_is_killed_in_either_of_its_two_trainings(tmp_path):
    """The pretraining of the trunk and the training on pairs each have a resume file."""
    text = "Guten Tag, schöne Welt!\nJa.\n\nZweitens?\nJa, ja.\n"
    (tmp_path / "text.txt").write_text(text * 3, encoding="utf-8")
    rows = [{"prompt": f"Frage {i}", "chosen": "gut", "rejected": "schlecht"} for i in range(9)]
    put_rows(tmp_path / "train.jsonl", *rows)
    arguments = ["reward", "--preferences", "train.jsonl", "--corpus", "text.txt", "--quiet",
                 "--set", "epochs=20", "--set", "batch_size=4", "--set", "save_every=3",
    ]
    less = ("-c", LESS)
    succeed([*arguments, "--out", "whole"], tmp_path, program=less)
    arguments += ["--out", "o"]
    for name, more in (("pretrained", []), ("reward_model", ["--resume"])):
        process = start([*arguments, *more], tmp_path, program=less)
        wait_for(tmp_path / "o" / f"{name}.resume.npz", process)
        process.kill()
        process.communicate()
        status, _, err = run(arguments, tmp_path, program=less)
        assert status == 2 and f"{name}.resume.npz" in err, err
    succeed([*arguments, "--resume"], tmp_path, program=less)
    for name in ("pretrained.npz", "reward_model.npz"):
        assert (tmp_path / "o" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not list((tmp_path / "o").glob("*.resume.npz"))
