"""What all experiments share: the models they start from, the rows they keep, means over trials.

An experiment is a folder beside this file.  Of experiments/ it imports this file and its own folder
and no other, so each can be read alone.  Annotators are simulated everywhere.
"""

import json
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from minirlhf.checkpoint import Model, load_model
from minirlhf.data import (
    read_demonstrations,
    read_jsonl,
    read_prompts,
    read_rankings,
    write_jsonl,
    write_text,
)
from minirlhf.errors import InputError
from minirlhf.gpt import with_scalar_head
from minirlhf.rufus.answers import encode_prompts, reference_rows
from minirlhf.rufus.pipeline import (
    DEMONSTRATIONS,
    LANGUAGE_MODEL,
    PPO,
    REWARD,
    Run,
    run_reward,
    run_sft,
)
from minirlhf.rufus.world import data_folder
from minirlhf.step2_reward_model import (
    encode_rankings,
    normalise_scores,
    score_rows,
    train_reward_model,
)
from minirlhf.step3_ppo import PPOModels

QUESTIONS = 6  # where exact figures are wanted: so few that all answers to them can be enumerated
MISSING_EOS_SCORE = -1.0  # the default of every method's settings
# Hard on purpose: twice the demo's learning rate, never lowered, so that a policy goes too far.
HARD = replace(PPO, iterations=50, learning_rate=1e-3, schedule="constant")
KEPT = "points.resume.jsonl"  # in the run's folder


# ---- models ---------------------------------------------------------------------------------


class Task(NamedTuple):
    """One reference, one reward model, the first questions."""

    models: PPOModels  # the policy is still the reference
    prompts: list  # ids of QUESTIONS training questions
    questions: list  # the same as text
    limit: int  # most tokens of an answer
    sft: Model  # the reference


def train_reference(lang, seed, out, pretrained=None):
    """Step 1 on the bundled data -> pretrained, SFT model (Models).  Writes out/sft.npz.

    pretrained: a Model that takes the place of the bundled one.
    """
    folder = data_folder(lang)
    if pretrained is None:
        pretrained = load_model(folder / "pretrained.npz", LANGUAGE_MODEL)
    demonstrations = read_demonstrations(folder / "sft.jsonl")[:DEMONSTRATIONS]
    sft, _ = run_sft(pretrained, demonstrations, Run(out=out, seed=seed))
    return pretrained, sft


def make_task(lang, seed, out, pretrained=None):
    """Steps 1 and 2 on the bundled data -> Task.  Writes out/sft.npz and out/reward_model.npz."""
    folder = data_folder(lang)
    _, sft = train_reference(lang, seed, out, pretrained)
    rankings = read_rankings(folder / "rankings.jsonl")
    reward_model, _ = run_reward(sft, rankings, Run(out=out, seed=seed))
    questions = read_prompts(folder / "prompts.jsonl", "train")[:QUESTIONS]
    models = PPOModels(
        policy=sft.params, ref_policy=sft.params, reward_model=reward_model.params,
        value_model=reward_model.params, config=sft.config, reward_config=sft.config,
    )
    return Task(
        models=models, prompts=encode_prompts(sft, questions), questions=questions,
        limit=sft.extra["max_new_tokens"], sft=sft,
    )


def train_judge(sft, rankings, rng, settings=REWARD):
    """A reward model on rankings, started from sft (Model) -> Params, normalised as in step 2."""
    params = with_scalar_head(sft.params, sft.config, rng)
    encoded = encode_rankings(sft.tokenizer, rankings, sft.config.block_size)
    train_reward_model(params, sft.config, encoded, settings, rng)
    prompts = sorted({ranking.prompt for ranking in rankings})
    normalise_scores(params, score_rows(params, sft.config, reference_rows(sft, prompts, rng)))
    return params


def models_of(sft, judge):
    """A reference (Model) and a reward model (Params) -> PPOModels, ready to be trained."""
    return PPOModels(
        policy=sft.params.copy(), ref_policy=sft.params, reward_model=judge,
        value_model=judge.copy(), config=sft.config, reward_config=sft.config,
    )


def fresh(models):
    """PPOModels -> the same with a policy and a value model of their own, ready to be trained."""
    return models._replace(policy=models.ref_policy.copy(), value_model=models.reward_model.copy())


class Between:
    """Looks at a policy before PPO's first iteration, between iterations and after the last.

    Its `steps` is given to train_ppo as progress: what is done between two steps of the loop sees
    the policy between two iterations.
    """

    def __init__(self, look, iterations):
        """look(done) is called with the number of iterations done; if it is true, PPO ends."""
        self.look, self.iterations = look, iterations

    def steps(self, steps):
        """The iterations, until look says that it has seen enough."""
        for step in steps:
            if self.look(step):
                return
            yield step
        self.look(self.iterations)


# ---- rows -----------------------------------------------------------------------------------


class KeptRows:
    """The rows of a run, each in the file as soon as it is there, so that it can be resumed.

    A row is a dict of figures.  A point says which one: a NamedTuple whose fields stand in it.
    """

    def __init__(self, path, about, point):
        """about: {"lang", "seed", ..}, written into every row.  point: the NamedTuple's class.

        Raises InputError if the file holds another run's.
        """
        self.path, self.about, self.point, self.rows = path, about, point, []
        if path.exists():
            self.rows = [row for _, row in read_jsonl(path, {"lang": str, "seed": int})]
        if any({name: row.get(name) for name in about} != about for row in self.rows):
            raise InputError(f"{path}: holds points of another run; --fresh throws them away")

    def __repr__(self):
        return f"KeptRows({self.path}, {len(self.rows)} rows)"

    def point_of(self, row):
        """-> the point that a row is about; a field that the row does not have is None."""
        return self.point(*[row.get(name) for name in self.point._fields])

    def missing(self, wanted):
        """list of points -> those that no row is about yet."""
        known = {self.point_of(row) for row in self.rows}
        return [point for point in wanted if point not in known]

    def keep(self, row):
        """Add a row, and write the file."""
        self.rows.append(self.about | row)
        write_jsonl(self.path, self.rows)

    def about_points(self, wanted):
        """list of points -> their rows, in the order in which they were run."""
        return [row for row in self.rows if self.point_of(row) in wanted]

    def finish(self, path, results, indent=None):
        """Write results (a dict) as JSON; the rows have done their duty."""
        write_text(path, json.dumps(results, ensure_ascii=False, indent=indent) + "\n")
        self.path.unlink(missing_ok=True)


def without(rows, names):
    """list of dicts -> the same without these keys."""
    return [{key: row[key] for key in row if key not in names} for row in rows]


# ---- tables and means ----------------------------------------------------------------------


def mean_and_sd(values):
    """list of numbers -> [mean, standard deviation]; of a single number the deviation is 0."""
    return [float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0]


def short(value, digits=4):
    """A number with so many digits, for the file."""
    return float(f"{value:.{digits}g}")


def rounded(value):
    """A nest of dicts and lists -> the same with floats of four digits."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return short(value) if isinstance(value, float) else value


def markdown(head, rows):
    """list of cells, list of lists of cells -> the lines of a table."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, *rows)]
    return [lines[0], "|" + "---|" * len(head), *lines[1:]]
