"""The pictures of one run of the demo, and of the same run on several seeds."""

import numpy as np

from minirlhf.messages import load_messages
from minirlhf.plots import BLUE, CARD, INK, RED, card, frame, label_ends, percent, style


def plot_naturalness(results, lang="en"):
    """Share of natural answers; results[model][split] lists one share per seed."""
    say = load_messages(lang)
    models = [name for name in ("pretrained", "sft", "ppo") if name in results]
    splits = (("train", say("training questions"), BLUE, "o", -0.1),
              ("held_out", say("held-out questions"), RED, "s", 0.1))
    medians = {(name, key): np.median(results[name][key]) for name in models for key, *_ in splits}
    first, final = models[0], models[-1]
    caption = say(
        "Seeds: {seeds}, one mark each; the short bar is their median. On questions never used "
        "for feedback, {held_out} natural answers become {held_out_after}; on the training "
        "questions {train} become {train_after}.",
        seeds=len(results[first]["train"]), held_out=percent(medians[first, "held_out"]),
        held_out_after=percent(medians[final, "held_out"]), train=percent(medians[first, "train"]),
        train_after=percent(medians[final, "train"]))
    names = {"pretrained": say("pretrained"), "sft": say("SFT"), "ppo": say("PPO")}
    with style():
        fig = card(3.5, say("How many answers sound natural?"), caption)
        ax = fig.subplots()
        frame(ax, "", "", say("natural answers"), (0, 1.04), True)
        for key, _, colour, marker, shift in splits:
            table = np.array([results[name][key] for name in models], dtype=float)  # (models, S)
            spread = shift + np.linspace(-0.05, 0.05, table.shape[1]) * (table.shape[1] > 1)  # (S,)
            places = np.arange(len(models))[:, None] + spread                       # (models, S)
            ax.plot(places, table, color=colour, linewidth=0.7, alpha=0.4)
            ax.scatter(places, table, s=30, color=colour, marker=marker, alpha=0.75, linewidths=0)
            for place, name in enumerate(models):
                height, side = medians[name, key], np.sign(shift)
                ax.plot([place + shift - 0.08, place + shift + 0.08], [height] * 2, color=INK)
                ax.annotate(percent(height), (place + shift + 0.1 * side, height), (3 * side, 0),
                            textcoords="offset points", color=colour, va="center",
                            bbox={"facecolor": CARD, "edgecolor": "none", "pad": 1},
                            ha="left" if side > 0 else "right")
        ax.set_xlim(-0.5, len(models) - 0.5)
        ax.set_xticks(range(len(models)), [names[name] for name in models], color=INK, size=9.5)
        label_ends(ax, [(medians[final, key], name, colour) for key, name, colour, *_ in splits], 9)
    return fig
