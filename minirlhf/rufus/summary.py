"""What the demo measures at the end, by the gold judge: the content of summary.json."""

import sys
from collections import Counter

import numpy as np

from minirlhf.data import encode_example
from minirlhf.rufus.answers import ask, response_logprob
from minirlhf.rufus.measure import evaluate_model, kl_to_reference, reward_accuracy
from minirlhf.rufus.pipeline import DEMONSTRATIONS, stage_rng
from minirlhf.step1_language_model import evaluate_loss

EVALUATION_SAMPLES = 1000  # answers per model and split
ASKED = 20  # times Rufus is asked who he is, before and after


def measure(world, models, seed, out, teller):
    """Everything that is told and drawn at the end, by the gold judge -> dict."""
    results = {}
    for name in ("pretrained", "sft", "ppo"):
        rng = stage_rng(seed, "evaluate")  # the same random numbers for all three
        results[name] = evaluate_model(models[name], world, EVALUATION_SAMPLES, rng)
    rng = stage_rng(seed, "evaluate")
    results["kl_exact"] = kl_to_reference(
        models["ppo"], models["sft"], world, EVALUATION_SAMPLES, rng
    )
    story, rows = world.story, []
    prompts = [story["prompt"]] + world.questions("train")[1:4] + world.questions("held_out")[:4]
    for prompt in prompts:
        rows.append({"prompt": prompt})
    for name in ("pretrained", "sft", "ppo"):
        answers = ask(models[name], prompts, stage_rng(seed, "before and after", 2))
        for row, answer in zip(rows, answers):
            naturalness = world.naturalness(answer.prompt, answer.text, answer.finished)
            row[name] = (answer.text, naturalness)
    results["side_by_side"] = rows
    results["probability"] = {}
    for text in (story["said"], story["corrected"]):
        results["probability"][text] = {
            name: float(np.exp(response_logprob(models[name], story["prompt"], text)))
            for name in ("pretrained", "sft", "ppo")
        }
    results["tally"] = {name: tally(world, models[name], seed) for name in ("pretrained", "ppo")}
    return results


def summarise(world, lang, seed, models, histories, results):
    """-> the dict of summary.json, without seconds and memory."""
    held_out = histories["held_out"]
    accuracy = reward_accuracy(models["reward_model"], held_out, world)
    history = histories["ppo"]
    ppo = dict(results["ppo"])
    ppo["kl_exact"] = results["kl_exact"]
    ppo["clip_fraction"] = float(np.mean([row["clip_fraction"] for row in history]))
    ppo["distinct_ratio"] = ppo["distinct"] / results["sft"]["distinct"]
    ppo["score"] = history[-1]["score"]
    return {
        "lang": lang,
        "seed": seed,
        "seconds": {},
        "peak_memory_mb": 0.0,
        "pretrained": results["pretrained"],
        "sft": results["sft"],
        "ppo": ppo,
        "reward_model": {
            "rankings": len(histories["rankings"]),
            "accuracy_held_out": accuracy["gold"],
            "accuracy_labels": accuracy["labels"],
            "ceiling_labels": accuracy["ceiling"],
            "rounds": histories["accuracies"],
        },
        "story": tell_story(world, models, histories, results),
        "probability": results["probability"],
        "side_by_side": results["side_by_side"],
    }


def tell_story(world, models, histories, results):
    """What the pipeline picture shows besides the figures of the summary."""
    prompt = world.story["prompt"]
    rankings = histories["rankings"]
    shown = next((ranking for ranking in rankings if ranking.prompt == prompt), rankings[0])
    before = [text for text, _, naturalness in results["tally"]["pretrained"] if naturalness < 1]
    if world.story["said"] in before:  # of what he did say, the sentence that the story tells of
        before = [world.story["said"]]
    return {
        "prompt": prompt,
        "before": (before or [results["tally"]["pretrained"][0][0]])[0],
        "after": results["tally"]["ppo"][0][0],
        "answers": shown.responses,
        "ranks": shown.ranks,
        "documents": models["pretrained"].extra["documents"],
        "demonstrations": DEMONSTRATIONS,
        "parameters": int(models["ppo"].params.flat.size),
        "iterations": len(histories["ppo"]),
    }


def without_nan(value):
    """The same nest of dicts and lists with None for NaN, which JSON does not know."""
    if isinstance(value, dict):
        return {name: without_nan(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and value != value else value


def stage_seconds(laps):
    """{stage: seconds} rounded, with their sum as "total"."""
    seconds = {name: round(value, 2) for name, value in laps.items()}
    seconds["total"] = round(sum(laps.values()), 2)
    return seconds


def peak_memory_mb():
    """Most memory this process has held, in MB.  Windows has no such figure: 0."""
    try:
        import resource
    except ImportError:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def tally(world, model, seed):
    """Ask the story's question ASKED times -> list of (answer, times, naturalness)."""
    prompt = world.story["prompt"]
    answers = ask(model, [prompt] * ASKED, stage_rng(seed, "before and after"))
    finished = {answer.text: answer.finished for answer in answers}
    counts = Counter(answer.text for answer in answers).most_common()
    return [(text, n, world.naturalness(prompt, text, finished[text])) for text, n in counts]


def demonstration_loss(pretrained, sft, demonstrations):
    """Loss on the responses of the demonstrations, before and after SFT, in nats per character."""
    examples = []
    for prompt, response in demonstrations:
        size = sft.config.block_size
        examples.append(encode_example(sft.tokenizer, prompt, response, size))
    before = evaluate_loss(pretrained.params, pretrained.config, examples, response_only=True)
    return before, evaluate_loss(sft.params, sft.config, examples, response_only=True)
