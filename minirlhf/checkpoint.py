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

from minirlhf.adam import Adam, first_not_finite
from minirlhf.errors import InputError, NotFiniteError, placed
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


def write_arrays(path: Path, arrays: dict[str, np.ndarray], meta: dict):
    """{name: array of any shape} and a dict that JSON can hold -> file, whole or not at all."""
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


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict]:
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


def save_model(
    path: Path, kind: str, params: Params, config: GPTConfig, tokenizer: Tokenizer,
    extra: dict | None = None,
):
    """One model with all that is needed to use it, in float32 whatever it was trained in.

    Raises NotFiniteError rather than save NaN.
    """
    refuse_not_finite(params, path, "of the trained model")
    arrays = {name: params[name].astype(np.float32) for name in params.shapes}
    meta = {"kind": kind, "config": asdict(config), "vocab": tokenizer.vocab, "extra": extra or {}}
    write_arrays(path, arrays, meta)


def load_model(path: Path, kind: str) -> Model:
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
        params[name][...] = arrays[name]
    return Model(kind=kind, params=params, config=config, tokenizer=tokenizer, extra=extra)


def check_tensors(arrays: dict[str, np.ndarray], shapes: dict[str, tuple], path: Path):
    """{name: array} and {name: shape} -> InputError unless names, shapes and values fit."""
    for name in sorted(shapes.keys() ^ arrays.keys()):
        raise InputError(f"{path}: tensor {name!r} is {'missing' if name in shapes else 'unknown'}")
    for name, shape in shapes.items():
        array = arrays[name]  # of any shape
        if array.shape != shape or array.dtype != np.float32:
            raise InputError(
                f"{path}: tensor {name!r} is {array.shape} {array.dtype}, "
                f"expected {shape} float32"
            )
        if not np.isfinite(array).all():
            raise InputError(f"{path}: tensor {name!r} holds NaN or infinity")


def refuse_not_finite(params: Params, path: Path, when: str):
    """Nothing that holds NaN or infinity is ever saved."""
    if not np.isfinite(params.flat).all():  # (P,)
        name = first_not_finite(params)
        raise NotFiniteError(f"{path}: not written, tensor {name!r} {when} is not finite")


# ---- training runs --------------------------------------------------------------------------


def fingerprint(examples: list, *frozen: Params) -> int:
    """Data that JSON can hold, Params of the models as the run finds them -> a number that
    changes when any of them changes."""
    number = zlib.crc32(json.dumps(examples).encode("utf-8"))
    for params in frozen:
        number = zlib.crc32(params.flat, number)
    return number


class resumable:
    """A training run that can be stopped at any moment and go on later, with the same bytes.

        with resumable(path, kind, settings, data, models, adams, rng) as run:
            for step in progress(run.steps(settings.steps)):
                ...                                       one step: models and adams change in place
                run.record({"step": step, "loss": loss})
        return run.history

    path: the resume file, or None to keep nothing.  If it is there, the run goes on from it.  It is
    written every settings.save_every steps, and on Ctrl-C.  A step that Ctrl-C has cut in the
    middle is not kept: the optimisers have then moved since the last record.
    settings: the step's frozen dataclass; data: fingerprint of what it learns from; models, adams:
    {name: Params}, {name: Adam}; rng: the Generator, if the loop draws from it.
    An error about numbers that are not finite gets the number of the step before its message.
    """

    def __init__(
        self, path: Path | None, kind: str, settings, data: int, models: dict[str, Params],
        adams: dict[str, Adam], rng: np.random.Generator | None = None,
    ):
        self.path, self.kind, self.settings, self.data = path, kind, settings, data
        self.models, self.adams, self.rng = models, adams, rng
        self.history = []  # of dict, one for each finished step

    def __enter__(self):
        if self.path is not None and self.path.exists():
            self.history = load_run(self)
        self.remember()
        return self

    def steps(self, count: int) -> range:
        """The steps that are still to be done, of `count` in all."""
        return range(len(self.history), count)

    def record(self, row: dict):
        """A step is done: remember its figures, and now and then everything."""
        self.history.append(row)
        self.remember()
        if self.path is not None and len(self.history) % self.settings.save_every == 0:
            save_run(self)

    def remember(self):
        """Where the optimisers and the generator stand between two steps."""
        self.rng_state = None if self.rng is None else self.rng.bit_generator.state
        # last: until they are written, a Ctrl-C finds the step not whole
        self.adam_steps = {name: adam.step for name, adam in self.adams.items()}

    def __exit__(self, kind, error, traceback):
        if kind is NotFiniteError:
            raise placed(f"{self.kind}, step {len(self.history)}", error) from None
        whole = self.adam_steps == {name: adam.step for name, adam in self.adams.items()}
        if kind is KeyboardInterrupt and whole and self.path is not None:
            if self.rng is not None:
                self.rng.bit_generator.state = self.rng_state
            save_run(self)


def save_run(run: resumable):
    """Write run.path: the run between two steps."""
    arrays = {}
    done = len(run.history)
    for name, params in run.models.items():
        refuse_not_finite(params, run.path, f"of the {name.replace('_', ' ')} after step {done}")
        arrays[f"{name}.flat"] = params.flat
    for name, adam in run.adams.items():
        arrays[f"{name}.m"], arrays[f"{name}.v"] = adam.m, adam.v
    meta = {
        "kind": RUN + run.kind, "settings": asdict(run.settings), "data": run.data,
        "adam_steps": {name: adam.step for name, adam in run.adams.items()},
        "history": run.history,
    }
    if run.rng is not None:
        meta["rng"] = run.rng.bit_generator.state
    write_arrays(run.path, arrays, meta)


def load_run(run: resumable) -> list[dict]:
    """Put a saved run back into run.models, run.adams and run.rng, in place -> its history.

    Raises InputError if the file belongs to another kind of run, to other settings or other data.
    """
    path = run.path
    arrays, meta = read_arrays(path)
    if meta.get("kind") != RUN + run.kind:
        raise InputError(f"{path}: holds a {meta.get('kind')}, expected a {RUN + run.kind}")
    for name in ("settings", "data", "adam_steps", "history") + (("rng",) if run.rng else ()):
        if name not in meta:
            raise InputError(f"{path}: {name!r} is missing")
    for name, value in json.loads(json.dumps(asdict(run.settings))).items():
        kept = meta["settings"].get(name)
        if kept != value:
            raise InputError(
                f"{path}: the run was started with {name} {kept}, not {value}; "
                "use the same settings, or start afresh in another folder"
            )
    if meta["data"] != run.data:
        raise InputError(f"{path}: the run was started with other data, seed or models than these")
    for name, params in run.models.items():
        restore(params.flat, arrays, f"{name}.flat", path)
    for name, adam in run.adams.items():
        restore(adam.m, arrays, f"{name}.m", path)
        restore(adam.v, arrays, f"{name}.v", path)
        adam.step = meta["adam_steps"][name]
    if run.rng is not None:
        run.rng.bit_generator.state = meta["rng"]
    return meta["history"]


def restore(target: np.ndarray, arrays: dict[str, np.ndarray], name: str, path: Path):
    """Copy arrays[name] into target, in place."""
    if name not in arrays or arrays[name].shape != target.shape:
        raise InputError(f"{path}: array {name!r} is missing or does not fit this model")
    target[...] = arrays[name]
