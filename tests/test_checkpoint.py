"""Checkpoints: whole or not at all, plain data, and a stopped run that ends like one never stopped.

Resuming is tested here inside one process, at every step where a run can stop; test_cli.py kills
real processes.
"""

import json
import os
import pickle
from dataclasses import asdict, replace

import numpy as np
import pytest

from minirlhf import checkpoint
from minirlhf.adam import adam_step, init_adam
from minirlhf.checkpoint import (
    Model,
    fingerprint,
    load_model,
    load_run,
    read_arrays,
    resumable,
    save_model,
    save_run,
    write_arrays,
)
from minirlhf.data import Example, Texts
from minirlhf.errors import InputError, NotFiniteError, at
from minirlhf.gpt import GPTConfig, init_params, with_scalar_head
from minirlhf.step1_language_model import LanguageModelSettings, train_language_model
from minirlhf.step2_reward_model import EncodedRanking, RewardModelSettings, train_reward_model
from minirlhf.step3_ppo import PPOHooks, PPOModels, PPOSettings, score_samples, train_ppo
from minirlhf.tokenizer import BOS, EOS, Tokenizer

VOCAB = "\n 我abé"
CONFIG = GPTConfig(vocab_size=9, block_size=12, n_layer=1, n_head=2, n_embd=8)
LANGUAGE_MODEL, REWARD_MODEL = "language model", "reward model"


def tiny_model(kind=LANGUAGE_MODEL, seed=0):
    rng = np.random.default_rng(seed)
    params = init_params(CONFIG, rng)
    if kind != LANGUAGE_MODEL:
        params = with_scalar_head(params, CONFIG, rng)
    return Model(
        kind=kind, params=params, config=CONFIG, tokenizer=Tokenizer(VOCAB),
        extra={"max_new_tokens": 5, "gain": 0.1 + 0.2},
    )


def save(path, model):
    save_model(path, model.kind, model.params, model.config, model.tokenizer, model.extra)


def forge(path, change):
    """Save a good model, let `change(arrays, meta)` spoil it, and write it back."""
    save(path, tiny_model())
    arrays, meta = read_arrays(path)
    change(arrays, meta)
    write_arrays(path, arrays, meta)


def refused(path, *words, kind=LANGUAGE_MODEL):
    """load_model(path) is refused in one line that names the path and has these words in it."""
    with pytest.raises(InputError) as caught:
        load_model(path, kind)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message, message
    for word in words:
        assert word in message, message


# ---- models ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [LANGUAGE_MODEL, REWARD_MODEL, "value model"])
def test_a_model_comes_back_bit_for_bit(tmp_path, kind):
    model = tiny_model(kind)
    save(tmp_path / "a.npz", model)
    back = load_model(tmp_path / "a.npz", kind)
    assert back.params.flat.tobytes() == model.params.flat.tobytes()
    assert back.params.shapes == model.params.shapes and back.params.flat.dtype == np.float32
    assert (back.kind, back.config, back.extra) == (model.kind, model.config, model.extra)
    assert back.tokenizer.vocab == VOCAB
    back.params.wte += 1  # the views are views: nothing is read-only or cut loose
    assert back.params.flat[0] == model.params.flat[0] + np.float32(1)


def test_a_model_trained_in_float64_is_kept_in_float32(tmp_path):
    config = GPTConfig(vocab_size=6, block_size=4, n_layer=1, n_head=1, n_embd=4)
    params = init_params(config, np.random.default_rng(0), dtype=np.float64)
    save_model(tmp_path / "m.npz", "language model", params, config, Tokenizer("abc"))
    back = load_model(tmp_path / "m.npz", "language model").params
    assert back.flat.dtype == np.float32
    np.testing.assert_array_equal(back.flat, params.flat.astype(np.float32))


def test_same_model_same_bytes(tmp_path):
    save(tmp_path / "a.npz", tiny_model())
    save(tmp_path / "b.npz", tiny_model())
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_the_folder_is_made(tmp_path):
    save(tmp_path / "x" / "y" / "a.npz", tiny_model())
    assert load_model(tmp_path / "x" / "y" / "a.npz", LANGUAGE_MODEL)


def test_a_file_opens_without_the_package(tmp_path):
    save(tmp_path / "a.npz", tiny_model())
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        meta = json.loads(file["meta"].tobytes().decode("utf-8"))
        assert meta["config"] == asdict(CONFIG) and meta["vocab"] == VOCAB
        assert file["wte"].shape == (9, 8)


