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
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minirlhf.checkpoint import Model, save_model
from minirlhf.data import (
    Ranking,
    decode_response,
    encode_example,
    encode_prompt,
    read_corpus,
    write_jsonl,
    write_rankings,
)
from minirlhf.errors import InputError
from minirlhf.gpt import GPTConfig, gpt_forward, init_params, lm_head_forward, with_scalar_head
from minirlhf.layers import exact_kl, log_softmax, token_logprobs_forward
from minirlhf.rufus.world import DATA, make_annotators
from minirlhf.sample import sample
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
    pair_accuracy,
    score_rankings,
    score_rows,
    split_by_prompt,
    train_reward_model,
)
from minirlhf.step3_ppo import (
    PPOModels,
    PPOSettings,
    last_response_index,
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


def data_folder(lang):
    """Folder of the bundled data of a language, or of a world.json.  Raises InputError."""
    path = Path(lang)
    folder = path.parent if path.suffix == ".json" else DATA / lang
    if not folder.is_dir():
        raise InputError(f"--lang {lang}: neither a language of data/ nor a world.json")
    return folder


def stage_rng(seed, stage, number=1):
    """A random generator of the stage's own, from the run's seed; number: which round."""
    return np.random.default_rng([seed, STAGES.index(stage), number])


# ---- asking a model -------------------------------------------------------------------------


class Answer(NamedTuple):
    """One sampled response."""

    prompt: str
    text: str
    finished: bool  # ended with EOS
    n_tokens: int  # EOS included


def ask(model, prompts, rng, temperature=1.0, batch_size=256):
    """Model, list of prompts (str) -> list of Answer, one each, at most as long as it was told."""
    answers = []
    for start in range(0, len(prompts), batch_size):
        batch = prompts[start : start + batch_size]
        ids = encode_prompts(model, batch)
        limit = model.extra["max_new_tokens"]
        samples = sample(model.params, model.config, ids, limit, rng, temperature)
        answers += read_answers(model.tokenizer, batch, samples)
    return answers


def encode_prompts(model, prompts):
    """list of str -> list of ids.  Raises InputError if one is too long for an answer to follow."""
    room = model.config.block_size - model.extra["max_new_tokens"] + 1
    return [encode_prompt(model.tokenizer, prompt, room) for prompt in prompts]


def read_answers(tokenizer, prompts, samples):
    """Samples of B prompts -> list of B Answer."""
    answers = []
    for row, prompt in enumerate(prompts):
        ids = samples.tokens[row, 1:][samples.response_mask[row] > 0]
        text = decode_response(tokenizer, ids)
        answers.append(Answer(prompt, text, bool(samples.finished[row]), len(ids)))
    return answers


def response_logprob(model, prompt, response):
    """log P(response and EOS | prompt) in nats, a sum over characters."""
    example = encode_example(model.tokenizer, prompt, response, model.config.block_size)
    tokens = np.array([example.ids])  # (1, T+1)
    hidden, _ = gpt_forward(model.params, model.config, tokens[:, :-1])
    logits, _ = lm_head_forward(model.params, hidden)  # (1, T, V)
    logprobs, _ = token_logprobs_forward(logits, tokens[:, 1:])  # (1, T)
    return float(logprobs[0, example.prompt_length - 1 :].sum())


# ---- measuring, with the gold judge ---------------------------------------------------------


class Judgement(NamedTuple):
    """What the gold judge finds in a model's answers.  Shares are between 0 and 1."""

    natural: float  # share of answers that a person would leave as they are
    naturalness: float  # mean of world.naturalness
    truthful: float  # share of the natural answers that state the fact
    distinct: float  # different natural answers per question
    samples: int


def judge_answers(world, answers):
    """list of Answer -> Judgement."""
    scores = [world.naturalness(a.prompt, a.text, a.finished) for a in answers]
    natural = [a for a, score in zip(answers, scores) if score == 1]
    true = [world.truthful(a.prompt, a.text) is True for a in natural]
    different = {(a.prompt, a.text) for a in natural}
    questions = {a.prompt for a in answers}
    return Judgement(
        len(natural) / len(answers),
        float(np.mean(scores)),
        float(np.mean(true)) if true else float("nan"),
        len(different) / len(questions),
        len(answers),
    )


def judge_model(model, world, split, n_samples, rng):
    """Ask every question of a split about equally often, n_samples in all -> Judgement."""
    questions = world.questions(split)
    repeats = -(-n_samples // len(questions))
    return judge_answers(world, ask(model, questions * repeats, rng))


def evaluate_model(model, world, n_samples, rng):
    """-> {"natural_train", "natural_held_out", "truthful", ..}: the figures of summary.json."""
    train = judge_model(model, world, "train", n_samples, rng)
    held_out = judge_model(model, world, "held_out", n_samples, rng)
    return {
        "natural_train": train.natural,
        "natural_held_out": held_out.natural,
        "truthful": train.truthful,
        "truthful_held_out": held_out.truthful,
        "naturalness_train": train.naturalness,
        "naturalness_held_out": held_out.naturalness,
        "distinct": train.distinct,
        "samples": train.samples + held_out.samples,
    }


def kl_to_reference(model, reference, world, n_samples, rng):
    """Exact KL(model || reference) in nats per response, on the model's own samples."""
    questions = world.questions("train")
    repeats = -(-n_samples // len(questions))
    ids = encode_prompts(model, questions * repeats)
    samples = sample(model.params, model.config, ids, model.extra["max_new_tokens"], rng)
    hidden, _ = gpt_forward(reference.params, reference.config, samples.tokens[:, :-1])
    ref_all_logprobs = log_softmax(lm_head_forward(reference.params, hidden)[0])  # (B, T, V)
    kl = exact_kl(samples.all_logprobs, ref_all_logprobs) * samples.response_mask  # (B, T)
    return float(kl.sum(axis=1).mean())


class GoldWatch:
    """Looks at every rollout of PPO with the gold judge.  For the history, never for the update."""

    def __init__(self, world, tokenizer):
        self.world = world
        self.tokenizer = tokenizer

    def __call__(self, rollout):
        prompts = []
        for row, mask in enumerate(rollout.response_mask):
            first = int(mask.argmax()) + 1  # where the response starts in tokens
            prompts.append(self.tokenizer.decode(rollout.tokens[row, 1:first]).rstrip())
        judgement = judge_answers(self.world, read_answers(self.tokenizer, prompts, rollout))
        return {"naturalness": judgement.naturalness, "natural": judgement.natural}


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


def collect_answers(models, prompts, k, rng, rounds=3):
    """Ask every prompt until it has k different answers.

    models: {name: Model}, asked in turn, `rounds` times each at most.  Answers that did not end,
    are empty, or hold a special token inside cannot be written down and are left out.
    -> list of {"prompt", "responses", "models"} with 2 to k responses, in random order.
    """
    collected = [{"prompt": prompt, "responses": [], "models": []} for prompt in prompts]
    for _ in range(rounds):
        for name, model in models.items():
            for place, answer in zip(collected, ask(model, prompts, rng)):
                new = answer.text.strip() and answer.text not in place["responses"]
                special = "<pad>" in answer.text or "<bos>" in answer.text
                if new and not special and answer.finished and len(place["responses"]) < k:
                    place["responses"].append(answer.text)
                    place["models"].append(name)
    enough = [place for place in collected if len(place["responses"]) >= 2]
    for place in enough:
        order = rng.permutation(len(place["responses"]))
        place["responses"] = [place["responses"][i] for i in order]
        place["models"] = [place["models"][i] for i in order]
    return enough


def rank_answers(world, collected, annotators, rng):
    """Each set of answers is ranked by one of the SIMULATED annotators -> list of Ranking."""
    rankings = []
    for number, place in enumerate(collected):
        annotator = annotators[number % len(annotators)]
        ranks = annotator.rank(world, place["prompt"], place["responses"], rng)
        rankings.append(
            Ranking(
                place["prompt"], place["responses"], [int(rank) for rank in ranks],
                place["models"], annotator.name,
            )
        )
    return rankings


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


def reference_rows(model, prompts, rng, n_samples=256):
    """-> list of lists of ids: finished responses of the model, with their prompts."""
    repeats = -(-n_samples // len(prompts))
    ids = encode_prompts(model, prompts * repeats)
    samples = sample(model.params, model.config, ids, model.extra["max_new_tokens"], rng)
    last = last_response_index(samples.response_mask) + 1
    rows = []
    for row in np.flatnonzero(samples.finished):
        rows.append(samples.tokens[row, : last[row] + 1].tolist())
    return rows


def score_texts(reward_model, prompt, responses):
    """prompt, list of K responses (str) -> scores (K,)."""
    rows = []
    for response in responses:
        config = reward_model.config
        example = encode_example(reward_model.tokenizer, prompt, response, config.block_size)
        rows.append(example.ids)
    return score_rows(reward_model.params, reward_model.config, rows)


def reward_accuracy(reward_model, rankings, world=None):
    """How often the reward model orders a pair right.

    -> {"labels": against the given ranks} and, with a world, {"gold": against the gold judge,
    "ceiling": how often the gold judge itself agrees with the noisy labels}.
    """
    rankings = [ranking for ranking in rankings if max(ranking.ranks) > 1]
    encoded = encode_rankings(reward_model.tokenizer, rankings, reward_model.config.block_size)
    scores = score_rankings(reward_model.params, reward_model.config, encoded)
    labels = [ranking.ranks for ranking in rankings]
    accuracy = {"labels": pair_accuracy(scores, labels)}
    if world is not None:
        gold = [
            np.array([world.naturalness(ranking.prompt, text) for text in ranking.responses])
            for ranking in rankings
        ]
        accuracy["gold"] = pair_accuracy(scores, [-row for row in gold])
        accuracy["ceiling"] = pair_accuracy(gold, labels)
    return accuracy


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
