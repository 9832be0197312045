"""The pictures of one run of the demo; and of the same run on several seeds."""

import numpy as np

from minirlhf import plots
from minirlhf.gpt import gpt_forward
from minirlhf.messages import load_messages
from minirlhf.rufus.answers import encode_text, score_texts
from minirlhf.rufus.pipeline import answer_in_numbers, stage_rng
from minirlhf.rufus.pipeline_picture import plot_pipeline


def plot_naturalness(results, lang="en"):
    """Share of natural answers; results[model][split] lists one share per seed."""
    say = load_messages(lang)
    models = [name for name in ("pretrained", "sft", "ppo") if name in results]
    splits = (("train", say("training questions"), plots.BLUE, "o", -0.1),
              ("held_out", say("held-out questions"), plots.RED, "s", 0.1))
    medians = {(name, key): np.median(results[name][key]) for name in models for key, *_ in splits}
    first, final = models[0], models[-1]
    shares = {key: plots.percent(medians[first, key]) for key, *_ in splits}
    shares |= {f"{key}_after": plots.percent(medians[final, key]) for key, *_ in splits}
    caption = say(
        "Seeds: {seeds}, one mark each; the short bar is their median. On questions never used "
        "for feedback, {held_out} natural answers become {held_out_after}; on the training "
        "questions {train} become {train_after}.", seeds=len(results[first]["train"]), **shares)
    names = {"pretrained": say("pretrained"), "sft": say("SFT"), "ppo": say("PPO")}
    with plots.style():
        fig = plots.card(3.5, say("How many answers sound natural?"), caption)
        ax = fig.subplots()
        plots.frame(ax, "", "", say("natural answers"), (0, 1.04), True)
        for key, _, colour, marker, shift in splits:
            table = np.array([results[name][key] for name in models], dtype=float)  # (models, S)
            spread = shift + np.linspace(-0.05, 0.05, table.shape[1]) * (table.shape[1] > 1)  # (S,)
            places = np.arange(len(models))[:, None] + spread                       # (models, S)
            ax.plot(places, table, color=colour, linewidth=0.7, alpha=0.4)
            ax.scatter(places, table, s=30, color=colour, marker=marker, alpha=0.75, linewidths=0)
            for place, name in enumerate(models):
                height, side = medians[name, key], np.sign(shift)
                ax.plot([place + shift - 0.08, place + shift + 0.08], [height] * 2, color=plots.INK)
                ax.annotate(plots.percent(height), (place + shift + 0.1 * side, height),
                            (3 * side, 0), textcoords="offset points", color=colour, va="center",
                            bbox={"facecolor": plots.CARD, "edgecolor": "none", "pad": 1},
                            ha="left" if side > 0 else "right")
        ax.set_xlim(-0.5, len(models) - 0.5)
        ax.set_xticks(range(len(models)), [names[name] for name in models], color=plots.INK,
                      size=9.5)
        ends = [(medians[final, key], name, colour) for key, name, colour, *_ in splits]
        plots.label_ends(ax, ends, 9)
    return fig


def draw_pictures(world, models, histories, summary, folder):
    """All pictures of the demo, as PNG files in the folder.

    models and histories as train_everything gives them, summary as summarise does.
    """
    lang, policy = summary["lang"], models["ppo"]
    naturalness = {name: {"train": [summary[name]["natural_train"]],
                          "held_out": [summary[name]["natural_held_out"]]}
                   for name in ("pretrained", "sft", "ppo")}
    strip = answer_in_numbers(policy, models["sft"], models["reward_model"], models["value_model"],
                              world.story["prompt"], histories["ppo"][-1]["kl_coef"],
                              stage_rng(summary["seed"], "evaluate", 2))
    reward = reward_results(world, models["reward_model"], histories, summary["reward_model"])
    probs, labels = attention(policy, world.story["prompt"], world.story["corrected"])
    entropy = models["pretrained"].extra["corpus_entropy"]
    figures = {"pipeline": plot_pipeline(summary, lang),
               "language_model": plots.plot_lm_loss(histories["pretrain"], entropy, lang),
               "reward_model": plots.plot_reward_model(reward, lang),
               "ppo_dashboard": plots.plot_dashboard([histories["ppo"]], lang),
               "naturalness": plot_naturalness(naturalness, lang),
               "attention": plots.plot_attention(probs, labels, lang),
               "token_strip": plots.plot_token_strip(strip, lang)}
    folder.mkdir(exist_ok=True)
    for name, figure in figures.items():
        plots.save_figure(figure, folder / f"{name}.png")


def attention(model, prompt, response):
    """What each head looks at in a whole text -> probs (L, H, T, T), T labels."""
    tokens = np.array([encode_text(model, prompt, response).ids[:-1]])  # (1, T)
    _, cache = gpt_forward(model.params, model.config, tokens)
    probs = np.stack([block.attention.probs[0] for block in cache.blocks])  # (L, H, T, T)
    return probs, ["^"] + list(prompt + "\n" + response)


def reward_results(world, reward_model, histories, figures):
    """The reward model on the held-out rankings -> what plot_reward_model draws."""
    scores, gold = [], []
    for ranking in histories["held_out"]:
        if max(ranking.ranks) > 1:
            scores.append(score_texts(reward_model, ranking.prompt, ranking.responses))
            gold.append([world.naturalness(ranking.prompt, text) for text in ranking.responses])
    return {"scores": np.concatenate(scores), "naturalness": np.concatenate(gold),
            "accuracy_gold": figures["accuracy_held_out"],
            "accuracy_labels": figures["accuracy_labels"],
            "ceiling_labels": figures["ceiling_labels"], "history": histories["reward"]}