# ---- atomic ---------------------------------------------------------------------------------


def full_disk(file, **arrays):
    file.write(b"half of it")
    raise OSError(28, "No space left on device")


def failing_rename(source, target):
    raise OSError(5, "Input/output error")


def ctrl_c(file, **arrays):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "module, name, fault",
    [(np, "savez", full_disk), (np, "savez", ctrl_c), (os, "replace", failing_rename)],
)
@pytest.mark.parametrize("exists", [True, False])
def test_a_failing_write_leaves_the_old_file_and_nothing_else(
    tmp_path, monkeypatch, module, name, fault, exists
):
    path = tmp_path / "a.npz"
    if exists:
        save(path, tiny_model())
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    monkeypatch.setattr(module, name, fault)
    with pytest.raises((OSError, KeyboardInterrupt)):
        save(path, tiny_model(seed=1))
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_the_target_is_never_open_for_writing(tmp_path, monkeypatch):
    """When the new file takes the old one's name, it is complete."""
    path, seen = tmp_path / "a.npz", []
    save(path, tiny_model())
    old, rename = path.read_bytes(), os.replace

    def watch(source, target):
        assert path.read_bytes() == old
        seen.append(load_model(source, LANGUAGE_MODEL).params.flat.tobytes())
        rename(source, target)

    monkeypatch.setattr(os, "replace", watch)
    new = tiny_model(seed=1)
    save(path, new)
    assert seen == [new.params.flat.tobytes()]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_model_with_nan_is_not_saved(tmp_path, value):
    model = tiny_model()
    model.params.fc_w[0, 1, 2] = value
    with pytest.raises(NotFiniteError, match="fc_w"):
        save(tmp_path / "a.npz", model)
    assert not list(tmp_path.iterdir())


def test_a_run_with_nan_is_not_saved(tmp_path):
    params = tiny_model().params
    params.wpe[1] = np.nan
    run = resumable(tmp_path / "a.npz", "ppo", PPOSettings(), 0, {"value_model": params}, {})
    run.history = [{}, {}, {}]
    with pytest.raises(NotFiniteError, match="'wpe' of the value model after step 3"):
        save_run(run)
    assert not list(tmp_path.iterdir())


# ---- files that are not what they should be -------------------------------------------------


def test_a_missing_file(tmp_path):
    refused(tmp_path / "a.npz", "no such file")
    refused(tmp_path, "no such file")  # a folder


def test_a_file_cut_short_anywhere(tmp_path):
    path = tmp_path / "a.npz"
    save(path, tiny_model())
    whole = path.read_bytes()
    for length in [*range(0, 40), *range(40, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:length])
        refused(path)


def test_a_file_with_a_flipped_bit_is_refused_or_reads_the_same(tmp_path):
    path = tmp_path / "a.npz"
    model = tiny_model()
    save(path, model)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    caught = 0
    for position in rng.integers(0, len(whole), 400):
        spoilt = bytearray(whole)
        spoilt[position] ^= 1 << rng.integers(8)
        path.write_bytes(bytes(spoilt))
        try:
            back = load_model(path, LANGUAGE_MODEL)
        except InputError as error:
            assert str(path) in str(error)
            caught += 1
        else:  # a byte that says nothing, such as a date
            assert back.params.flat.tobytes() == model.params.flat.tobytes()
    assert caught > 200


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04", b"\x93NUMPY\x01\0", b"\0" * 99])
def test_a_foreign_file(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    refused(tmp_path / "a.npz", "not a minirlhf checkpoint")


def test_foreign_arrays(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=np.zeros(3))
    refused(path, "not a minirlhf checkpoint")
    np.savez(path, meta=np.frombuffer(b'["a list"]', np.uint8))
    refused(path, "not a minirlhf checkpoint")
    np.savez(path, meta=np.frombuffer(b'{"format": "minirlhf checkpoint 99"}', np.uint8))
    refused(path, "minirlhf checkpoint 99")
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))  # one array, no archive
    refused(path, "not a minirlhf checkpoint")


