"""What the results of the KL estimators say: three tables."""

from minirlhf.experiments.kl_estimators.estimators import USES, VALUES
from minirlhf.experiments.trials import markdown


def table(results):
    """Results of run_estimators -> the lines of three tables in Markdown."""
    stations = results["stations"]
    heads = [f"{row['kl'][0]:.2f} nats" for row in stations]
    values, uses, descents = [], [], []
    for name in VALUES:
        figures = [row["value"][name] for row in stations]
        cells = [f"{1 + f['bias'][0]:.2f}, {f['relative_sd'][0]:.1f}" for f in figures]
        values.append([name, *cells])
    for use in USES:
        figures = [row["direction"][use] for row in stations]
        uses.append([use, *(f"{f['forward'][0]:+.2f}; {f['size'][0]:.2f}" for f in figures)])
    for use, pairs in results["descents"].items():
        descents.append([use, *(f"{mean:.2f} ± {sd:.2f}" for mean, sd in pairs)])
    steps = [f"{steps} steps" for steps in results["steps"]]
    return [
        *markdown(["mean and sd of one answer, exact KL = 1", *heads], values), "",
        *markdown(["cosine with grad KL(pi, ref); length", *heads], uses), "",
        *markdown(["KL when this use alone is followed", *steps], descents),
    ]
