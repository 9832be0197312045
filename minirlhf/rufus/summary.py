"""What the demo measures at the end, by the gold judge: the content of summary.json."""

import sys
from collections import Counter

import numpy as np

from minirlhf.rufus.answers import ask, encode_text, response_logprob
from minirlhf.rufus.measure import evaluate_model, kl_to_reference, reward_accuracy
from minirlhf.rufus.pipeline import DEMONSTRATIONS, stage_rng
from minirlhf.step1_language_model import evaluate_loss

SPEAKERS = ("pretrained", "sft", "ppo")  # the models that are compared
EVALUATION_SAMPLES = 1000  # answers per model and split
ASKED = 20  # times Rufus is asked who he is, before and after


def summarise(world, lang, seed, models, histories):
    """Measures everything that is told and drawn at the end -> the dict of summary.json.

    models: {name: Model}, histories: {stage: rows}, as train_everything gives them.  The seconds
    and the memory are still missing.
    """
    judged = {}
    for name in SPEAKERS:
        rng = stage_rng(seed, "evaluate")  # the same random numbers for all three
        judged[name] = evaluate_model(models[name], world, EVALUATION_SAMPLES, rng)
    rng = stage_rng(seed, "evaluate")
    history = histories["ppo"]
    ppo = dict(judged["ppo"])
    ppo["kl_exact"] = kl_to_reference(models["ppo"], models["sft"], world, EVALUATION_SAMPLES, rng)
    ppo["clip_fraction"] = float(np.mean([row["clip_fraction"] for row in history]))
    kinds = judged["sft"]["distinct"]  # 0 if no answer was natural
    ppo["distinct_ratio"] = ppo["distinct"] / kinds if kinds else np.nan
    ppo["score"] = history[-1]["score"]
    accuracy = reward_accuracy(models["reward_model"], histories["held_out"], world)
    return {
        "lang": lang,
        "seed": seed,
        "seconds": {},
        "peak_memory_mb": 0.0,
        "pretrained": judged["pretrained"],
        "sft": judged["sft"],
        "ppo": ppo,
        "reward_model": {
            "rankings": len(histories["rankings"]),
            "accuracy_held_out": accuracy["gold"],
            "accuracy_labels": accuracy["labels"],
            "ceiling_labels": accuracy["ceiling"],
            "rounds": histories["accuracies"],
        },
        "story": story_facts(world, seed, models, histories),
        "probability": sentence_probabilities(world, models),
        "side_by_side": side_by_side(world, seed, models),
    }


def side_by_side(world, seed, models):
    """Some questions, and what each speaker says -> list of {"prompt", name: (text, naturalness)}.

    The story's question, then training and held-out ones; the same random numbers for all.
    """
    prompts = [world.story["prompt"]] + world.questions("train")[1:4]
    prompts += world.questions("held_out")[:4]
    rows = [{"prompt": prompt} for prompt in prompts]
    for name in SPEAKERS:
        answers = ask(models[name], prompts, stage_rng(seed, "before and after", 2))
        for row, answer in zip(rows, answers):
            naturalness = world.naturalness(answer.prompt, answer.text, answer.finished)
            row[name] = (answer.text, naturalness)
    return rows


def sentence_probabilities(world, models):
    """The story's faulty and its natural sentence -> {text: {name: probability}}."""
    probabilities = {}
    for text in (world.story["said"], world.story["corrected"]):
        probabilities[text] = {
            name: float(np.exp(response_logprob(models[name], world.story["prompt"], text)))
            for name in SPEAKERS
        }
    return probabilities


def story_facts(world, seed, models, histories):
    """What the pipeline picture shows besides the figures of the summary -> dict."""
    said, rankings = tally(world, models["pretrained"], seed), histories["rankings"]
    before = [text for text, _, naturalness in said if naturalness < 1]
    if world.story["said"] in before:  # of what he did say, the sentence that the story tells of
        before = [world.story["said"]]
    shown = shown_ranking(world, rankings)
    return {
        "prompt": world.story["prompt"],
        "before": (before or [said[0][0]])[0],
        "after": tally(world, models["ppo"], seed)[0][0],
        "answers": shown.responses,
        "ranks": shown.ranks,
        "documents": models["pretrained"].extra["documents"],
        "demonstrations": DEMONSTRATIONS,
        "parameters": int(models["ppo"].params.flat.size),
        "iterations": len(histories["ppo"]),
    }


def tally(world, model, seed):
    """Ask the story's question ASKED times -> list of (answer, times, naturalness)."""
    prompt = world.story["prompt"]
    answers = ask(model, [prompt] * ASKED, stage_rng(seed, "before and after"))
    finished = {answer.text: answer.finished for answer in answers}
    counts = Counter(answer.text for answer in answers).most_common()
    return [(text, n, world.naturalness(prompt, text, finished[text])) for text, n in counts]


def shown_ranking(world, rankings):
    """-> the Ranking that is told and drawn: the first of the story's question, if there is one."""
    prompt = world.story["prompt"]
    return next((ranking for ranking in rankings if ranking.prompt == prompt), rankings[0])


def demonstration_loss(pretrained, sft, demonstrations):
    """Loss on the responses of the demonstrations, before and after SFT, in nats per character."""
    examples = [encode_text(sft, prompt, response) for prompt, response in demonstrations]
    before = evaluate_loss(pretrained.params, pretrained.config, examples, response_only=True)
    return before, evaluate_loss(sft.params, sft.config, examples, response_only=True)


def without_nan(value):
    """The same nest of dicts and lists with None for NaN, which JSON does not know."""
    if isinstance(value, dict):
        return {name: without_nan(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and value != value else value


def peak_memory_mb():
    """Most memory this process has held, in MB.  Windows has no such figure: 0."""
    try:
        import resource
    except ImportError:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
