"""What the results of the KL estimators say: three tables."""

from minirlhf.experiments.kl_estimators.estimators import USES, VALUES


def table(results):
    """Results of run_estimators -> the lines of three tables in Markdown."""
    stations = results["stations"]
    heads = [f"{row['kl'][0]:.2f} nats" for row in stations]
    lines = head_of("mean and sd of one answer, exact KL = 1", heads)
    for name in VALUES:
        cells = []
        for row in stations:
            figures = row["value"][name]
            cells.append(f"{1 + figures['bias'][0]:.2f}, {figures['relative_sd'][0]:.1f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", *head_of("cosine with grad KL(pi, ref); length", heads)]
    for use in USES:
        cells = []
        for row in stations:
            figures = row["direction"][use]
            cells.append(f"{figures['forward'][0]:+.2f}; {figures['size'][0]:.2f}")
        lines.append(f"| {use} | " + " | ".join(cells) + " |")
    heads = [f"{steps} steps" for steps in results["steps"]]
    lines += ["", *head_of("KL when this use alone is followed", heads)]
    for use, pairs in results["descents"].items():
        cells = [f"{mean:.2f} ± {sd:.2f}" for mean, sd in pairs]
        lines.append(f"| {use} | " + " | ".join(cells) + " |")
    return lines


def head_of(title, heads):
    """-> the first two lines of a table."""
    return [f"| {title} | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
