"""What the frontier's results say: the table."""

from minirlhf.experiments.trials import markdown


def table(results):
    """Results of run_frontier -> the lines of the table in Markdown."""
    head = ["method", "beta, tau or n", "score", "KL (nats)", "below the frontier", "regret (nats)"]
    rows = []
    for row in results["summary"]:
        cells = [row["method"], f"{row['price']:g}"]
        for name in ("reward", "kl", "gap", "regret"):
            known = name in row
            cells.append(f"{row[name]:.3f} ± {row[name + '_sd']:.3f}" if known else "–")
        rows.append(cells)
    return markdown(head, rows)
