"""What Rufus learns from a session: the records in, the models out.

One learning is the three steps in small.  The pretrained model is fine-tuned on all corrections so
far, and stops when it knows them; a new reward model learns from all labels so far; a few
iterations of PPO go on from the last policy.  By default this person is the only teacher.  With
seed labels, the first seed_rankings of data/LANG/rankings.jsonl by simulated annotators, the
person's count `weight` times as much; they speed up the first rounds, and 60 of them alone would
teach most of it (benchmarks/teach_curves.py measures both).

The models follow from the records alone.  Every random number comes from the session's seed and
the number of the `learn` record, so the same file gives the same bits on the same machine.

Where this departs from InstructGPT and from pipeline.py:
1. One person, one question at a time, and learning after each.
2. SFT and reward model start afresh at every learning, SFT from the pretrained model, so that an
   early label weighs no more than a late one and nothing is forgotten bit by bit.  Fine-tuning one
   model round after round lost the words of the questions that were never taught.
3. The reference of the KL term is this SFT model, which itself learns from each correction.
4. The policy sees the corrections too, before PPO: else it would never try what it has not heard.
"""

import json
import zlib
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np

from minirlhf import step2_reward_model as step2
from minirlhf.adam import adam_step, clip_gradient, init_adam
from minirlhf.checkpoint import Model, load_model
from minirlhf.data import make_batch, read_prompts, read_rankings, shuffled_order
from minirlhf.errors import InputError, at
from minirlhf.gpt import Params, with_scalar_head
from minirlhf.rufus.answers import encode_prompts, encode_text, reference_rows
from minirlhf.rufus.pipeline import LANGUAGE_MODEL
from minirlhf.rufus.world import data_folder
from minirlhf.step1_language_model import language_model_loss
from minirlhf.step3_ppo import PPOModels, PPOSettings, train_ppo
from minirlhf.teach import records


@dataclass(frozen=True, kw_only=True)
class TeachSettings:
    """How a session is taught.  Kept in the session's first record."""

    dtype: str = "float32"  # float64 gives the same digits on more machines, at twice the time
    answers: int = 4  # shown in a round
    repeat_every: int = 10  # rounds; then earlier answers are shown again.  0: never
    seed_rankings: int = 0  # of data/LANG/rankings.jsonl, by simulated annotators
    weight: int = 4  # a label of this session counts as much as so many seed rankings
    sft_steps: int = 80  # optimiser steps on the corrections at most; SFT model and policy each
    sft_loss: float = 0.08  # nats per token; training on the corrections stops below it
    sft_batch: int = 16  # corrections per step
    sft_learning_rate: float = 5e-4
    reward_epochs: int = 6  # passes over all labels
    reward_batch: int = 4  # rankings per step
    reward_steps: int = 300  # at most; so an old session learns as fast as a new one
    reward_learning_rate: float = 1e-3
    iterations: int = 12  # of PPO
    rollout_size: int = 64
    ppo_epochs: int = 4
    minibatch_size: int = 32
    learning_rate: float = 2e-4  # of the policy
    clip_range: float = 0.1
    kl_coef: float = 0.2  # price of a nat of log-ratio to the SFT model, in units of reward
    threads: int = 1  # 2: sooner, and the same bytes


class Setup(NamedTuple):
    """What a session starts from; the same for all its learnings."""

    base: Model  # data/LANG/pretrained.npz
    taught: list  # questions that are asked
    untaught: list  # questions that are kept for showing what was never taught
    seeds: list  # of Ranking
    settings: TeachSettings
    seed: int


class State(NamedTuple):
    """The models after a learning.  Frozen: a learning makes new ones."""

    version: int  # 0 is the pretrained model
    key: int  # checksum of the records it follows from
    policy: Params  # Rufus
    sft: Params  # pretrained and the corrections; the reference of PPO
    reward: Params | None  # None: nothing to learn a reward model from yet
    history: list  # of dict, one for each learning


# ---- where it starts ------------------------------------------------------------------------


