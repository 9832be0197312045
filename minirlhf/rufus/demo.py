"""The whole story on the terminal: Rufus before, the three steps, Rufus after.

`python -m minirlhf demo` runs this.  The work is done in pipeline.py; here it is told, measured and
drawn.  Everything printed is measured in the run that prints it.
"""

import json
import time
from dataclasses import replace

import numpy as np

from minirlhf import plots
from minirlhf.checkpoint import load_model
from minirlhf.data import (
    encode_example,
    read_demonstrations,
    read_jsonl,
    read_rankings,
    write_preferences,
    write_rankings,
    write_text,
)
from minirlhf.gpt import gpt_forward
from minirlhf.rufus.answers import score_texts
from minirlhf.rufus.measure import reward_accuracy
from minirlhf.rufus.pipeline import (
    DEMONSTRATIONS,
    HELD_OUT_RANKINGS,
    LANGUAGE_MODEL,
    PPO,
    PRETRAIN,
    RANKINGS,
    RANKINGS_AGAIN,
    REWARD,
    REWARD_AGAIN,
    REWARD_MODEL,
    ROUNDS,
    SFT,
    VALUE_MODEL,
    answer_in_numbers,
    run_ppo,
    run_pretrain,
    run_rank,
    run_reward,
    run_sft,
    stage_rng,
)
from minirlhf.rufus.pipeline_picture import plot_pipeline
from minirlhf.rufus.summary import (
    ASKED,
    demonstration_loss,
    measure,
    peak_memory_mb,
    stage_seconds,
    summarise,
    tally,
    without_nan,
)
from minirlhf.rufus.world import World, data_folder

DEMO_PPO = replace(PPO, threads=2)  # sooner, and the same bytes as with one


