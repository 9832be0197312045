"""What the results of the labels say: two tables."""

from minirlhf.experiments.labels.demonstrations_or_rankings import WAYS
from minirlhf.experiments.labels.scores_or_rankings import KINDS


def table(results):
    """Results of run_labels -> the lines of two tables in Markdown."""
    sets = results["settings"]["sets"]
    lines = ["| simulated crowd | labels | " + " | ".join(f"{n} sets" for n in sets)
             + " | sets for one ranked |"]
    lines.append("|---" * (len(sets) + 3) + "|")
    for crowd, row in results["crowds"].items():
        for kind in KINDS:
            cells = [f"{100 * mean:.1f} ± {100 * sd:.1f}" for mean, sd in row[kind]]
            rate = f"{row['exchange'][kind]:.2f}" if kind in row["exchange"] else "1"
            lines.append(f"| {crowd} | {kind} | " + " | ".join(cells) + f" | {rate} |")
    ways = results["ways"]
    heads = [f"{row['minutes']} min" for row in ways[WAYS[0]]]
    lines += ["", "| natural, held-out; of the natural: true | 0 | " + " | ".join(heads) + " |"]
    lines.append("|---" * (len(heads) + 2) + "|")
    start = results["pretrained"]
    before = f"{100 * start['natural_held_out']:.0f}; {100 * start['true']:.0f}"
    for way in WAYS:
        cells = []
        for row in ways[way]:
            natural, true = row["natural_held_out"], row["true"]
            cells.append(f"{100 * natural[0]:.0f} ± {100 * natural[1]:.0f}; {100 * true[0]:.0f}")
        lines.append(f"| {way} | {before} | " + " | ".join(cells) + " |")
    return lines