def first_settings(lang, seed, settings):
    """-> the text of the first record's field `settings`."""
    folder = data_folder(lang)
    checksum = zlib.crc32((folder / "pretrained.npz").read_bytes())
    rows = {"format": records.FORMAT, "lang": str(lang), "seed": seed, "pretrained": checksum}
    return json.dumps(rows | asdict(settings), ensure_ascii=False)


def load_setup(rows, path):
    """A session's rows -> Setup.  Raises InputError if its first record cannot be followed."""
    try:
        known = dict(json.loads(rows[0]["settings"]))
        form, lang, seed = known.pop("format"), known.pop("lang"), known.pop("seed")
        checksum = known.pop("pretrained")
        settings = TeachSettings(**known)
        for name, value in asdict(TeachSettings()).items():
            if not isinstance(getattr(settings, name), (type(value), int)):
                raise TypeError(f"{name} {getattr(settings, name)!r} is no {type(value).__name__}")
        if form != records.FORMAT or not isinstance(lang, str) or type(seed) is not int or seed < 0:
            raise ValueError(f"format {form!r}, lang {lang!r}, seed {seed!r}")
        dtype = {"float32": np.float32, "float64": np.float64}[settings.dtype]
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise InputError(f"{path}: the first record cannot be read ({error})") from None
    folder = data_folder(lang)
    if zlib.crc32((folder / "pretrained.npz").read_bytes()) != checksum:
        raise InputError(
            f"{path}: was taught to another {folder / 'pretrained.npz'}; start a new session")
    base = load_model(folder / "pretrained.npz", LANGUAGE_MODEL)
    params = Params(base.params.shapes, dtype)
    params.flat[...] = base.params.flat
    seeds = []
    if settings.seed_rankings:
        seeds = read_rankings(folder / "rankings.jsonl")[: settings.seed_rankings]
    questions = folder / "prompts.jsonl"
    taught, untaught = read_prompts(questions, "train"), read_prompts(questions, "held_out")
    return Setup(base=base._replace(params=params), taught=taught, untaught=untaught, seeds=seeds,
                 settings=settings, seed=seed)


def first_state(setup):
    """-> State of the pretrained model."""
    params = setup.base.params
    return State(version=0, key=0, policy=params, sft=params, reward=None, history=[])


def model_of(setup, params):
    """Params of a State -> Model that pipeline.ask can talk to, or that can be saved."""
    return setup.base._replace(params=params)


# ---- one learning ---------------------------------------------------------------------------


def learn(setup, state, rows, number, progress=iter):
    """The records before `learn` record `number` and the State before it -> State.

    progress wraps PPO's range of iterations.
    """
    settings, base = setup.settings, setup.base
    counted = records.without_undone(rows[:number])
    rng = np.random.default_rng([setup.seed, number])
    policy, sft = state.policy.copy(), base.params.copy()

    corrections = records.session_corrections(counted)
    if corrections:
        examples = [encode_text(base, *pair) for pair in corrections]
        learn_corrections(sft, base.config, examples, settings, rng)
        learn_corrections(policy, base.config, examples, settings, rng)

    reward = learn_reward_model(setup, sft, records.session_rankings(counted), rng)
    if reward is not None:
        asked = [row["prompt"] for row in counted if row["kind"] in records.LABELS[:-1]]
        prompts = list(dict.fromkeys(setup.taught + asked))
        ppo = PPOSettings(iterations=settings.iterations, rollout_size=settings.rollout_size,
                          ppo_epochs=settings.ppo_epochs, minibatch_size=settings.minibatch_size,
                          learning_rate=settings.learning_rate, clip_range=settings.clip_range,
                          kl_coef=settings.kl_coef, warmup=1, schedule="constant",
                          max_new_tokens=base.extra["max_new_tokens"], threads=settings.threads)
        models = PPOModels(policy=policy, ref_policy=sft, reward_model=reward,
                           value_model=reward.copy(), config=base.config, reward_config=base.config)
        train_ppo(models, encode_prompts(base, prompts), ppo, rng, progress=progress)
    history = state.history + [look_back(setup, state, rows, number)]
    return State(version=rows[number]["version"], key=0, policy=policy, sft=sft, reward=reward,
                 history=history)


