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
    save_model,
    save_run,
    write_arrays,
)
from minirlhf.data import Example
from minirlhf.errors import InputError, NotFiniteError
from minirlhf.gpt import GPTConfig, init_params, with_scalar_head
from minirlhf.step1_language_model import LanguageModelSettings, train_language_model
from minirlhf.step2_reward_model import EncodedRanking, RewardModelSettings, train_reward_model
from minirlhf.step3_ppo import PPOModels, PPOSettings, train_ppo
from minirlhf.tokenizer import BOS, EOS, Tokenizer

VOCAB = "\n 我abé"
CONFIG = GPTConfig(vocab_size=9, block_size=12, n_layer=1, n_head=2, n_embd=8)
LANGUAGE_MODEL, REWARD_MODEL = "language model", "reward model"


def tiny_model(kind=LANGUAGE_MODEL, seed=0):
    rng = np.random.default_rng(seed)
    params = init_params(CONFIG, rng)
    if kind != LANGUAGE_MODEL:
        params = with_scalar_head(params, CONFIG, rng)
    return Model(kind, params, CONFIG, Tokenizer(VOCAB), {"max_new_tokens": 5, "gain": 0.1 + 0.2})


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
    progress = {"history": [{}, {}, {}]}
    with pytest.raises(NotFiniteError, match="'wpe' of the value model after step 3"):
        save_run(tmp_path / "a.npz", "ppo", PPOSettings(), 0, {"value_model": params}, {}, progress)
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
    models = {"model": model.params}
    save_run(path, LANGUAGE_MODEL, settings, 0, models, {}, {"history": []})
    refused(path, "holds a resume file of a language model, expected")
    save(path, model)
    with pytest.raises(InputError, match="a.npz: holds a language model, expected a resume file"):
        load_run(path, LANGUAGE_MODEL, settings, 0, models, {})


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
    EncodedRanking([[BOS, 3 + i, EOS], [BOS, 4, 3 + i, EOS]], [1 + i % 2, 2 - i % 2])
    for i in range(6)
]
PROMPTS = [[BOS, 4, 3], [BOS, 5, 6, 3], [BOS, 7, 3]]


class Stopper:
    """A progress wrapper that interrupts before step `at`, as Ctrl-C on the command line does."""

    def __init__(self, at):
        self.at = at

    def __call__(self, steps):
        for step in steps:
            if step == self.at:
                raise KeyboardInterrupt
            yield step


def language_model_run(path, progress=iter, examples=EXAMPLES, seed=0, **changes):
    settings = LanguageModelSettings(steps=6, batch_size=3, warmup=2, save_every=2, **changes)
    params = tiny_model().params
    rng = np.random.default_rng(seed)
    history = train_language_model(
        params, CONFIG, examples, settings, rng, EXAMPLES[:2], path, progress
    )
    return [params], history


def reward_model_run(path, progress=iter, encoded=RANKINGS, seed=0, **changes):
    settings = replace(
        RewardModelSettings(epochs=2, batch_size=2, warmup=2, save_every=2), **changes
    )
    params = tiny_model(REWARD_MODEL).params
    rng = np.random.default_rng(seed)
    history = train_reward_model(params, CONFIG, encoded, settings, rng, path, progress)
    return [params], history


def ppo_run(path, progress=iter, prompts=PROMPTS, seed=0, reference=0, judge=0, **changes):
    settings = PPOSettings(
        iterations=4, rollout_size=6, minibatch_size=4, max_new_tokens=5, save_every=2,
        **({"target_kl": 0.5, "kl_horizon": 20} | changes),
    )
    reward_model = tiny_model(REWARD_MODEL, judge).params
    ref_policy = tiny_model(seed=reference).params
    models = PPOModels(
        ref_policy.copy(), ref_policy, reward_model, reward_model.copy(), CONFIG, CONFIG
    )
    rng = np.random.default_rng(seed)
    history = train_ppo(models, prompts, settings, rng, None, path, progress)
    return [models.policy, models.value_model], history


RUNS = {"language model": language_model_run, "reward model": reward_model_run, "ppo": ppo_run}


def without_seconds(history):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


def stop(run, path, at, **others):
    with pytest.raises(KeyboardInterrupt):
        run(path, Stopper(at), **others)
    assert path.exists()


@pytest.mark.parametrize("name", RUNS)
def test_stopped_at_any_step_and_resumed_it_ends_the_same(tmp_path, name):
    run = RUNS[name]
    whole, history = run(None)
    for at in range(len(history)):
        path = tmp_path / f"{at}.npz"
        stop(run, path, at)
        resumed, rows = run(path)
        assert without_seconds(rows) == without_seconds(history), f"stopped before step {at}"
        for a, b in zip(whole, resumed):
            assert a.flat.tobytes() == b.flat.tobytes(), f"stopped before step {at}"


@pytest.mark.parametrize("name", RUNS)
def test_stopped_at_every_step_in_turn(tmp_path, name):
    run, path = RUNS[name], tmp_path / "a.npz"
    whole, history = run(None)
    for at in range(len(history)):
        stop(run, path, at)
    resumed, rows = run(path)
    assert without_seconds(rows) == without_seconds(history)
    assert [p.flat.tobytes() for p in resumed] == [p.flat.tobytes() for p in whole]


@pytest.mark.parametrize("name", RUNS)
def test_killed_without_warning_it_goes_on_from_the_last_resume_file(tmp_path, name, monkeypatch):
    """No handler runs: the file of the last multiple of save_every is all that is left."""
    run, path = RUNS[name], tmp_path / "a.npz"
    whole, history = run(None)
    kept = []

    def keep(*args, **kwargs):
        save_run(*args, **kwargs)
        kept.append(path.read_bytes())

    monkeypatch.setattr(f"minirlhf.{train_module(name)}.save_run", keep)
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
    assert len(read_arrays(path)[1]["progress"]["history"]) == 2
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
    arguments = (LANGUAGE_MODEL, LanguageModelSettings(), 0)
    save_run(path, *arguments, {"model": params}, {"model": init_adam(params)}, {"history": []})
    other = tiny_model().params
    before = other.flat.tobytes()
    with pytest.raises(InputError, match=f"{path}: array 'model.flat'"):
        load_run(path, *arguments, {"model": other}, {"model": init_adam(other)})
    assert other.flat.tobytes() == before


@pytest.mark.parametrize("missing", ["settings", "data", "adam_steps", "progress", "rng"])
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
    assert meta["settings"]["target_kl"] == 0.5 and len(meta["progress"]["history"]) == 2
    assert meta["rng"]["bit_generator"] == "PCG64"
    assert checkpoint.FORMAT == meta["format"]
