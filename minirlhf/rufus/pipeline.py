"""The three steps wired together on Rufus: what `python -m minirlhf demo` and the verbs run.

Each stage reads files, trains, and writes files into one folder; each has its own random generator
made from the seed and the stage's number, so a stage can be run again, or resumed, on its own.
The simulated people (people.py) and the gold judge (world.py) do two things here: they rank the
answers of step 2, and they measure.  (The corrections of data/LANG/sft.jsonl were written by them
beforehand.)  What they measure never reaches an update.

Departure from InstructGPT: steps 2 and 3 come three times.  After the first round people rank what
the policy has learned to say, so that a hole in the reward model that it has found gets closed.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minirlhf import data
from minirlhf import step1_language_model as step1
from minirlhf import step2_reward_model as step2
from minirlhf import step3_ppo as step3
from minirlhf.checkpoint import Model, load_model, save_model
from minirlhf.errors import InputError, at
from minirlhf.gpt import GPTConfig, init_params, with_scalar_head
from minirlhf.rufus.answers import collect_answers, encode_prompts, encode_text, reference_rows
from minirlhf.rufus.measure import GoldWatch
from minirlhf.rufus.people import make_annotators, rank_answers
from minirlhf.sample import sample
from minirlhf.tokenizer import build_tokenizer

LANGUAGE_MODEL, REWARD_MODEL, VALUE_MODEL = "language model", "reward model", "value model"
STAGES = ("pretrain", "sft", "rank", "reward", "ppo", "evaluate", "before and after")
LONGEST_TEXT = 1000  # characters of one document; attention needs memory for its square
HELD_OUT_TEXTS = 500  # documents of the corpus that pretraining never sees


@dataclass(frozen=True, kw_only=True)
class Size:
    """Size of the models; the vocabulary and the longest text come from the corpus."""

    n_layer: int = 2
    n_head: int = 2
    n_embd: int = 64


PRETRAIN = step1.LanguageModelSettings(steps=1800, batch_size=16, learning_rate=5e-3)
# deliberately little: about half of the answers should still be unnatural, for people to rank
SFT = step1.LanguageModelSettings(response_only=True, steps=24, batch_size=8, learning_rate=2e-4,
                                  warmup=6, schedule="linear")
REWARD = step2.RewardModelSettings(batch_size=8)
REWARD_AGAIN = step2.RewardModelSettings(batch_size=8, epochs=2)  # goes on from the last round
PPO = step3.PPOSettings(iterations=30, ppo_epochs=4, learning_rate=5e-4, clip_range=0.1)
DEMONSTRATIONS = 24
RANKINGS, RANKINGS_AGAIN, HELD_OUT_RANKINGS, ANSWERS = 600, 250, 240, 4
ROUNDS = 3  # times that people rank, the reward model learns and the policy practises


def stage_rng(seed, stage, number=1):
    """A random generator of the stage's own, from the run's seed; number: which round."""
    return np.random.default_rng([seed, STAGES.index(stage), number])


def no_progress(title):
    """-> what wraps the range of steps of a stage: here nothing (tqdm on the command line)."""
    return iter


class Run(NamedTuple):
    """A run of some stages: where its files are, and what else the stages have in common."""

    out: Path
    seed: int
    progress: Callable = no_progress  # progress(title) -> what wraps the range of steps
    resume: bool = False  # True: a stage whose files are there is taken from them
    number: int = 1  # which round of steps 2 and 3
    ending: str = ""  # of the names of the round's files; the last round has none

    def kept(self, name, kind):
        """-> the Model of a stage that need not be run again, or None."""
        path = self.out / f"{name}.npz"
        return load_model(path, kind) if self.resume and path.exists() else None


def finish(model, out, name, history):
    """Write out/NAME.npz and out/NAME.jsonl; the resume file has done its duty -> the model."""
    data.write_jsonl(out / f"{name}.jsonl", history)
    save_model(out / f"{name}.npz", model.kind, model.params, model.config, model.tokenizer,
               model.extra)
    (out / f"{name}.resume.npz").unlink(missing_ok=True)
    return model


def read_log(path):
    """JSONL file -> list of dicts."""
    return [row for _, row in data.read_jsonl(path, {})]


# ---- step 1 ---------------------------------------------------------------------------------


def build_language_model(texts, size, rng):
    """list of texts -> a Model with random weights, fitted to their characters and lengths."""
    tokenizer = build_tokenizer(texts + ["\n"])
    longest = max(map(len, texts))
    if longest > LONGEST_TEXT:
        raise InputError(
            f"a text has {longest} characters, at most {LONGEST_TEXT} are read at once; "
            "separate documents by a blank line")
    parts = [text.split("\n", 1) for text in texts if "\n" in text] or [(t, t) for t in texts]
    longest_prompt = max(len(prompt) for prompt, _ in parts)
    limit = max(len(answer) for _, answer in parts) + 2  # EOS, and one character to overshoot
    block_size = max(longest + 2, longest_prompt + 2 + limit)  # BOS, \n or EOS
    config = GPTConfig(vocab_size=len(tokenizer), block_size=block_size, n_layer=size.n_layer,
                       n_head=size.n_head, n_embd=size.n_embd)
    params = init_params(config, rng)
    return Model(kind=LANGUAGE_MODEL, params=params, config=config, tokenizer=tokenizer,
                 extra={"max_new_tokens": limit})


def run_pretrain(corpus_path, run, settings=PRETRAIN, size=Size(), more_texts=()):
    """Pretrain a model on a corpus -> Model, history.  Writes pretrained.npz, .jsonl.

    more_texts: texts that it will be shown later; they widen its vocabulary and its length.
    """
    model = run.kept("pretrained", LANGUAGE_MODEL)
    if model is not None:
        return model, read_log(run.out / "pretrained.jsonl")
    rng = stage_rng(run.seed, "pretrain")
    documents = data.read_corpus(corpus_path)
    model = build_language_model(documents + list(more_texts), size, rng)
    examples = []
    for number, document in enumerate(documents, start=1):
        with at(f"{corpus_path}, document {number}"):
            examples.append(encode_text(model, "", document))
    n_held_out = min(HELD_OUT_TEXTS, len(examples) // 10)
    texts = data.Texts(training=examples[n_held_out:], held_out=examples[:n_held_out])
    history = step1.train_language_model(model.params, model.config, texts, settings, rng,
                                         run.out / "pretrained.resume.npz",
                                         run.progress("pretrain"))
    entropy = {  # in nats per character: what a loss on this corpus is to be compared with
        "unigram": step1.unigram_entropy(examples, model.config.vocab_size),
        "bigram": step1.bigram_entropy(examples, model.config.vocab_size),
    }
    extra = model.extra | {"corpus_entropy": entropy, "documents": len(documents)}
    return finish(model._replace(extra=extra), run.out, "pretrained", history), history


def run_sft(model, demonstrations, run, settings=SFT):
    """Fine-tune a copy of model on (prompt, response) pairs -> Model, history.

    Writes sft.npz, sft.jsonl.
    """
    tuned = run.kept("sft", LANGUAGE_MODEL)
    if tuned is not None:
        return tuned, read_log(run.out / "sft.jsonl")
    examples = []
    for number, (prompt, response) in enumerate(demonstrations, start=1):
        with at(f"demonstrations, line {number}"):
            examples.append(encode_text(model, prompt, response))
    tuned = model._replace(params=model.params.copy())
    history = step1.train_language_model(tuned.params, tuned.config, data.Texts(training=examples),
                                         settings, stage_rng(run.seed, "sft"),
                                         run.out / "sft.resume.npz", run.progress("sft"))
    return finish(tuned, run.out, "sft", history), history


# ---- step 2 ---------------------------------------------------------------------------------


def run_rank(world, models, run, count=RANKINGS, split="train", k=ANSWERS):
    """Collect and rank answers to the questions of a split -> list of Ranking.

    models: {name: Model}.  Writes rankings_NUMBER.jsonl, the number of the round; or, for the
    questions that neither step 2 nor step 3 trains on, rankings_held_out.jsonl.
    """
    number = run.number if split == "train" else 0
    path = run.out / (f"rankings_{number}.jsonl" if number else "rankings_held_out.jsonl")
    if run.resume and path.exists():
        return data.read_rankings(path)
    rng = stage_rng(run.seed, "rank", number)
    questions = world.questions(split)
    prompts = [questions[i % len(questions)] for i in range(count)]
    collected = collect_answers(models, prompts, k, rng)
    annotators = make_annotators(np.random.default_rng(run.seed))  # the same people every time
    if not collected:
        raise InputError(f"no question got two different finished answers from {', '.join(models)}")
    rankings = rank_answers(world, collected, annotators, rng)
    data.write_rankings(path, rankings)
    return rankings


def run_reward(model, rankings, run, settings=REWARD, previous=None):
    """Train a reward model on rankings -> Model, history.

    It starts from a language model with a new head, or from `previous`, the reward model of the
    last round.  Scores are then normalised on samples of the language model, on the prompts of the
    rankings.  Writes reward_model.npz, reward_model.jsonl, with the round's ending.
    """
    name = f"reward_model{run.ending}"
    reward_model = run.kept(name, REWARD_MODEL)
    if reward_model is not None:
        return reward_model, read_log(run.out / f"{name}.jsonl")
    rng = stage_rng(run.seed, "reward", run.number)
    if previous is None:
        params = with_scalar_head(model.params, model.config, rng)
    else:
        params = previous.params.copy()
    with at("rankings"):
        encoded = step2.encode_rankings(model.tokenizer, rankings, model.config.block_size)
        if not encoded:
            raise InputError("all answers are tied, nothing can be learned")
    history = step2.train_reward_model(params, model.config, encoded, settings, rng,
                                       run.out / f"{name}.resume.npz", run.progress("reward"))
    rows = [ids for ranking in encoded for ids in ranking.rows]
    prompts = sorted({ranking.prompt for ranking in rankings if ranking.prompt})
    if prompts:
        rows = reference_rows(model, prompts, rng)
    gain, bias = step2.normalise_scores(params, step2.score_rows(params, model.config, rows))
    reward_model = Model(kind=REWARD_MODEL, params=params, config=model.config,
                         tokenizer=model.tokenizer,
                         extra=model.extra | {"gain": gain, "bias": bias})
    return finish(reward_model, run.out, name, history), history


def split_rankings(rankings, seed, share=0.2):
    """list of Ranking -> training, held out, with no prompt in common.  Raises InputError."""
    try:
        return step2.split_by_prompt(rankings, share, stage_rng(seed, "rank"))
    except ValueError as error:
        raise InputError(f"{error}; give held-out rankings of your own") from None


# ---- step 3 ---------------------------------------------------------------------------------


def run_ppo(model, reward_model, prompts, run, settings=PPO, world=None, previous=None):
    """PPO against reward_model -> policy, value model (Models), history.

    model is the frozen reference.  The policy starts from it and the value model from the reward
    model; or from `previous`, (policy, value model) of the last round.  world: for the gold figures
    of the history, evaluation only.
    Writes ppo.npz, ppo.value_model.npz and the history, ppo.jsonl, with the round's ending.
    """
    if model.tokenizer.vocab != reward_model.tokenizer.vocab:
        raise InputError("the policy and the reward model have different vocabularies")
    name = f"ppo{run.ending}"
    policy = run.kept(name, LANGUAGE_MODEL)
    value_model = run.kept(f"{name}.value_model", VALUE_MODEL)
    if policy is not None and value_model is not None:
        return policy, value_model, read_log(run.out / f"{name}.jsonl")
    start, start_values = previous or (model, reward_model)
    models = step3.PPOModels(policy=start.params.copy(), ref_policy=model.params,
                             reward_model=reward_model.params,
                             value_model=start_values.params.copy(), config=model.config,
                             reward_config=reward_model.config)
    watch = None if world is None else GoldWatch(world, model.tokenizer)
    history = step3.train_ppo(models, encode_prompts(model, prompts),
                              replace(settings, max_new_tokens=model.extra["max_new_tokens"]),
                              stage_rng(run.seed, "ppo", run.number), step3.PPOHooks(watch=watch),
                              run.out / f"{name}.resume.npz", run.progress("ppo"))
    value_model = reward_model._replace(kind=VALUE_MODEL, params=models.value_model)
    save_model(run.out / f"{name}.value_model.npz", VALUE_MODEL, value_model.params,
               value_model.config, value_model.tokenizer, value_model.extra)
    policy = model._replace(params=models.policy)
    return finish(policy, run.out, name, history), value_model, history


def answer_in_numbers(policy, reference, reward_model, value_model, prompt, kl_coef, rng):
    """One sampled answer with every figure of PPO under every character, for plot_token_strip.

    -> {"prompt", "tokens" (T strings), "logprobs", "ref_logprobs", "kl", "rewards", "values",
    "advantages" (T,), "score", "kl_coef"}; T counts the response, EOS included.
    """
    models = step3.PPOModels(policy=policy.params, ref_policy=reference.params,
                             reward_model=reward_model.params, value_model=value_model.params,
                             config=policy.config, reward_config=reward_model.config)
    ids = encode_prompts(policy, [prompt])
    samples = sample(policy.params, policy.config, ids, policy.extra["max_new_tokens"], rng)
    scores = step3.score_samples(models, samples, PPO)
    rollout = step3.make_rollout(models, samples, scores, kl_coef, PPO)
    said = rollout.response_mask[0] > 0  # (T,) bool
    tokens = [policy.tokenizer.decode([i]) for i in rollout.tokens[0, 1:][said]]
    return {
        "prompt": prompt,
        "tokens": ["\u25a0" if token == "<eos>" else token for token in tokens],
        "logprobs": rollout.old_logprobs[0, said],
        "ref_logprobs": rollout.ref_logprobs[0, said],
        "kl": (rollout.old_logprobs - rollout.ref_logprobs)[0, said],
        "rewards": rollout.rewards[0, said],
        "values": rollout.values[0, said],
        "advantages": (rollout.returns - rollout.values)[0, said],
        "score": float(rollout.scores[0]),
        "kl_coef": kl_coef,
    }
