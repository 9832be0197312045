"""Save, load, resume.

A checkpoint is an .npz file: the arrays by name, and one JSON text with everything else (kind,
sizes, vocabulary).  It is written beside its target and then renamed, so a crash leaves the old
file or the new one, never half of one.  It is read with allow_pickle=False: a checkpoint is data
and cannot run code.

A model file holds one model.  A resume file holds a training run between two steps: models,
optimisers, the random generator and the history, so that a killed run ends with the same bytes as
one that was never stopped.
"""

import json
import os
import zipfile
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minirlhf.errors import InputError
from minirlhf.gpt import GPTConfig, Params, param_shapes
from minirlhf.tokenizer import Tokenizer

FORMAT = "minirlhf checkpoint 1"


class Model(NamedTuple):
    """What a model file holds."""

    kind: str  # "language model" or "reward model"
    params: Params
    config: GPTConfig
    tokenizer: Tokenizer
    extra: dict  # e.g. the reward model's gain and bias


def write_arrays(path, arrays, meta):
    """{name: array} and a dict that JSON can hold -> file, whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    text = json.dumps({"format": FORMAT, **meta}, ensure_ascii=False, sort_keys=True)
    with open(temporary, "wb") as file:
        np.savez(file, meta=np.frombuffer(text.encode("utf-8"), np.uint8), **arrays)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def read_arrays(path):
    """File -> {name: array}, meta dict.  Raises InputError if it is not a whole checkpoint."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        meta = json.loads(arrays.pop("meta").tobytes().decode("utf-8"))
        known = meta["format"] == FORMAT
    except (ValueError, KeyError, TypeError, EOFError, OSError, AttributeError,
            NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"{path}: not a minirlhf checkpoint, or cut short ({type(error).__name__})"
        ) from None
    if not known:
        raise InputError(f"{path}: format {meta['format']!r}, this version reads {FORMAT!r}")
    return arrays, meta


# ---- models ---------------------------------------------------------------------------------


def save_model(path, kind, params, config, tokenizer, extra=None):
    """One model with all that is needed to use it."""
    arrays = {name: vars(params)[name] for name in params.shapes}
    meta = {"kind": kind, "config": asdict(config), "vocab": tokenizer.vocab, "extra": extra or {}}
    write_arrays(path, arrays, meta)


def load_model(path, kind):
    """File -> Model.  Raises InputError for the wrong kind, shapes that do not fit, NaN."""
    arrays, meta = read_arrays(path)
    found = meta.get("kind")
    if found != kind:
        raise InputError(f"{path}: holds a {found}, expected a {kind}")
    try:
        config = GPTConfig(**meta["config"])
        tokenizer = Tokenizer(meta["vocab"])
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(f"{path}: bad config or vocabulary: {error}") from None
    if config.vocab_size != len(tokenizer):
        raise InputError(
            f"{path}: vocab_size {config.vocab_size}, but the vocabulary has {len(tokenizer)} ids"
        )
    params = Params(param_shapes(config, scalar_head="head_w" in arrays))
    fill(params, arrays, "", path)
    return Model(kind, params, config, tokenizer, meta.get("extra", {}))


def fill(params, arrays, prefix, path):
    """Copy arrays[prefix + name] into every tensor of params; check names, shapes and values."""
    for name, shape in params.shapes.items():
        if prefix + name not in arrays:
            raise InputError(f"{path}: tensor {prefix + name!r} is missing")
        array = arrays[prefix + name]
        if array.shape != shape or array.dtype != np.float32:
            raise InputError(
                f"{path}: tensor {prefix + name!r} is {array.shape} {array.dtype}, "
                f"expected {shape} float32"
            )
        if not np.isfinite(array).all():
            raise InputError(f"{path}: tensor {prefix + name!r} holds NaN or infinity")
        vars(params)[name][...] = array


# ---- training runs --------------------------------------------------------------------------


def fingerprint(examples):
    """list of Example (or of lists) -> a number that changes when the data change."""
    return zlib.crc32(json.dumps(examples).encode("utf-8"))


def save_run(path, kind, settings, data, models, adams, progress, rng=None):
    """A training run between two steps.

    settings: the step's frozen dataclass; data: fingerprint of what it learns from;
    models: {name: Params}; adams: {name: Adam}; progress: dict that JSON can hold (history, ...);
    rng: the Generator, if the loop draws from it.
    """
    arrays, steps = {}, {}
    for name, params in models.items():
        arrays[f"{name}.flat"] = params.flat
    for name, adam in adams.items():
        arrays[f"{name}.m"], arrays[f"{name}.v"] = adam.m, adam.v
        steps[name] = adam.step
    meta = {"kind": kind, "settings": asdict(settings), "data": data}
    meta |= {"adam_steps": steps, "progress": progress}
    if rng is not None:
        meta["rng"] = rng.bit_generator.state
    write_arrays(path, arrays, meta)


def load_run(path, kind, settings, data, models, adams, rng=None):
    """Put a saved run back into models, adams and rng, in place -> progress dict.

    Raises InputError if the file belongs to another kind of run, to other settings or other data.
    """
    arrays, meta = read_arrays(path)
    if meta.get("kind") != kind:
        raise InputError(f"{path}: holds a run of {meta.get('kind')!r}, expected {kind!r}")
    if meta["data"] != data:
        raise InputError(f"{path}: the run was started with other data than these")
    for name, value in json.loads(json.dumps(asdict(settings))).items():
        kept = meta["settings"].get(name)
        if kept != value:
            raise InputError(
                f"{path}: the run was started with {name} {kept}, not {value}; "
                "use the same settings, or start afresh in another folder"
            )
    for name, params in models.items():
        restore(params.flat, arrays, f"{name}.flat", path)
    for name, adam in adams.items():
        restore(adam.m, arrays, f"{name}.m", path)
        restore(adam.v, arrays, f"{name}.v", path)
        adam.step = meta["adam_steps"][name]
    if rng is not None:
        rng.bit_generator.state = meta["rng"]
    return meta["progress"]


def restore(target, arrays, name, path):
    """Copy arrays[name] into target, in place."""
    if name not in arrays or arrays[name].shape != target.shape:
        raise InputError(f"{path}: array {name!r} is missing or does not fit this model")
    target[...] = arrays[name]
