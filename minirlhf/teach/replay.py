"""From the records to every version of Rufus, bit for bit; and the file that saves the time.

The models after a learning follow from the records before it.  What an undo takes back counts as
if it had never been said: a learning without any label left falls away, and the models of before
come back.  A checksum of the records that count tells which models belong to them, so a models
file of another day, or of another session, is never mistaken for the right one.
"""

import json
import zlib

import numpy as np

from minirlhf.checkpoint import read_arrays, write_arrays
from minirlhf.errors import InputError
from minirlhf.gpt import Params, param_shapes
from minirlhf.teach.learning import State, first_state, learn, load_setup
from minirlhf.teach.records import LABELS, read_session, without_undone

KEPT = 2  # states in the models file: the last one, and the one that an undo goes back to


def learnings(rows):
    """-> numbers of the `learn` records that count: those with a label since the one before."""
    numbers, news = [], False
    for row in without_undone(rows):
        news = news or row["kind"] in LABELS[:-1]
        if row["kind"] == "learn" and news:
            numbers.append(row["number"])
            news = False
    return numbers


def key_of(rows, numbers):
    """Checksum of everything that the State after the learnings `numbers` follows from."""
    counted = []
    for row in without_undone(rows[: numbers[-1]]):
        if row["kind"] in ("session", "round", *LABELS):
            counted.append({name: value for name, value in row.items() if name != "time"})
    text = json.dumps([counted, numbers, rows[numbers[-1]]["version"]], sort_keys=True)
    return zlib.crc32(text.encode("utf-8"))


def compute_states(setup, rows, known=(), progress=iter, path=None):
    """Rows -> list of State, the pretrained model first, one more for each learning that counts.

    known: States of before, used where their records are the same.  path: the models file, written
    after each learning that had to be computed.
    """
    by_key = {state.key: state for state in known}
    numbers = learnings(rows)
    keys = [key_of(rows, numbers[: i + 1]) for i in range(len(numbers))]
    states = [first_state(setup)]
    start = max([i + 1 for i, key in enumerate(keys) if key in by_key], default=0)
    for key in keys[:start]:  # what came before the last known state may be gone; that is no loss
        if key in by_key:
            states.append(by_key[key])
    for i in range(start, len(numbers)):
        state = learn(setup, states[-1], rows, numbers[i], progress)
        states.append(state._replace(key=keys[i]))
        if path is not None:
            save_states(path, states)
    return states


def replay(path, progress=iter):
    """A session's file -> Setup, list of State: every version computed from the records alone.

    The models file is neither read nor written.
    """
    rows = read_session(path)
    setup = load_setup(rows, path)
    return setup, compute_states(setup, rows, (), progress)


def checksum(params):
    """Params -> a number that changes when any bit of them does."""
    return zlib.crc32(params.flat.tobytes())


# ---- the models file ------------------------------------------------------------------------


def save_states(path, states):
    """The last States -> a file that saves computing them again."""
    arrays, meta = {}, []
    for i, state in enumerate(states[-KEPT:]):
        if state.version == 0:
            continue
        arrays[f"{i}.policy"], arrays[f"{i}.sft"] = state.policy.flat, state.sft.flat
        if state.reward is not None:
            arrays[f"{i}.reward"] = state.reward.flat
        meta.append({"at": i, "version": state.version, "key": state.key, "history": state.history})
    write_arrays(path, arrays, {"kind": "models of a session", "states": meta})


def load_states(path, setup):
    """File -> list of State.  It is a memory only: whatever is wrong with it, it is left unread."""
    states = []
    try:
        arrays, meta = read_arrays(path)
        for row in meta["states"]:
            i = row["at"]
            policy = fill_params(setup, arrays[f"{i}.policy"], False)
            sft = fill_params(setup, arrays[f"{i}.sft"], False)
            reward = None
            if f"{i}.reward" in arrays:
                reward = fill_params(setup, arrays[f"{i}.reward"], True)
            states.append(State(version=row["version"], key=row["key"], policy=policy, sft=sft,
                                reward=reward, history=list(row["history"])))
    except (InputError, KeyError, TypeError, ValueError):
        return []
    return states


def fill_params(setup, flat, scalar_head):
    """A flat vector -> Params.  Raises ValueError if it is not finite or of another size."""
    params = Params(param_shapes(setup.base.config, scalar_head), setup.base.params.flat.dtype)
    if flat.shape != params.flat.shape or flat.dtype != params.flat.dtype:
        raise ValueError(f"{flat.shape} {flat.dtype}")
    if not np.isfinite(flat).all():
        raise ValueError("not finite")
    params.flat[...] = flat
    return params
