"""The three steps wired together on Rufus: what `python -m minirlhf demo` and the verbs run.

Each stage reads files, trains, and writes files into one folder; each has its own random generator
made from the seed and the stage's number, so a stage can be run again, or resumed, on its own.
This is the only file of the training path that knows the simulated people (human.py), and it uses
them for two things only: to rank the answers of step 2, and to measure.  (The corrections of
data/LANG/sft.jsonl were written by them beforehand.)  What it measures never
reaches an update.

Departure from InstructGPT: steps 2 and 3 come three times.  After the first round people rank what
the policy has learned to say, so that a hole in the reward model that it has found gets closed.
"""

from dataclasses import dataclass, replace

import numpy as np

from minirlhf.checkpoint import Model, save_model
from minirlhf.data import (
    encode_example,
    read_corpus,
    write_jsonl,
    write_rankings,
)
from minirlhf.errors import InputError
from minirlhf.gpt import GPTConfig, init_params, with_scalar_head
from minirlhf.rufus.answers import collect_answers, encode_prompts, reference_rows
from minirlhf.rufus.measure import GoldWatch
from minirlhf.rufus.people import make_annotators, rank_answers
from minirlhf.step1_language_model import (
    LanguageModelSettings,
    bigram_entropy,
    train_language_model,
    unigram_entropy,
)
from minirlhf.step2_reward_model import (
    RewardModelSettings,
    encode_rankings,
    normalise_scores,
    score_rows,
    split_by_prompt,
    train_reward_model,
)
from minirlhf.step3_ppo import (
    PPOModels,
    PPOSettings,
    make_rollout,
    train_ppo,
)
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


PRETRAIN = LanguageModelSettings(steps=1800, batch_size=16, learning_rate=5e-3)
# deliberately little: about half of the answers should still be unnatural, for people to rank
SFT = LanguageModelSettings(
    response_only=True, steps=24, batch_size=8, learning_rate=2e-4, warmup=6, schedule="linear"
)
REWARD = RewardModelSettings(batch_size=8)
REWARD_AGAIN = RewardModelSettings(batch_size=8, epochs=2)  # goes on from the last round
PPO = PPOSettings(iterations=30, ppo_epochs=4, learning_rate=5e-4, clip_range=0.1)
DEMONSTRATIONS = 24
RANKINGS, RANKINGS_AGAIN, HELD_OUT_RANKINGS, ANSWERS = 600, 250, 240, 4
ROUNDS = 3  # times that people rank, the reward model learns and the policy practises


def stage_rng(seed, stage, number=1):
    """A random generator of the stage's own, from the run's seed; number: which round."""
    return np.random.default_rng([seed, STAGES.index(stage), number])


# ---- step 1 ---------------------------------------------------------------------------------


def build_language_model(texts, size, rng):
    """list of texts -> a Model with random weights, fitted to their characters and lengths."""
    tokenizer = build_tokenizer(texts + ["\n"])
    longest = max(map(len, texts))
    if longest > LONGEST_TEXT:
        raise InputError(
            f"a text has {longest} characters, at most {LONGEST_TEXT} are read at once; "
            "separate documents by a blank line"
        )
    parts = [text.split("\n", 1) for text in texts if "\n" in text] or [(t, t) for t in texts]
    longest_prompt = max(len(prompt) for prompt, _ in parts)
    limit = max(len(answer) for _, answer in parts) + 2  # EOS, and one character to overshoot
    block_size = max(longest + 2, longest_prompt + 2 + limit)  # BOS, \n or EOS
    config = GPTConfig(
        vocab_size=len(tokenizer), block_size=block_size,
        n_layer=size.n_layer, n_head=size.n_head, n_embd=size.n_embd,
    )
    params = init_params(config, rng)
    return Model(LANGUAGE_MODEL, params, config, tokenizer, {"max_new_tokens": limit})