class Trap:
    """Unpickling it would make a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_pickle_is_refused_and_not_run(tmp_path):
    path, sprung = tmp_path / "a.npz", tmp_path / "sprung"
    path.write_bytes(pickle.dumps(Trap(sprung)))
    refused(path, "not a minirlhf checkpoint")
    np.savez(path, meta=np.array([Trap(sprung)], dtype=object))
    refused(path, "not a minirlhf checkpoint")
    save(path, tiny_model())
    with np.load(path) as file:
        arrays = dict(file)
    arrays["wte"] = np.array([Trap(sprung)], dtype=object)
    np.savez(path, **arrays)
    refused(path, "not a minirlhf checkpoint")
    assert not sprung.exists()


def test_the_wrong_kind(tmp_path):
    path = tmp_path / "a.npz"
    save(path, tiny_model(REWARD_MODEL))
    refused(path, "holds a reward model, expected a language model")
    save(path, tiny_model())
    refused(path, "holds a language model, expected a reward model", kind=REWARD_MODEL)


def test_a_resume_file_is_not_a_model_and_a_model_is_not_a_resume_file(tmp_path):
    path, settings = tmp_path / "a.npz", LanguageModelSettings()
    model = tiny_model()
    run = resumable(path, LANGUAGE_MODEL, settings, 0, {"model": model.params}, {})
    save_run(run)
    refused(path, "holds a resume file of a language model, expected")
    save(path, model)
    with pytest.raises(InputError, match="a.npz: holds a language model, expected a resume file"):
        load_run(run)


SPOILT = {
    "a missing tensor": (lambda a, m: a.pop("wte"), "'wte' is missing"),
    "an unknown tensor": (lambda a, m: a.update(lm_w=a["wte"]), "'lm_w' is unknown"),
    "a wrong shape": (lambda a, m: a.update(wpe=a["wpe"].T.copy()), "'wpe' is (8, 12) float32"),
    "a wrong type": (lambda a, m: a.update(wpe=a["wpe"].astype(float)), "'wpe' is (12, 8) float64"),
    "NaN": (lambda a, m: a["qkv_w"].fill(np.nan), "'qkv_w' holds NaN"),
    "infinity": (lambda a, m: a["lnf_b"].fill(np.inf), "'lnf_b' holds NaN or infinity"),
    "an unknown config field": (lambda a, m: m["config"].update(dropout=0.1), "dropout"),
    "a missing config field": (lambda a, m: m["config"].pop("vocab_size"), "vocab_size"),
    "no config": (lambda a, m: m.pop("config"), "config"),
    "a config that cannot be": (lambda a, m: m["config"].update(n_head=3), "multiple of n_head 3"),
    "a size that is a text": (lambda a, m: m["config"].update(n_layer="1"), "config"),
    "a size that is no whole number": (lambda a, m: m["config"].update(n_head=2.0), "n_head 2.0"),
    "a huge size": (lambda a, m: m["config"].update(block_size=10**12), "'wpe' is (12, 8)"),
    "a shorter vocabulary": (lambda a, m: m.update(vocab="ab"), "the vocabulary has 5 ids"),
    "a letter twice": (lambda a, m: m.update(vocab="aabbcc"), "twice"),
    "no vocabulary": (lambda a, m: m.pop("vocab"), "vocab"),
    "a vocabulary of numbers": (lambda a, m: m.update(vocab=[1, 2, 3, 4, 5, 6]), "vocabulary"),
    "no kind": (lambda a, m: m.pop("kind"), "expected a language model"),
    "extra that is no dict": (lambda a, m: m.update(extra=[1]), "extra"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_model_is_refused(tmp_path, name):
    change, words = SPOILT[name]
    forge(tmp_path / "a.npz", change)
    refused(tmp_path / "a.npz", words)


def test_a_reward_model_without_its_head_is_refused(tmp_path):
    forge(tmp_path / "a.npz", lambda arrays, meta: meta.update(kind=REWARD_MODEL))
    refused(tmp_path / "a.npz", "'head_b' is missing", kind=REWARD_MODEL)


# ---- training runs --------------------------------------------------------------------------

EXAMPLES = [Example([BOS, 3 + i % 6, 3 + i % 5, 4, EOS][: 3 + i % 3] + [EOS], 2) for i in range(11)]
RANKINGS = [
    EncodedRanking(
        rows=[[BOS, 3 + i, EOS], [BOS, 4, 3 + i, EOS]], ranks=[1 + i % 2, 2 - i % 2]
    )
    for i in range(6)
]
PROMPTS = [[BOS, 4, 3], [BOS, 5, 6, 3], [BOS, 7, 3]]


class Stopper:
    """A progress wrapper that interrupts before a step, as Ctrl-C on the command line does."""

    def __init__(self, before):
        self.before = before

    def __call__(self, steps):
        for step in steps:
            if step == self.before:
                raise KeyboardInterrupt
            yield step


def language_model_run(path, progress=iter, examples=EXAMPLES, seed=0, **changes):
    settings = LanguageModelSettings(steps=6, batch_size=3, warmup=2, save_every=2, **changes)
    params = tiny_model().params
    rng = np.random.default_rng(seed)
    texts = Texts(training=examples, held_out=EXAMPLES[:2])
    history = train_language_model(params, CONFIG, texts, settings, rng, path, progress)
    return [params], history


def reward_model_run(path, progress=iter, encoded=RANKINGS, seed=0, **changes):
    settings = replace(
        RewardModelSettings(epochs=2, batch_size=2, warmup=2, save_every=2), **changes
    )
    params = tiny_model(REWARD_MODEL).params
    rng = np.random.default_rng(seed)
    history = train_reward_model(params, CONFIG, encoded, settings, rng, path, progress)
    return [params], history


def ppo_run(
    path, progress=iter, prompts=PROMPTS, seed=0, reference=0, judge=0, hooks=PPOHooks(), **changes
):
    settings = PPOSettings(
        iterations=4, rollout_size=6, minibatch_size=4, max_new_tokens=5, save_every=2,
        **({"target_kl": 0.5, "kl_horizon": 20} | changes),
    )
    reward_model = tiny_model(REWARD_MODEL, judge).params
    ref_policy = tiny_model(seed=reference).params
    models = PPOModels(
        policy=ref_policy.copy(), ref_policy=ref_policy, reward_model=reward_model,
        value_model=reward_model.copy(), config=CONFIG, reward_config=CONFIG,
    )
    rng = np.random.default_rng(seed)
    history = train_ppo(models, prompts, settings, rng, hooks, path, progress)
    return [models.policy, models.value_model], history


RUNS = {"language model": language_model_run, "reward model": reward_model_run, "ppo": ppo_run}


def without_seconds(history):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


def stop(run, path, step, **others):
    with pytest.raises(KeyboardInterrupt):
        run(path, Stopper(step), **others)
    assert path.exists()


@pytest.mark.parametrize("name", RUNS)
def test_stopped_at_any_step_and_resumed_it_ends_the_same(tmp_path, name):
    run = RUNS[name]
    whole, history = run(None)
    for step in range(len(history)):
        path = tmp_path / f"{step}.npz"
        stop(run, path, step)
        resumed, rows = run(path)
        assert without_seconds(rows) == without_seconds(history), f"stopped before step {step}"
        for a, b in zip(whole, resumed):
            assert a.flat.tobytes() == b.flat.tobytes(), f"stopped before step {step}"


@pytest.mark.parametrize("name", RUNS)
def test_stopped_at_every_step_in_turn(tmp_path, name):
    run, path = RUNS[name], tmp_path / "a.npz"
    whole, history = run(None)
    for step in range(len(history)):
        stop(run, path, step)
    resumed, rows = run(path)
    assert without_seconds(rows) == without_seconds(history)
    assert [p.flat.tobytes() for p in resumed] == [p.flat.tobytes() for p in whole]


@pytest.mark.parametrize("name", RUNS)
def test_killed_without_warning_it_goes_on_from_the_last_resume_file(tmp_path, name, monkeypatch):
    """No handler runs: the file of the last multiple of save_every is all that is left."""
    run, path = RUNS[name], tmp_path / "a.npz"
    whole, history = run(None)
    kept = []

    def keep(run_to_be_saved):
        save_run(run_to_be_saved)
        kept.append(path.read_bytes())

    monkeypatch.setattr(checkpoint, "save_run", keep)
    run(path)
    assert len(kept) == len(history) // 2
    monkeypatch.undo()
    for content in kept:
        path.write_bytes(content)
        resumed, rows = run(path)
        assert without_seconds(rows) == without_seconds(history)
        assert [p.flat.tobytes() for p in resumed] == [p.flat.tobytes() for p in whole]


def train_module(name):
    return {
        "language model": "step1_language_model",
        "reward model": "step2_reward_model",
        "ppo": "step3_ppo",
    }[name]


@pytest.mark.parametrize("name", RUNS)
def test_stopped_in_the_middle_of_a_step_the_last_whole_step_is_kept(tmp_path, name, monkeypatch):
    """A notebook's stop button, or a second Ctrl-C: between the gradient and the update."""
    run, path = RUNS[name], tmp_path / "a.npz"
    whole, history = run(None)
    calls = []

    def cut(params, grads, adam, *args, **kwargs):
        calls.append(0)
        adam_step(params, grads, adam, *args, **kwargs)
        if len(calls) == cut_at:
            raise KeyboardInterrupt

    steps_of_a_row = 1 if name != "ppo" else 8  # 2 epochs, 2 minibatches, 2 networks
    cut_at = 2 * steps_of_a_row + 1  # in the third row, the first of two being kept
    monkeypatch.setattr(f"minirlhf.{train_module(name)}.adam_step", cut)
    with pytest.raises(KeyboardInterrupt):
        run(path)
    monkeypatch.undo()
    assert len(read_arrays(path)[1]["history"]) == 2
    resumed, rows = run(path)
    assert without_seconds(rows) == without_seconds(history)
    assert [p.flat.tobytes() for p in resumed] == [p.flat.tobytes() for p in whole]


