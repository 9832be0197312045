"""What the results of over-optimisation say: two tables, and what the policy says along the way."""

from minirlhf.experiments.overoptimization.summary import BEST
from minirlhf.experiments.trials import markdown


def table(results):
    """Results of run_overoptimization -> lines of two tables in Markdown: fits, remedies."""
    fits = []
    for row in results["fits"]:
        if row["what"] == "naturalness":
            fits.append([
                row["labels"], row["method"],
                f"{row['alpha']:.2f} ± {row['alpha_sd']:.2f}",
                f"{row['beta']:.2f} ± {row['beta_sd']:.2f}",
                f"{row['r_squared']:.2f} ({row['other_r_squared']:.2f})",
                "–" if row["peak_kl"] is None else f"{row['peak_kl']:.2f}",
            ])
    labels_of = list(dict.fromkeys(row["labels"] for row in results["remedies"]))
    kept = {}  # remedy: its cells
    for row in results["remedies"]:
        natural = f"{row['natural']:.0%} ± {100 * row['natural_sd']:.0f}"
        kept.setdefault(row["remedy"], [row["remedy"]]).append(natural)
    head = ["labels", "method", "alpha", "beta", "R^2 (the other curve)", "highest gold at KL"]
    return [
        *markdown(head, fits), "",
        *markdown(["natural answers with", *labels_of], list(kept.values())),
    ]


def sentences(results, labels="50"):
    """What the policy says along the way, first trial, without a KL price -> lines."""
    lines = []
    for row in results["rows"]:
        if row["labels"] != labels or "sentences" not in row:
            continue
        steps = row["curves"]["n" if row["method"] == BEST else "iteration"]
        for step, kl, said in zip(steps, row["curves"]["kl"], row["sentences"]):
            question, answer, score, gold = said[0]
            lines.append(
                f"{row['method']} {step:.0f}: KL {kl:.2f}, score {score:.2f}, "
                f"naturalness {gold:.2f}: {question} {answer}"
            )
    return lines
