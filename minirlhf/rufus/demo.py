"""The whole story on the terminal: Rufus before, the three steps, Rufus after.

`python -m minirlhf demo` runs this.  The work is done in pipeline.py and measured in summary.py;
here it is told.  Everything printed is measured in the run that prints it.
"""

import json
import time
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from minirlhf.data import read_demonstrations, write_preferences, write_rankings, write_text
from minirlhf.messages import Messages, load_messages
from minirlhf.rufus import pipeline, summary
from minirlhf.rufus.answers import score_texts
from minirlhf.rufus.measure import reward_accuracy
from minirlhf.rufus.pictures import draw_pictures
from minirlhf.rufus.world import World, data_folder

DEMO_PPO = replace(pipeline.PPO, threads=2)  # sooner, and the same bytes as with one


class Clock:
    """The seconds of each stage, kept in a file, so that those of a resumed stage add up."""

    def __init__(self, path, resume):
        self.path = path
        self.seconds = {}
        if resume and path.exists():
            self.seconds = json.loads(path.read_text(encoding="utf-8"))
        self.started = time.perf_counter()

    def lap(self, stage):
        """The time since the last lap belongs to `stage`."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self.started
        self.started = now
        write_text(self.path, json.dumps(self.seconds))

    def totals(self):
        """-> {stage: seconds} rounded, with their sum as "total"."""
        rounded = {stage: round(value, 2) for stage, value in self.seconds.items()}
        return rounded | {"total": round(sum(self.seconds.values()), 2)}


class Demo(NamedTuple):
    """What every part of the demo needs."""

    world: World
    say: Messages
    run: pipeline.Run
    clock: Clock


def run_demo(lang, seed, out, progress, resume=False, pretrain=pipeline.PRETRAIN, ppo=DEMO_PPO):
    """Run and tell everything -> the dict of out/summary.json.

    progress(title) -> the iterator wrapper of the training loops.  resume: stages whose files are
    in `out` are taken from there, an interrupted one goes on where it was.
    """
    demo = Demo(world=World.load(lang), say=load_messages(lang),
                run=pipeline.Run(out=out, seed=seed, progress=progress, resume=resume),
                clock=Clock(out / "seconds.json", resume))
    try:
        models, histories = train_everything(demo, data_folder(lang), pretrain, ppo)
    except KeyboardInterrupt:
        demo.clock.lap("interrupted")
        raise
    figures = summary.summarise(demo.world, lang, seed, models, histories)
    tell_after(demo, models["ppo"], figures)
    demo.clock.lap("evaluate")
    figures["seconds"] = demo.clock.totals()  # the pipeline picture shows them
    try:
        draw_pictures(demo.world, models, histories, figures, out / "pictures")
    except ImportError:  # NumPy alone is enough for everything else
        tell(demo.say("\nNo pictures: matplotlib is missing (pip install matplotlib)."))
    demo.clock.lap("pictures")
    figures["seconds"] = demo.clock.totals()
    figures["peak_memory_mb"] = round(summary.peak_memory_mb(), 1)
    text = json.dumps(summary.without_nan(figures), ensure_ascii=False, indent=2)
    write_text(out / "summary.json", text + "\n")
    tell_end(figures, out, demo.say)
    return figures


def tell(text):
    """Print at once, whoever reads it."""
    print(text, flush=True)


# ---- the three steps ------------------------------------------------------------------------


def train_everything(demo, folder, pretrain=pipeline.PRETRAIN, ppo=DEMO_PPO):
    """All stages in order -> {name: Model}, {"pretrain", "reward", "ppo": history rows, ..}.

    folder: where the language's corpus.txt and sft.jsonl are.
    """
    world, say, run, clock = demo
    tell(say("\nRufus, seed {seed}. Everything is written to {out}.", seed=run.seed, out=run.out))
    tell(say("\n== Step 1: A language model =="))
    pretrained, history = pipeline.run_pretrain(folder / "corpus.txt", run, pretrain)
    clock.lap("pretrain")
    tell(say("Pretrained on the corpus: {loss:.3f} nats per character on texts it has not read\n"
             "(knowing only letter counts: {unigram:.3f}; one letter back: {bigram:.3f}).",
             loss=history[-1]["held_out_loss"], **pretrained.extra["corpus_entropy"]))
    tell_who(demo, pretrained)
    demonstrations = read_demonstrations(folder / "sft.jsonl")[:pipeline.DEMONSTRATIONS]
    sft, _ = pipeline.run_sft(pretrained, demonstrations, run)
    clock.lap("sft")
    before, after = summary.demonstration_loss(pretrained, sft, demonstrations)
    tell(say("Fine-tuned on {n} written corrections, {steps} steps: loss on them "
             "{before:.3f} -> {after:.3f} nats per character.", n=len(demonstrations),
             steps=pipeline.SFT.steps, before=before, after=after))

    speakers = {"pretrained": pretrained, "sft": sft}
    held_out = pipeline.run_rank(world, speakers, run, pipeline.HELD_OUT_RANKINGS, "held_out")
    reward_model, practised, rankings, accuracies = None, None, [], []
    for number in range(1, pipeline.ROUNDS + 1):
        turn = run._replace(number=number, ending=round_ending(number))
        tell(say("\n== Step 2: A reward model, round {number} of {rounds} ==",
                 number=number, rounds=pipeline.ROUNDS))
        new = pipeline.run_rank(world, speakers, turn,
                                pipeline.RANKINGS if number == 1 else pipeline.RANKINGS_AGAIN)
        rng = pipeline.stage_rng(run.seed, "rank", 100 + number)
        again = [rankings[i] for i in rng.permutation(len(rankings))[: len(new)]]
        rankings = rankings + new
        clock.lap("rank")
        settings = pipeline.REWARD if number == 1 else pipeline.REWARD_AGAIN
        reward_model, _ = pipeline.run_reward(sft, new + again, turn, settings, reward_model)
        clock.lap("reward")
        accuracy = reward_accuracy(reward_model, held_out, world)
        accuracies.append({"rankings": len(rankings), "accuracy_held_out": accuracy["gold"]})
        tell_rankings(demo, new, accuracy, reward_model)

        tell(say("\n== Step 3: PPO, round {number} of {rounds} ==", number=number,
                 rounds=pipeline.ROUNDS))
        questions = world.questions("train")
        policy, value_model, history_of_ppo = pipeline.run_ppo(
            sft, reward_model, questions, turn, ppo, world, practised)
        practised = policy, value_model
        speakers = {f"ppo_{number}": policy, "sft": sft}
        clock.lap("ppo")
        tell_ppo(history_of_ppo, say)
    write_rankings(run.out / "rankings.jsonl", rankings)
    write_preferences(run.out / "preferences.jsonl", rankings)
    models = {"pretrained": pretrained, "sft": sft, "reward_model": reward_model,
              "value_model": value_model, "ppo": policy}
    histories = {"pretrain": history, "reward": all_rounds(run.out, "reward_model", "step"),
                 "ppo": all_rounds(run.out, "ppo", "iteration"), "rankings": rankings,
                 "held_out": held_out, "accuracies": accuracies}
    return models, histories


def round_ending(number):
    """-> what the names of a round's files end in: "_1", "_2", and "" in the last round."""
    return "" if number == pipeline.ROUNDS else f"_{number}"


