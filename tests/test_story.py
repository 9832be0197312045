"""The story, told short: every step improves what it claims to improve.

The full demo on five seeds in both languages is benchmarks/story.py; what came out is in
docs/results/story.md.
Here one Chinese run with a third of the training, because Chinese sentences are short.
"""

import contextlib
import io
import json
from dataclasses import replace

import numpy as np
import pytest

from minirlhf.checkpoint import load_model
from minirlhf.data import read_jsonl, read_rankings
from minirlhf.rufus.answers import ask
from minirlhf.rufus.demo import run_demo
from minirlhf.rufus.measure import judge_answers
from minirlhf.rufus.pipeline import (
    LANGUAGE_MODEL,
    PPO,
    PRETRAIN,
    REWARD_MODEL,
    ROUNDS,
    no_progress,
    stage_rng,
)
from minirlhf.rufus.world import World

SHORT = {
    "pretrain": replace(PRETRAIN, steps=700),
    "ppo": replace(PPO, iterations=12),
}
TINY = {
    "pretrain": replace(PRETRAIN, steps=60, save_every=25),
    "ppo": replace(PPO, iterations=3, rollout_size=8, minibatch_size=4, save_every=2),
}


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """-> (folder, summary, what was printed) of one short demo in Chinese."""
    out = tmp_path_factory.mktemp("demo")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        summary = run_demo("zh", 0, out, no_progress, **SHORT)
    return out, summary, printed.getvalue()


@pytest.mark.slow
def test_the_article_is_in_view(told):
    _, summary, text = told
    assert "我，一个机器人。" in text and "我是一个机器人。" in text
    probability = summary["probability"]["我是一个机器人。"]
    assert 0 < probability["pretrained"] < 1 and 0 < probability["ppo"] < 1
    assert "模拟" in text  # the annotators are said to be simulated


@pytest.mark.slow
def test_every_step_improves_what_it_claims(told):
    out, summary, _ = told
    pretraining = [row for _, row in read_jsonl(out / "pretrained.jsonl", {})]
    model = load_model(out / "pretrained.npz", LANGUAGE_MODEL)
    assert pretraining[-1]["held_out_loss"] < model.extra["corpus_entropy"]["bigram"]
    assert summary["sft"]["natural_held_out"] > summary["pretrained"]["natural_held_out"] + 0.05
    assert summary["reward_model"]["accuracy_held_out"] > 0.85
    assert summary["ppo"]["natural_train"] > summary["sft"]["natural_train"] + 0.15
    assert summary["ppo"]["natural_held_out"] > summary["sft"]["natural_held_out"] + 0.15
    assert summary["ppo"]["distinct_ratio"] > 0.5  # no canned sentence


@pytest.mark.slow
def test_it_is_really_ppo(told):
    out, summary, _ = told
    history = []
    for name in [f"ppo_{n}" for n in range(1, ROUNDS)] + ["ppo"]:
        history += [row for _, row in read_jsonl(out / f"{name}.jsonl", {})]
    assert np.mean([row["clip_fraction"] > 0.005 for row in history]) > 0.5
    assert all(row["clip_fraction"] < 0.3 for row in history)
    assert all(row["ratio_outside"] >= row["clip_fraction"] for row in history)
    assert max(row["first_approx_kl"] for row in history) < 1e-8  # the first ratio is 1
    assert history[0]["kl_exact"] == pytest.approx(0, abs=1e-3)
    assert 0 < summary["ppo"]["kl_exact"] < 3
    drift = [abs(row["kl_exact"] - row["kl_estimate"]) for row in history]
    assert np.mean(drift) < 0.5 * np.mean([row["kl_exact"] for row in history]) + 0.1


@pytest.mark.slow
def test_the_reference_and_the_held_out_questions_stay_out(told):
    out, _, _ = told
    world = World.load("zh")
    held_out = set(world.questions("held_out"))
    assert not {ranking.prompt for ranking in read_rankings(out / "rankings.jsonl")} & held_out
    asked = {ranking.prompt for ranking in read_rankings(out / "rankings_held_out.jsonl")}
    assert asked <= held_out


@pytest.mark.slow
def test_the_figures_of_the_summary_are_those_of_the_checkpoint(told):
    """Asked again with other random numbers: the same share within sampling error."""
    out, summary, _ = told
    world, model = World.load("zh"), load_model(out / "ppo.npz", LANGUAGE_MODEL)
    answers = ask(model, world.questions("train") * 24, np.random.default_rng(123))
    share = judge_answers(world, answers).natural
    assert abs(share - summary["ppo"]["natural_train"]) < 0.06  # 4 standard errors of 1,008
    load_model(out / "reward_model.npz", REWARD_MODEL)


@pytest.mark.slow
def test_everything_promised_is_written(told):
    out, summary, _ = told
    assert json.loads((out / "summary.json").read_text(encoding="utf-8"))["seed"] == 0
    seconds = set(summary["seconds"])
    assert {"pretrain", "sft", "rank", "reward", "ppo", "total"} <= seconds
    for name in ("natural_train", "natural_held_out", "truthful"):
        for model in ("pretrained", "sft", "ppo"):
            assert 0 <= summary[model][name] <= 1
    assert {"kl_exact", "clip_fraction", "distinct_ratio", "score"} <= set(summary["ppo"])
    assert len(list((out / "pictures").glob("*.png"))) == 7
    assert not list(out.rglob("*.tmp")) and not list(out.glob("*.resume.npz"))


class StopAt:
    """A progress that interrupts one stage before one of its steps."""

    def __init__(self, title, step):
        self.title, self.step, self.seen = title, step, ""

    def __call__(self, title):
        self.seen = title
        return self.steps

    def steps(self, steps):
        for step in steps:
            if (self.seen, step) == (self.title, self.step):
                raise KeyboardInterrupt
            yield step


@pytest.mark.slow
@pytest.mark.parametrize("title, step", [("pretrain", 40), ("ppo", 1)])
def test_an_interrupted_demo_goes_on_to_the_same_bytes(tmp_path, tiny_demo, title, step):
    with pytest.raises(KeyboardInterrupt):
        run_demo("zh", 3, tmp_path, StopAt(title, step), **TINY)
    run_demo("zh", 3, tmp_path, no_progress, resume=True, **TINY)
    for name in ("pretrained", "sft", "reward_model", "ppo", "ppo.value_model"):
        assert (tmp_path / f"{name}.npz").read_bytes() == tiny_demo[name], name


@pytest.fixture(scope="module")
def tiny_demo(tmp_path_factory):
    """-> {name: bytes of its checkpoint} of a run that nobody interrupts."""
    out = tmp_path_factory.mktemp("whole")
    run_demo("zh", 3, out, no_progress, **TINY)
    names = ("pretrained", "sft", "reward_model", "ppo", "ppo.value_model")
    return {name: (out / f"{name}.npz").read_bytes() for name in names}


def test_stage_generators_are_independent():
    draws = {stage_rng(0, stage, n).random() for stage in ("rank", "ppo") for n in (1, 2)}
    assert len(draws) == 4