OTHER = {
    "language model": [
        ({"learning_rate": 0.5}, "learning_rate 0.003, not 0.5"),
        ({"response_only": True}, "response_only False, not True"),
        ({"examples": EXAMPLES[:-1]}, "other data"),
        ({"seed": 1}, "seed|data"),
    ],
    "reward model": [
        ({"loss": "plackett-luce"}, "loss k-wise, not plackett-luce"),
        ({"epochs": 3}, "epochs 2, not 3"),
        ({"encoded": RANKINGS[::-1]}, "other data"),
        ({"seed": 1}, "seed|data"),
    ],
    "ppo": [
        ({"kl_coef": 0.2}, "kl_coef 0.1, not 0.2"),
        ({"target_kl": None}, "target_kl 0.5, not None"),
        ({"prompts": PROMPTS[:2]}, "other data"),
        ({"reference": 1}, "data|model"),
        ({"judge": 1}, "data|model"),
    ],
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_does_not_go_on_with_other_settings_data_seed_or_models(tmp_path, name):
    run, path = RUNS[name], tmp_path / "a.npz"
    stop(run, path, 2)
    kept = path.read_bytes()
    mixed = []
    for change, words in OTHER[name]:
        try:
            run(path, **change)
            mixed.append(change)
        except InputError as error:
            pytest.raises(InputError, run, path, **change).match(words)
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
        path.write_bytes(kept)
    assert not mixed, f"goes on without a word, and ends as neither run: {mixed}"


def test_a_run_of_another_kind_or_size(tmp_path):
    path = tmp_path / "a.npz"
    stop(language_model_run, path, 2)
    with pytest.raises(InputError, match="holds a resume file of a language model, exp"):
        reward_model_run(path)
    params = init_params(replace(CONFIG, n_layer=2), np.random.default_rng(0))
    arguments = (path, LANGUAGE_MODEL, LanguageModelSettings(), 0)
    save_run(resumable(*arguments, {"model": params}, {"model": init_adam(params)}))
    other = tiny_model().params
    before = other.flat.tobytes()
    with pytest.raises(InputError, match=f"{path}: array 'model.flat'"):
        load_run(resumable(*arguments, {"model": other}, {"model": init_adam(other)}))
    assert other.flat.tobytes() == before


@pytest.mark.parametrize("missing", ["settings", "data", "adam_steps", "history", "rng"])
def test_a_spoilt_resume_file(tmp_path, missing):
    path = tmp_path / "a.npz"
    stop(ppo_run, path, 2)
    arrays, meta = read_arrays(path)
    del meta[missing]
    write_arrays(path, arrays, meta)
    with pytest.raises(InputError, match="a.npz: "):
        ppo_run(path)


def test_fingerprint_tells_data_apart():
    prints = {fingerprint(EXAMPLES), fingerprint(EXAMPLES[::-1]), fingerprint(RANKINGS)}
    prints |= {fingerprint([Example([BOS, 4, EOS], 1)]), fingerprint([Example([BOS, 4, EOS], 2)])}
    assert len(prints) == 5
    assert fingerprint(EXAMPLES) == fingerprint([Example(list(e.ids), 2) for e in EXAMPLES])
    a, b = tiny_model().params, tiny_model(seed=1).params
    prints = {fingerprint(PROMPTS, *models) for models in ((), (a,), (b,), (a, b), (b, a))}
    assert len(prints) == 5 and fingerprint(PROMPTS, a) == fingerprint(PROMPTS, a.copy())


def test_the_resume_file_is_plain_data(tmp_path):
    path = tmp_path / "a.npz"
    stop(ppo_run, path, 2)
    arrays, meta = read_arrays(path)
    assert set(arrays) == {
        f"{model}.{part}" for model in ("policy", "value_model") for part in ("flat", "m", "v")
    }
    assert meta["settings"]["target_kl"] == 0.5 and len(meta["history"]) == 2
    assert meta["rng"]["bit_generator"] == "PCG64"
    assert checkpoint.FORMAT == meta["format"]


# ---- resumable, by itself -------------------------------------------------------------------


def counting_run(path, n, fault=None, record=True):
    """A loop that adds 1 to every weight in each of n steps; fault(step) is called in the middle.

    -> params, the steps that it did.
    """
    params, done = tiny_model().params, []
    settings = LanguageModelSettings(save_every=3)
    adam = init_adam(params)
    with resumable(path, LANGUAGE_MODEL, settings, 7, {"model": params}, {"model": adam}) as run:
        for step in run.steps(n):
            if fault is not None:
                fault(step)
            params.flat += 1
            adam.step += 1
            run.record({"step": step})
            done.append(step)
    return params, done, run.history


def test_the_steps_of_a_run_are_those_that_are_not_done(tmp_path):
    path = tmp_path / "a.npz"
    params, done, history = counting_run(path, 4)
    assert done == [0, 1, 2, 3] and history == [{"step": step} for step in range(4)]
    assert [row["step"] for row in read_arrays(path)[1]["history"]] == [0, 1, 2]  # save_every 3
    again, done, history = counting_run(path, 5)
    assert done == [3, 4] and history == [{"step": step} for step in range(5)]
    np.testing.assert_array_equal(again.flat, params.flat + 1)


def test_without_a_path_nothing_is_kept_and_nothing_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    counting_run(None, 7)
    with pytest.raises(KeyboardInterrupt):
        counting_run(None, 7, ctrl_c_at_2)
    assert counting_run(None, 3)[1] == [0, 1, 2]
    assert not list(tmp_path.iterdir())


def ctrl_c_at_2(step):
    if step == 2:
        raise KeyboardInterrupt


def out_of_memory_at_2(step):
    if step == 2:
        raise MemoryError


def not_finite_at_2(step):
    if step == 2:
        with at("policy"):
            raise NotFiniteError("the gradient of fc_b is not finite")


def wrong_input_at_2(step):
    if step == 2:
        raise InputError("file.txt: no such file")


def test_ctrl_c_keeps_the_run_between_two_steps(tmp_path):
    path = tmp_path / "a.npz"
    with pytest.raises(KeyboardInterrupt):
        counting_run(path, 4, ctrl_c_at_2)
    assert [row["step"] for row in read_arrays(path)[1]["history"]] == [0, 1]
    params, done, _ = counting_run(path, 4)
    assert done == [2, 3]
    np.testing.assert_array_equal(params.flat, counting_run(None, 4)[0].flat)


@pytest.mark.parametrize("fault", [out_of_memory_at_2, not_finite_at_2, wrong_input_at_2])
def test_another_error_keeps_nothing_new(tmp_path, fault):
    path = tmp_path / "a.npz"
    with pytest.raises((MemoryError, NotFiniteError, InputError)):
        counting_run(path, 4, fault)
    assert not path.exists()


def test_the_run_puts_kind_and_step_before_a_number_that_is_not_finite(tmp_path):
    with pytest.raises(NotFiniteError) as caught:
        counting_run(None, 4, not_finite_at_2)
    assert str(caught.value) == (
        "language model, step 2, policy: the gradient of fc_b is not finite"
    )
    with pytest.raises(InputError) as caught:  # a file has no step
        counting_run(None, 4, wrong_input_at_2)
    assert str(caught.value) == "file.txt: no such file"


def test_the_step_is_counted_from_the_start_of_the_whole_run(tmp_path):
    path = tmp_path / "a.npz"
    counting_run(path, 3)
    with pytest.raises(NotFiniteError, match="^language model, step 5: too large$"):
        counting_run(path, 9, too_large_at_5)


def too_large_at_5(step):
    if step == 5:
        raise NotFiniteError("too large")


class StopWhileScoring:
    """A hook of PPO that interrupts while the answers of one iteration are scored."""

    def __init__(self, iteration):
        self.left = iteration

    def __call__(self, models, samples, settings):
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return score_samples(models, samples, settings)


@pytest.mark.parametrize("iteration", [0, 1, 3])
def test_ctrl_c_in_a_rollout_of_ppo_keeps_the_last_whole_step(tmp_path, iteration):
    """The generator has moved on by then: prompts and answers were drawn.  It goes back."""
    path = tmp_path / "a.npz"
    whole, history = ppo_run(None)
    with pytest.raises(KeyboardInterrupt):
        ppo_run(path, hooks=PPOHooks(score=StopWhileScoring(iteration)))
    assert len(read_arrays(path)[1]["history"]) == iteration
    resumed, rows = ppo_run(path)
    assert without_seconds(rows) == without_seconds(history)
    assert [p.flat.tobytes() for p in resumed] == [p.flat.tobytes() for p in whole]


class SpoiledChange:
    """A hook of PPO that spoils what the policy or the value model learns from, once."""

    def __init__(self, field):
        self.field = field

    def __call__(self, rollout, settings):
        getattr(rollout, self.field)[0] = np.inf
        return rollout


@pytest.mark.parametrize("field, who", [("advantages", "policy"), ("returns", "value model")])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("threads", [1, 2])
def test_ppo_says_whose_gradient_is_not_finite(field, who, threads):
    hooks = PPOHooks(change=SpoiledChange(field))
    with pytest.raises(NotFiniteError) as caught:
        ppo_run(None, hooks=hooks, threads=threads)
    assert str(caught.value) == f"ppo, step 0, {who}: the gradient of wte is not finite"


# ---- the place of an error ------------------------------------------------------------------


def raise_at(places, error):
    """Raise the error inside nested `with at(place)`, the first place outermost."""
    if not places:
        raise error
    with at(places[0]):
        raise_at(places[1:], error)


@pytest.mark.parametrize("kind", [InputError, NotFiniteError])
@pytest.mark.parametrize("places, message", [
    ([], "wrong"),
    (["a.txt"], "a.txt: wrong"),
    (["a.txt", "line 3"], "a.txt, line 3: wrong"),
    (["a.txt", "line 3", "ranking 2"], "a.txt, line 3, ranking 2: wrong"),
])
def test_places_add_up(kind, places, message):
    with pytest.raises(kind) as caught:
        raise_at(places, kind("wrong"))
    assert type(caught.value) is kind and str(caught.value) == message
    # one line, and no second traceback above it
    assert caught.value.__suppress_context__ or not places


@pytest.mark.parametrize("kind", [ValueError, KeyError, KeyboardInterrupt, OSError])
def test_other_errors_pass_unchanged(kind):
    error = kind("wrong")
    with pytest.raises(kind) as caught:
        raise_at(["a.txt"], error)
    assert caught.value is error
    with at("a.txt"):
        pass  # and nothing happens where nothing is wrong


class Interrupting:
    """A Generator during whose next look, once armed, Ctrl-C is pressed."""

    def __init__(self):
        self.kept, self.armed = np.random.default_rng(0), False

    @property
    def bit_generator(self):
        if self.armed:
            self.armed = False
            raise KeyboardInterrupt
        return self.kept.bit_generator


def test_ctrl_c_inside_the_remembering_keeps_no_mixed_state(tmp_path):
    """The optimiser of this step beside the generator of the one before would resume wrongly."""
    params, path, rng = tiny_model().params, tmp_path / "a.npz", Interrupting()
    adam, settings = init_adam(params), PPOSettings(save_every=100)
    with pytest.raises(KeyboardInterrupt):
        with resumable(path, "ppo", settings, 7, {"model": params}, {"model": adam}, rng) as run:
            adam_step(params, params.copy(), adam, 1e-3)
            rng.armed = True
            run.record({})
    assert not path.exists()