def all_rounds(out, name, counter):
    """The histories of all rounds, out/NAME_1.jsonl .. out/NAME.jsonl, one after the other.

    counter: the field that counts the rows ("step", "iteration"); it goes on counting.
    """
    rows = []
    for number in range(1, pipeline.ROUNDS + 1):
        for row in pipeline.read_log(out / f"{name}{round_ending(number)}.jsonl"):
            rows.append(row | {counter: len(rows), "round": number})
    return rows


# ---- telling --------------------------------------------------------------------------------


def tell_who(demo, model):
    """What Rufus says when he is asked who he is, with corrections."""
    world, say, run, _ = demo
    prompt = world.story["prompt"]
    tell(say("\nRufus is asked `{prompt}` {n} times and says:", prompt=prompt, n=summary.ASKED))
    for text, n, naturalness in summary.tally(world, model, run.seed):
        reason = world.reason(prompt, text)
        note = f"-> {world.correct(prompt, text)}   ({reason})" if naturalness < 1 else ""
        print(f"  {n:3d} x  {text:<30} {note}")


def tell_rankings(demo, rankings, accuracy, reward_model):
    """One ranking with the scores it led to, and how good the reward model is."""
    say, shown = demo.say, summary.shown_ranking(demo.world, rankings)
    tell(say("`{prompt}` The simulated annotator {annotator} ranks {n} answers:",
             prompt=shown.prompt, annotator=shown.annotator, n=len(shown.responses)))
    scores = score_texts(reward_model, shown.prompt, shown.responses)
    for i in np.argsort(shown.ranks, kind="stable"):
        tell(say("  {rank}.  {text:<30} ({model}; reward model {score:+.2f})", rank=shown.ranks[i],
                 text=shown.responses[i], model=shown.models[i], score=scores[i]))
    tell(say(
        "{n} new rankings by simulated annotators. The reward model orders pairs of answers to "
        "questions\nit has never seen like the gold judge in {gold:.1%}, like the noisy labels in "
        "{labels:.1%} (the gold judge itself: {ceiling:.1%}).", n=len(rankings), **accuracy))


