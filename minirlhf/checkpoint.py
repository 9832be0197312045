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

from minirlhf.adam import first_not_finite
from minirlhf.errors import InputError, NotFiniteError
from minirlhf.gpt import GPTConfig, Params, param_shapes
from minirlhf.tokenizer import Tokenizer

FORMAT = "minirlhf checkpoint 1"
RUN = "resume file of a "  # what a resume file holds; a model file holds the kind alone


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
    try:
        with open(temporary, "wb") as file:
            np.savez(file, meta=np.frombuffer(text.encode("utf-8"), np.uint8), **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)  # it is still there only if something went wrong


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
            RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"{path}: not a minirlhf checkpoint, or cut short ({type(error).__name__})"
        ) from None
    if not known:
        raise InputError(f"{path}: format {meta['format']!r}, this version reads {FORMAT!r}")
    return arrays, meta


# ---- models ---------------------------------------------------------------------------------


def save_model(path, kind, params, config, tokenizer, extra=None):
    """One model with all that is needed to use it, in float32 whatever it was trained in.

    Raises NotFiniteError rather than save NaN.
    """
    refuse_not_finite(params, path, "of the trained model")
    arrays = {name: vars(params)[name].astype(np.float32) for name in params.shapes}
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
        for name in ("vocab_size", "block_size", "n_layer", "n_head", "n_embd"):
            if type(getattr(config, name)) is not int:
                raise TypeError(f"{name} {getattr(config, name)} is not a whole number")
        tokenizer = Tokenizer("".join(meta["vocab"]))
        extra = dict(meta.get("extra", {}))
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(f"{path}: bad config, vocabulary or extra: {error}") from None
    if config.vocab_size != len(tokenizer):
        raise InputError(
            f"{path}: vocab_size {config.vocab_size}, but the vocabulary has {len(tokenizer)} ids"
        )
    shapes = param_shapes(config, scalar_head=kind != "language model")
    check_tensors(arrays, shapes, path)
    params = Params({name: arrays[name].shape for name in shapes})
    for name in shapes:
        vars(params)[name][...] = arrays[name]
    return Model(kind, params, config, tokenizer, extra)


def check_tensors(arrays, shapes, path):
    """{name: array} and {name: shape} -> InputError unless names, shapes and values fit."""
    for name in sorted(shapes.keys() ^ arrays.keys()):
        raise InputError(f"{path}: tensor {name!r} is {'missing' if name in shapes else 'unknown'}")
    for name, shape in shapes.items():
        array = arrays[name]
        if array.shape != shape or array.dtype != np.float32:
            raise InputError(
                f"{path}: tensor {name!r} is {array.shape} {array.dtype}, "
                f"expected {shape} float32"
            )
        if not np.isfinite(array).all():
            raise InputError(f"{path}: tensor {name!r} holds NaN or infinity")


def refuse_not_finite(params, path, when):
    """Nothing that holds NaN or infinity is ever saved."""
    if not np.isfinite(params.flat).all():
        name = first_not_finite(params)
        raise NotFiniteError(f"{path}: not written, tensor {name!r} {when} is not finite")


# ---- training runs --------------------------------------------------------------------------


def fingerprint(examples, *frozen):
    """Data that JSON can hold, Params of the models as the run finds them -> a number that
    changes when any of them changes."""
    number = zlib.crc32(json.dumps(examples).encode("utf-8"))
    for params in frozen:
        number = zlib.crc32(params.flat, number)
    return number


def save_run(path, kind, settings, data, models, adams, progress, rng=None):
    """A training run between two steps.

    settings: the step's frozen dataclass; data: fingerprint of what it learns from;
    models: {name: Params}; adams: {name: Adam}; progress: dict that JSON can hold (history, ...);
    rng: the Generator, if the loop draws from it.
    """
    arrays, steps = {}, {}
    for name, params in models.items():
        done = len(progress.get("history", ()))
        refuse_not_finite(params, path, f"of the {name.replace('_', ' ')} after step {done}")
        arrays[f"{name}.flat"] = params.flat
    for name, adam in adams.items():
        arrays[f"{name}.m"], arrays[f"{name}.v"] = adam.m, adam.v
        steps[name] = adam.step
    meta = {"kind": RUN + kind, "settings": asdict(settings), "data": data}
    meta |= {"adam_steps": steps, "progress": progress}
    if rng is not None:
        meta["rng"] = rng.bit_generator.state
    write_arrays(path, arrays, meta)


def load_run(path, kind, settings, data, models, adams, rng=None):
    """Put a saved run back into models, adams and rng, in place -> progress dict.

    Raises InputError if the file belongs to another kind of run, to other settings or other data.
    """
    arrays, meta = read_arrays(path)
    if meta.get("kind") != RUN + kind:
        raise InputError(f"{path}: holds a {meta.get('kind')}, expected a {RUN + kind}")
    for name in ("settings", "data", "adam_steps", "progress") + (("rng",) if rng else ()):
        if name not in meta:
            raise InputError(f"{path}: {name!r} is missing")
    for name, value in json.loads(json.dumps(asdict(settings))).items():
        kept = meta["settings"].get(name)
        if kept != value:
            raise InputError(
                f"{path}: the run was started with {name} {kept}, not {value}; "
                "use the same settings, or start afresh in another folder"
            )
    if meta["data"] != data:
        raise InputError(f"{path}: the run was started with other data, seed or models than these")
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
