"""What the results of the labels say: two tables."""

from minirlhf.experiments.labels.demonstrations_or_rankings import WAYS
from minirlhf.experiments.labels.scores_or_rankings import KINDS
from minirlhf.experiments.trials import markdown


def table(results):
    """Results of run_labels -> the lines of two tables in Markdown."""
    sets = [f"{n} sets" for n in results["settings"]["sets"]]
    crowds, ways = [], []
    for crowd, row in results["crowds"].items():
        for kind in KINDS:
            cells = [f"{100 * mean:.1f} ± {100 * sd:.1f}" for mean, sd in row[kind]]
            rate = f"{row['exchange'][kind]:.2f}" if kind in row["exchange"] else "1"
            crowds.append([crowd, kind, *cells, rate])
    minutes = [f"{row['minutes']} min" for row in results["ways"][WAYS[0]]]
    start = results["pretrained"]
    before = f"{100 * start['natural_held_out']:.0f}; {100 * start['true']:.0f}"
    for way in WAYS:
        cells = []
        for row in results["ways"][way]:
            natural, true = row["natural_held_out"], row["true"]
            cells.append(f"{100 * natural[0]:.0f} ± {100 * natural[1]:.0f}; {100 * true[0]:.0f}")
        ways.append([way, before, *cells])
    return [
        *markdown(["simulated crowd", "labels", *sets, "sets for one ranked"], crowds), "",
        *markdown(["natural, held-out; of the natural: true", "0", *minutes], ways),
    ]