class Teller:
    """Prints in the reader's language, and keeps the seconds of each stage in a file."""

    def __init__(self, lang, out, resume):
        self.lang = lang
        self.path = out / "seconds.json"
        self.seconds = {}
        if resume and self.path.exists():
            self.seconds = json.loads(self.path.read_text(encoding="utf-8"))
        self.started = time.perf_counter()

    def say(self, english, chinese):
        """Print one of the two texts."""
        print(chinese if self.lang == "zh" else english, flush=True)

    def lap(self, stage):
        """The time since the last lap belongs to `stage`.  A resumed stage adds up."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self.started
        self.started = now
        write_text(self.path, json.dumps(self.seconds))


def run_demo(lang, seed, out, progress, resume=False, pretrain=PRETRAIN, ppo=DEMO_PPO):
    """Run and tell everything -> the dict of out/summary.json.

    progress(title) -> the iterator wrapper of the training loops.  resume: stages whose files are
    in `out` are taken from there, an interrupted one goes on where it was.
    """
    teller = Teller(lang, out, resume)
    world = World.load(lang)
    try:
        models, histories = train_everything(
            world, lang, seed, out, progress, resume, teller, pretrain, ppo
        )
    except KeyboardInterrupt:
        teller.lap("interrupted")
        raise
    results = measure(world, models, seed, out, teller)
    summary = summarise(world, lang, seed, models, histories, results)
    tell_after(world, models, results, seed, teller)
    teller.lap("evaluate")
    summary["seconds"] = stage_seconds(teller.seconds)  # the pipeline picture shows them
    draw(world, models, histories, results, summary, lang, seed, out)
    teller.lap("pictures")
    summary["seconds"] = stage_seconds(teller.seconds)
    summary["peak_memory_mb"] = round(peak_memory_mb(), 1)
    text = json.dumps(without_nan(summary), ensure_ascii=False, indent=2)
    write_text(out / "summary.json", text + "\n")
    tell_end(summary, out, teller)
    return summary


# ---- the three steps ------------------------------------------------------------------------


def train_everything(world, lang, seed, out, progress, resume, teller, pretrain_settings, ppo):
    """All stages in order -> {name: Model}, {"pretrain", "reward", "ppo": history rows}."""
    say = teller.say
    say(f"\nRufus, seed {seed}. Everything is written to {out}.",
        f"\nRufus，随机种子 {seed}。所有结果写入 {out}。")
    title("1", "A language model", "语言模型", teller)
    pretrained = done(resume, out / "pretrained.npz", LANGUAGE_MODEL)
    if pretrained is None:
        corpus = data_folder(lang) / "corpus.txt"
        wrap = progress("pretrain")
        pretrained, _ = run_pretrain(corpus, out, seed, pretrain_settings, progress=wrap)
    history = read_log(out / "pretrained.jsonl")
    entropy = pretrained.extra["corpus_entropy"]
    teller.lap("pretrain")
    say(f"Pretrained on the corpus: {history[-1]['held_out_loss']:.3f} nats per character on texts "
        f"it has not read\n(knowing only letter counts: {entropy['unigram']:.3f}; "
        f"one letter back: {entropy['bigram']:.3f}).",
        f"在语料上预训练：未读过的文本上每字 {history[-1]['held_out_loss']:.3f} nat"
        f"（只知道字频：{entropy['unigram']:.3f}；只看前一个字：{entropy['bigram']:.3f}）。")
    tell_who(world, pretrained, seed, teller)
    demonstrations = read_demonstrations(data_folder(lang) / "sft.jsonl")[:DEMONSTRATIONS]
    sft = done(resume, out / "sft.npz", LANGUAGE_MODEL)
    if sft is None:
        sft, _ = run_sft(pretrained, demonstrations, out, seed, progress=progress("sft"))
    teller.lap("sft")
    before, after = demonstration_loss(pretrained, sft, demonstrations)
    say(f"Fine-tuned on {len(demonstrations)} written corrections, {SFT.steps} steps: loss on them "
        f"{before:.3f} -> {after:.3f} nats per character.",
        f"用 {len(demonstrations)} 条人写的纠正微调 {SFT.steps} 步：这些回答的损失 "
        f"{before:.3f} -> {after:.3f} nat/字。")

    versions = {"pretrained": pretrained, "sft": sft}
    held_out = rankings_of(world, versions, out, seed, HELD_OUT_RANKINGS, "held_out", 0, resume)
    policy, value_model, reward_model, rankings, accuracies = sft, None, None, [], []
    for number in range(1, ROUNDS + 1):
        ending = "" if number == ROUNDS else f"_{number}"  # files of the last round have no number
        title("2", "A reward model", "奖励模型", teller, number)
        if number > 1:
            versions = {f"ppo_{number - 1}": policy, "sft": sft}
        count = RANKINGS if number == 1 else RANKINGS_AGAIN
        new = rankings_of(world, versions, out, seed, count, "train", number, resume)
        rng = stage_rng(seed, "rank", 100 + number)
        again = [rankings[i] for i in rng.permutation(len(rankings))[: len(new)]]
        rankings = rankings + new
        teller.lap("rank")
        last, name = reward_model, f"reward_model{ending}"
        reward_model = done(resume, out / f"{name}.npz", REWARD_MODEL)
        if reward_model is None:
            settings = REWARD if number == 1 else REWARD_AGAIN
            reward_model, _ = run_reward(
                sft, new + again, out, seed, settings, progress("reward"),
                number=number, previous=last, name=name,
            )
        teller.lap("reward")
        accuracy = reward_accuracy(reward_model, held_out, world)
        accuracies.append({"rankings": len(rankings), "accuracy_held_out": accuracy["gold"]})
        tell_rankings(world, new, accuracy, reward_model, teller)

        title("3", "PPO", "PPO", teller, number)
        last, last_values, name = policy, value_model, f"ppo{ending}"
        policy = done(resume, out / f"{name}.npz", LANGUAGE_MODEL)
        value_model = done(resume, out / f"{name}.value_model.npz", VALUE_MODEL)
        if policy is None or value_model is None:
            policy, value_model, _ = run_ppo(
                sft, reward_model, world.questions("train"), out, seed, ppo, world,
                progress("ppo"), number, last, last_values, name,
            )
        teller.lap("ppo")
        tell_ppo(read_log(out / f"{name}.jsonl"), teller)
    write_rankings(out / "rankings.jsonl", rankings)
    write_preferences(out / "preferences.jsonl", rankings)
    models = {
        "pretrained": pretrained, "sft": sft, "reward_model": reward_model,
        "value_model": value_model, "ppo": policy,
    }
    histories = {
        "pretrain": history,
        "reward": all_rounds(out, "reward_model", "step"),
        "ppo": all_rounds(out, "ppo", "iteration"),
        "rankings": rankings,
        "held_out": held_out,
        "accuracies": accuracies,
    }
    return models, histories


def all_rounds(out, name, counter):
    """The histories of all rounds, out/NAME_1.jsonl .. out/NAME.jsonl, one after the other.

    counter: the field that counts the rows ("step", "iteration"); it goes on counting.
    """
    rows = []
    for number in range(1, ROUNDS + 1):
        ending = "" if number == ROUNDS else f"_{number}"
        for row in read_log(out / f"{name}{ending}.jsonl"):
            rows.append(row | {counter: len(rows), "round": number})
    return rows


def done(resume, path, kind):
    """The model of a finished stage, if we resume and it is there; else None."""
    return load_model(path, kind) if resume and path.exists() else None


def rankings_of(world, models, out, seed, count, split, number, resume):
    """run_rank, or its file if we resume."""
    name = f"rankings_{number}" if split == "train" else "rankings_held_out"
    if resume and (out / f"{name}.jsonl").exists():
        return read_rankings(out / f"{name}.jsonl")
    return run_rank(world, models, out, seed, count, split, number=number)


def read_log(path):
    """JSONL file -> list of dicts."""
    return [row for _, row in read_jsonl(path, {})]


# ---- telling --------------------------------------------------------------------------------


def title(step, english, chinese, teller, number=0):
    """A headline; number: which round, 0 for none."""
    turn, turn_zh = "", ""
    if number:
        turn, turn_zh = f", round {number} of {ROUNDS}", f"（第 {number} 轮，共 {ROUNDS} 轮）"
    teller.say(f"\n== Step {step}: {english}{turn} ==", f"\n== 第 {step} 步：{chinese}{turn_zh} ==")


def tell_who(world, model, seed, teller):
    """What Rufus says when he is asked who he is, with corrections."""
    prompt = world.story["prompt"]
    teller.say(f"\nRufus is asked `{prompt}` {ASKED} times and says:",
               f"\n问 Rufus「{prompt}」{ASKED} 次，他说：")
    for text, n, naturalness in tally(world, model, seed):
        reason = world.reason(prompt, text)
        note = f"-> {world.correct(prompt, text)}   ({reason})" if naturalness < 1 else ""
        print(f"  {n:3d} x  {text:<30} {note}")


def tell_rankings(world, rankings, accuracy, reward_model, teller):
    """One ranking with the scores it led to, and how good the reward model is."""
    prompt = world.story["prompt"]
    shown = next((r for r in rankings if r.prompt == prompt), rankings[0])
    who = (shown.annotator, len(shown.responses))
    teller.say(f"`{shown.prompt}` The simulated annotator {who[0]} ranks {who[1]} answers:",
               f"「{shown.prompt}」模拟标注员 {who[0]} 给 {who[1]} 个回答排序：")
    scores = score_texts(reward_model, shown.prompt, shown.responses)
    for i in np.argsort(shown.ranks, kind="stable"):
        text, model = shown.responses[i], shown.models[i]
        teller.say(f"  {shown.ranks[i]}.  {text:<30} ({model}; reward model {scores[i]:+.2f})",
                   f"  {shown.ranks[i]}.  {text:<20} （{model}；奖励模型 {scores[i]:+.2f}）")
    teller.say(
        f"{len(rankings)} new rankings by simulated annotators. The reward model orders pairs "
        f"of answers to questions\nit has never seen like the gold judge in "
        f"{accuracy['gold']:.1%}, like the noisy labels in {accuracy['labels']:.1%} "
        f"(the gold judge itself: {accuracy['ceiling']:.1%}).",
        f"模拟标注员新做了 {len(rankings)} 个排序。对从未见过的问题，奖励模型与金标准一致 "
        f"{accuracy['gold']:.1%}，\n与有噪声的标注一致 {accuracy['labels']:.1%}"
        f"（金标准本身：{accuracy['ceiling']:.1%}）。")


def tell_ppo(rows, teller):
    """Every tenth iteration of PPO as a table."""
    teller.say("iteration   score  natural*  KL exact / est.  entropy  clipped  expl.var  length",
               "迭代        得分    自然*    KL 精确 / 估计   熵       裁剪     解释方差  长度")
    shown = sorted({0, len(rows) - 1} | set(range(9, len(rows), 10)))
    for i in shown:
        r = rows[i]
        print(f"{r['iteration'] + 1:9d}  {r['score']:+6.2f}  {r['natural']:7.1%}"
              f"  {r['kl_exact']:8.2f} / {r['kl_estimate']:5.2f}  {r['entropy']:7.3f}"
              f"  {r['clip_fraction']:7.1%}  {r['explained_variance']:8.2f}"
              f"  {r['response_length']:6.1f}")
    teller.say("* by the gold judge, for your eyes only: PPO does not see it.",
               "* 由金标准判断，仅供观察：PPO 看不到它。")


def tell_after(world, models, results, seed, teller):
    """The three models side by side, and what the gold judge counts."""
    say = teller.say
    say("\n== After: the same questions, the same random numbers ==",
        "\n== 之后：同样的问题，同样的随机数 ==")
    for row in results["side_by_side"]:
        print(f"  {row['prompt']}")
        for name in ("pretrained", "sft", "ppo"):
            mark = "+" if row[name][1] == 1 else "-"
            print(f"      {name:<11} {mark} {row[name][0]}")
    tell_who(world, models["ppo"], seed, teller)
    story = world.story
    say("\nProbability of a whole sentence:  pretrained      SFT      PPO",
        "\n整句话的概率：                    预训练          SFT      PPO")
    for text in (story["said"], story["corrected"]):
        p = results["probability"][text]
        cells = "".join(f"{p[name]:9.2%}" for name in ("pretrained", "sft", "ppo"))
        print(f"  {text:<30} {cells}")
    say("\nNatural answers    training questions   held-out ones   of the natural: true   kinds",
        "\n自然的回答         训练问题             未见过的问题    自然而属实             每题种类")
    for name in ("pretrained", "sft", "ppo"):
        r = results[name]
        print(f"  {name:<16} {r['natural_train']:17.1%} {r['natural_held_out']:15.1%}"
              f" {r['truthful']:22.1%} {r['distinct']:7.1f}")


def tell_end(summary, out, teller):
    """What it was worth, and where to go on."""
    ppo, sft, total = summary["ppo"], summary["sft"], summary["seconds"]["total"]
    teller.say(
        f"\nRufus sounds natural, but he does not reason: he says what is probable. Of his natural "
        f"answers {ppo['truthful']:.0%} are true,\nbefore PPO it was {sft['truthful']:.0%}: people "
        f"ranked how he sounds, so that is what he learned.\n"
        f"{total:.0f} s. Pictures, tables and checkpoints are in {out}.\n"
        f"Talk to him: python -m minirlhf chat {out / 'ppo.npz'}",
        f"\nRufus 说得自然了，但他并不推理，只说概率大的话。"
        f"自然的回答中 {ppo['truthful']:.0%} 属实，PPO 之前是 {sft['truthful']:.0%}：\n"
        f"人们排序的是听起来如何，他学到的也就是这个。\n"
        f"用时 {total:.0f} 秒。图片、表格和检查点在 {out}。\n"
        f"和他聊聊：python -m minirlhf chat {out / 'ppo.npz'}")


# ---- drawing --------------------------------------------------------------------------------


def draw(world, models, histories, results, summary, lang, seed, out):
    """All pictures into out/pictures."""
    folder = out / "pictures"
    folder.mkdir(exist_ok=True)
    naturalness = {}
    for name in ("pretrained", "sft", "ppo"):
        r = results[name]
        naturalness[name] = {"train": [r["natural_train"]], "held_out": [r["natural_held_out"]]}
    strip = answer_in_numbers(
        models["ppo"], models["sft"], models["reward_model"], models["value_model"],
        world.story["prompt"], histories["ppo"][-1]["kl_coef"], stage_rng(seed, "evaluate", 2),
    )
    prompt, text = world.story["prompt"], world.story["corrected"]
    example = encode_example(
        models["ppo"].tokenizer, prompt, text, models["ppo"].config.block_size
    )
    tokens = np.array([example.ids[:-1]])  # (1, T)
    _, cache = gpt_forward(models["ppo"].params, models["ppo"].config, tokens)
    probs = np.stack([block.attention.probs[0] for block in cache.blocks])  # (L, H, T, T)
    labels = ["^"] + list(prompt + "\n" + text)
    held_out = [ranking for ranking in histories["held_out"] if max(ranking.ranks) > 1]
    scores, gold = [], []
    for ranking in held_out:
        scores.append(score_texts(models["reward_model"], ranking.prompt, ranking.responses))
        gold.append([world.naturalness(ranking.prompt, text) for text in ranking.responses])
    reward = {
        "scores": np.concatenate(scores),
        "naturalness": np.concatenate(gold),
        "accuracy_gold": summary["reward_model"]["accuracy_held_out"],
        "accuracy_labels": summary["reward_model"]["accuracy_labels"],
        "ceiling_labels": summary["reward_model"]["ceiling_labels"],
        "history": histories["reward"],
    }
    entropy = models["pretrained"].extra["corpus_entropy"]
    figures = {
        "pipeline": plot_pipeline(summary, lang),
        "language_model": plots.plot_lm_loss(histories["pretrain"], entropy, lang),
        "reward_model": plots.plot_reward_model(reward, lang),
        "ppo_dashboard": plots.plot_dashboard([histories["ppo"]], lang),
        "naturalness": plots.plot_naturalness(naturalness, lang),
        "attention": plots.plot_attention(probs, labels, lang),
        "token_strip": plots.plot_token_strip(strip, lang),
    }
    for name, figure in figures.items():
        plots.save_figure(figure, folder / f"{name}.png")