def encode_documents(model, texts, where):
    """list of texts -> list of Example, each a whole text without a prompt."""
    examples = []
    for number, text in enumerate(texts, start=1):
        place = f"{where}, document {number}"
        examples.append(
            encode_example(model.tokenizer, "", text, model.config.block_size, place)
        )
    return examples


def corpus_figures(examples, vocab_size):
    """-> {"unigram": nats, "bigram": nats}: what a loss on this corpus is to be compared with."""
    return {
        "unigram": unigram_entropy(examples, vocab_size),
        "bigram": bigram_entropy(examples, vocab_size),
    }


def run_pretrain(
    corpus_path, out, seed, settings=PRETRAIN, size=Size(), progress=iter, more_texts=()
):
    """Pretrain a model on a corpus -> Model, history.  Writes out/pretrained.npz, .jsonl.

    more_texts: texts that it will be shown later; they widen its vocabulary and its length.
    """
    rng = stage_rng(seed, "pretrain")
    texts = read_corpus(corpus_path)
    model = build_language_model(texts + list(more_texts), size, rng)
    examples = encode_documents(model, texts, corpus_path)
    n_held_out = min(HELD_OUT_TEXTS, len(examples) // 10)
    history = train_language_model(
        model.params, model.config, examples[n_held_out:], settings, rng,
        examples[:n_held_out], out / "pretrained.resume.npz", progress,
    )
    entropies = corpus_figures(examples, model.config.vocab_size)
    model = model._replace(
        extra=model.extra | {"corpus_entropy": entropies, "documents": len(texts)}
    )
    return finish(model, out, "pretrained", history), history


def run_sft(model, demonstrations, out, seed, settings=SFT, progress=iter, where="demonstrations"):
    """Fine-tune a copy of model on (prompt, response) pairs -> Model, history.

    Writes out/sft.npz, out/sft.jsonl.
    """
    examples = []
    for number, (prompt, response) in enumerate(demonstrations, start=1):
        place = f"{where}, line {number}"
        example = encode_example(
            model.tokenizer, prompt, response, model.config.block_size, place
        )
        examples.append(example)
    params = model.params.copy()
    history = train_language_model(
        params, model.config, examples, settings, stage_rng(seed, "sft"),
        (), out / "sft.resume.npz", progress,
    )
    return finish(model._replace(params=params), out, "sft", history), history


def finish(model, out, name, history):
    """Write out/NAME.npz and out/NAME.jsonl; the resume file has done its duty."""
    write_jsonl(out / f"{name}.jsonl", history)
    save_model(
        out / f"{name}.npz", model.kind, model.params, model.config, model.tokenizer, model.extra
    )
    (out / f"{name}.resume.npz").unlink(missing_ok=True)
    return model


# ---- step 2 ---------------------------------------------------------------------------------


def run_rank(world, models, out, seed, count=RANKINGS, split="train", k=ANSWERS, number=1):
    """Collect and rank answers to the questions of a split -> list of Ranking.

    number: which round.  Writes out/rankings_NUMBER.jsonl; or, for the questions that neither
    step 2 nor step 3 trains on, out/rankings_held_out.jsonl.
    """
    rng = stage_rng(seed, "rank", number if split == "train" else 0)
    questions = world.questions(split)
    prompts = [questions[i % len(questions)] for i in range(count)]
    collected = collect_answers(models, prompts, k, rng)
    annotators = make_annotators(np.random.default_rng(seed))  # the same people every time
    if not collected:
        raise InputError(f"no question got two different finished answers from {', '.join(models)}")
    rankings = rank_answers(world, collected, annotators, rng)
    name = f"rankings_{number}" if split == "train" else "rankings_held_out"
    write_rankings(out / f"{name}.jsonl", rankings)
    return rankings


def run_reward(
    model, rankings, out, seed, settings=REWARD, progress=iter, where="rankings",
    number=1, previous=None, name="reward_model",
):
    """Train a reward model on rankings -> Model, history.

    It starts from a language model with a new head, or from `previous`, the reward model of the
    last round.  Scores are then normalised on samples of the language model, on the prompts of the
    rankings.  Writes out/NAME.npz, out/NAME.jsonl.
    """
    rng = stage_rng(seed, "reward", number)
    if previous is None:
        params = with_scalar_head(model.params, model.config, rng)
    else:
        params = previous.params.copy()
    encoded = encode_rankings(
        model.tokenizer, rankings, model.config.block_size, where
    )
    if not encoded:
        raise InputError(f"{where}: all answers are tied, nothing can be learned")
    history = train_reward_model(
        params, model.config, encoded, settings, rng, out / f"{name}.resume.npz", progress
    )
    rows = [ids for ranking in encoded for ids in ranking.rows]
    prompts = sorted({ranking.prompt for ranking in rankings if ranking.prompt})
    if prompts:
        rows = reference_rows(model, prompts, rng)
    gain, bias = normalise_scores(params, score_rows(params, model.config, rows))
    extra = model.extra | {"gain": gain, "bias": bias}
    reward_model = Model(REWARD_MODEL, params, model.config, model.tokenizer, extra)
    return finish(reward_model, out, name, history), history


def split_rankings(rankings, seed, share=0.2):
    """list of Ranking -> training, held out, with no prompt in common.  Raises InputError."""
    try:
        return split_by_prompt(rankings, share, stage_rng(seed, "rank"))
    except ValueError as error:
        raise InputError(f"{error}; give held-out rankings of your own") from None


# ---- step 3 ---------------------------------------------------------------------------------


def run_ppo(
    model, reward_model, prompts, out, seed, settings=PPO, world=None, progress=iter,
    number=1, start=None, start_values=None, name="ppo",
):
    """PPO against reward_model -> policy, value model (Models), history.

    model is the frozen reference.  The policy starts from it and the value model from the reward
    model, or from `start` and `start_values`, those of the last round.  world: for the gold
    figures of the history, evaluation only.
    Writes out/NAME.npz, out/NAME.value_model.npz and the history, out/NAME.jsonl.
    """
    if model.tokenizer.vocab != reward_model.tokenizer.vocab:
        raise InputError("the policy and the reward model have different vocabularies")
    start, start_values = start or model, start_values or reward_model
    models = PPOModels(
        start.params.copy(), model.params, reward_model.params, start_values.params.copy(),
        model.config, reward_model.config,
    )
    watch = GoldWatch(world, model.tokenizer) if world is not None else None
    ids = encode_prompts(model, prompts)
    settings = replace(settings, max_new_tokens=model.extra["max_new_tokens"])
    rng = stage_rng(seed, "ppo", number)
    resume_path = out / f"{name}.resume.npz"
    history = train_ppo(models, ids, settings, rng, watch, resume_path, progress)
    value_model = reward_model._replace(kind=VALUE_MODEL, params=models.value_model)
    save_model(
        out / f"{name}.value_model.npz", VALUE_MODEL, value_model.params, value_model.config,
        value_model.tokenizer, value_model.extra,
    )
    policy = model._replace(params=models.policy)
    return finish(policy, out, name, history), value_model, history


def answer_in_numbers(policy, reference, reward_model, value_model, prompt, kl_coef, rng):
    """One sampled answer with every figure of PPO under every character, for plot_token_strip.

    -> {"prompt", "tokens" (T strings), "logprobs", "ref_logprobs", "kl", "rewards", "values",
    "advantages" (T,), "score", "kl_coef"}; T counts the response, EOS included.
    """
    models = PPOModels(
        policy.params, reference.params, reward_model.params, value_model.params,
        policy.config, reward_model.config,
    )
    settings = replace(PPO, max_new_tokens=policy.extra["max_new_tokens"])
    rollout = make_rollout(models, encode_prompts(policy, [prompt]), kl_coef, settings, rng)
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