def learn_corrections(params, config, examples, settings, rng):
    """SFT in place on all corrections, until they are learned or sft_steps are done.

    What is already said well costs no step; a new manner of speaking takes many.
    """
    batch_size = min(settings.sft_batch, len(examples))
    order = shuffled_order(len(examples), batch_size, settings.sft_steps, rng)
    adam = init_adam(params)
    for step, rows in enumerate(order):
        batch = [examples[i] for i in rows]
        inputs, targets, mask = make_batch(batch, response_only=True)  # each (B, T)
        loss, grads = language_model_loss(params, config, inputs, targets, mask)
        if loss < settings.sft_loss:
            break
        with at(f"corrections, step {step}, loss {loss}"):
            clip_gradient(grads, 1.0)
        adam_step(params, grads, adam, settings.sft_learning_rate)


def learn_reward_model(setup, sft, rankings, rng):
    """SFT model's Params, the session's rankings -> Params with a scalar head, or None.

    Scores have mean 0 and deviation 1 on samples of the SFT model.
    """
    settings, base = setup.settings, setup.base
    size = base.config.block_size
    if not rankings and not setup.seeds:
        return None
    encoded = step2.encode_rankings(base.tokenizer, rankings, size) * settings.weight
    encoded += step2.encode_rankings(base.tokenizer, setup.seeds, size)
    room = settings.reward_steps * settings.reward_batch  # rankings that fit into the time
    epochs = max(1, min(settings.reward_epochs, room // len(encoded)))
    encoded = [encoded[i] for i in rng.permutation(len(encoded))[:room]]
    small = step2.RewardModelSettings(batch_size=settings.reward_batch, epochs=epochs, warmup=4,
                                      learning_rate=settings.reward_learning_rate)
    reward = with_scalar_head(sft, base.config, rng)
    step2.train_reward_model(reward, base.config, encoded, small, rng)
    samples = reference_rows(model_of(setup, sft), setup.taught, rng, 128)
    if samples:
        scores = step2.score_rows(reward, base.config, samples)
        if scores.std() > 0:
            step2.normalise_scores(reward, scores)
    return reward


def look_back(setup, state, rows, number):
    """What the labels since the last learning say about the models that they were given for.

    -> {"version" that comes out, "judged": version that the labels speak of, "record", "rounds"
    with a label so far, "natural": share of that version's answers that the annotator did not call
    unnatural, "votes": how many, "agreement": share of pairs which its reward model, that has not
    seen them, puts in the annotator's order, "pairs": how many}; None where nothing was said.
    """
    done = state.history[-1]["record"] if state.history else 0
    counted = records.without_undone(rows[:number])
    labelled = {row["of"] for row in counted if row["kind"] in records.LABELS[:-1]}
    new = sorted(labelled - {row["of"] for row in counted if row["number"] < done})
    natural, rankings = [], []
    for place in new:
        asked, labels = records.as_round(rows[place]), records.labels_of(counted, place)
        votes = zip(records.votes_of(labels)[1], asked.models)
        natural += [vote for vote, name in votes if name == f"v{state.version}"]
        rankings.append(records.round_ranking(asked, labels, ""))
    share = float(np.mean(natural)) if natural else None
    row = {"version": rows[number]["version"], "judged": state.version, "record": number,
           "rounds": len(labelled), "natural": share, "votes": len(natural), "agreement": None,
           "pairs": 0}
    rankings = [ranking for ranking in rankings if max(ranking.ranks) > 1]
    if state.reward is not None and rankings:
        base = setup.base
        encoded = step2.encode_rankings(base.tokenizer, rankings, base.config.block_size)
        ranks = [ranking.ranks for ranking in encoded]
        scores = step2.score_rankings(state.reward, base.config, encoded)
        row["agreement"] = step2.pair_accuracy(scores, ranks)
        row["pairs"] = sum(int((np.subtract.outer(r, r) < 0).sum()) for r in ranks)
    return row