def tell_ppo(rows, say):
    """Every tenth iteration of PPO as a table."""
    tell(say("iteration   score  natural*  KL exact / est.  entropy  clipped  expl.var  length"))
    shown = sorted({0, len(rows) - 1} | set(range(9, len(rows), 10)))
    for i in shown:
        r = rows[i]
        print(f"{r['iteration'] + 1:9d}  {r['score']:+6.2f}  {r['natural']:7.1%}"
              f"  {r['kl_exact']:8.2f} / {r['kl_estimate']:5.2f}  {r['entropy']:7.3f}"
              f"  {r['clip_fraction']:7.1%}  {r['explained_variance']:8.2f}"
              f"  {r['response_length']:6.1f}")
    tell(say("* by the gold judge, for your eyes only: PPO does not see it."))


def tell_after(demo, policy, figures):
    """The three models side by side, and what the gold judge counts."""
    say = demo.say
    tell(say("\n== After: the same questions, the same random numbers =="))
    for row in figures["side_by_side"]:
        print(f"  {row['prompt']}")
        for name in summary.SPEAKERS:
            text, naturalness = row[name]
            print(f"      {name:<11} {'+' if naturalness == 1 else '-'} {text}")
    tell_who(demo, policy)
    tell(say("\nProbability of a whole sentence:  pretrained      SFT      PPO"))
    for text, p in figures["probability"].items():
        cells = "".join(f"{p[name]:9.2%}" for name in summary.SPEAKERS)
        print(f"  {text:<30} {cells}")
    tell(say(
        "\nNatural answers    training questions   held-out ones   of the natural: true   kinds"))
    for name in summary.SPEAKERS:
        r = figures[name]
        print(f"  {name:<16} {r['natural_train']:17.1%} {r['natural_held_out']:15.1%}"
              f" {r['truthful']:22.1%} {r['distinct']:7.1f}")


def tell_end(figures, out, say):
    """What it was worth, and where to go on."""
    tell(say(
        "\nRufus sounds natural, but he does not reason: he says what is probable. Of his natural "
        "answers {after:.0%} are true,\nbefore PPO it was {before:.0%}: people ranked how he "
        "sounds, and nobody asked for truth.\n"
        "{seconds:.0f} s. Pictures, tables and checkpoints are in {out}.\n"
        "Talk to him: python -m minirlhf chat {model}", after=figures["ppo"]["truthful"],
        before=figures["sft"]["truthful"], seconds=figures["seconds"]["total"], out=out,
        model=out / "ppo.npz"))
