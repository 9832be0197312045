"""The picture of the ablations, drawn from the results of run_ablations or their JSON file."""

from minirlhf.experiments.ablations.changes import ABLATIONS, HEALTHY
from minirlhf.experiments.ablations.run import REGIMES
from minirlhf.experiments.ablations.words import EXHIBITS, PANELS
from minirlhf.messages import load_messages
from minirlhf.plots import BLUE, INK, card, curves, frame, style


def history(run):
    """A run's curves -> list of dicts, one for each iteration."""
    length = len(run["curves"]["score"])
    columns = run["curves"].items()
    return [{"iteration": i} | {key: curve[i] for key, curve in columns} for i in range(length)]


def draw_exhibit(ax, results, name, say):
    """The ablation's curve beside the healthy run's."""
    exhibit = EXHIBITS[name]
    for who, colour, line in ((HEALTHY, INK, "--"), (name, BLUE, "-")):
        runs = [r for r in results["runs"] if (r["regime"], r["name"]) == (exhibit.regime, who)]
        curves(ax, [history(r) for r in runs], "iteration", exhibit.picture, colour, line)
    frame(ax)
    title, factor = say(name), REGIMES[exhibit.regime]
    if factor != 1:
        title += say(" ({factor} × rate)", factor=factor)
    ax.set_title(f"{title}\n{say(exhibit.verdict)}", size=8.5)
    ax.set_ylabel(say(PANELS[exhibit.picture]), size=7.5)
    if exhibit.picture == "approx_kl":
        ax.set_yscale("log")


def plot_ablations(results, lang="en"):
    """Every ablation beside the healthy run, one panel of the dashboard each -> Figure."""
    say = load_messages(lang)
    caption = say(
        "Black and dashed: the healthy run. Blue: one part of PPO taken out or put in wrong. Thin: "
        "{trials} trials; thick: their median. Each is drawn over the iterations, on the panel of "
        "the dashboard that tells most, KL and entropy in nats; the second line says what the "
        "runs of seed 0 showed. Look for blue that leaves black, and for the four panels where "
        "nothing broke. Where 4 × rate stands, the learning rate is four times the usual one. The "
        "annotators are simulated.",
        trials=results["trials"],
    )
    with style():
        fig = card(5.6, say("The bug gallery of PPO"), caption)
        axes = fig.subplots(3, 4)
        for ax, name in zip(axes.flat, ABLATIONS, strict=True):
            draw_exhibit(ax, results, name, say)
        for ax in axes[-1]:
            ax.set_xlabel(say("iteration"))
    return fig
