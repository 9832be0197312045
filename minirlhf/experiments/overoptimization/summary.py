"""What the rows of over-optimisation say: fitted curves, remedies side by side.

A row is one training, or one best-of-n, with its curves over checkpoints or over n; run.py makes
them.  Gains are over the reference, in standard deviations of its answers: the learned score has
that scale from step 2, and `scale` gives it to naturalness.
"""

import math

import numpy as np

from minirlhf.experiments.overoptimization.curves import FORMS, fit, peak
from minirlhf.experiments.overoptimization.judges import LABELS
from minirlhf.experiments.overoptimization.stopping import RULES, Stop, stop_by
from minirlhf.experiments.trials import mean_and_sd, rounded, short

ONE, MINIMUM, BEST = "PPO", "PPO, minimum", "best of n"


def group_of(rows, labels, method, price=0.0):
    """-> the rows of all trials, in their order."""
    wanted = (labels, method, price)
    found = [row for row in rows if (row["labels"], row["method"], row["price"]) == wanted]
    return sorted(found, key=trial_of)


def trial_of(row):
    """A row's trial, to sort by."""
    return row["trial"]


def gains(row, scale, what):
    """-> (C,) gain over the reference at each checkpoint or n.  what: "score" or "naturalness"."""
    values = np.array(row["curves"][what])  # (C,)
    if what == "score":
        return values - row["score_at_start"]
    return (values - scale["mean"]) / scale["deviation"]


# ---- fitted curves --------------------------------------------------------------------------


def known(value):
    """A float of four digits for the file; None where it is not finite."""
    return short(value) if math.isfinite(value) else None


def fit_group(group, scale, what, form):
    """One curve through the points of all trials, and one for each trial -> dict.

    sd: standard deviation over the trials.  other: R^2 of the paper's other curve.
    """
    kls = [np.array(row["curves"]["kl"]) for row in group]  # each (C,)
    values = [gains(row, scale, what) for row in group]
    pooled = fit(np.concatenate(kls), np.concatenate(values), form)
    other = fit(np.concatenate(kls), np.concatenate(values), FORMS[1 - FORMS.index(form)])
    each = [fit(kl, value, form) for kl, value in zip(kls, values)]
    top_kl, top = peak(pooled)
    reached = top_kl <= max(kl.max() for kl in kls)
    row = {"form": form, "what": what, "trials": len(group)}
    row |= {name: known(getattr(pooled, name)) for name in ("alpha", "beta", "r_squared")}
    for name in ("alpha", "beta"):
        row[f"{name}_sd"] = known(mean_and_sd([getattr(f, name) for f in each])[1])
    row["lowest_r_squared"] = known(min(f.r_squared for f in each))
    row["other_r_squared"] = known(other.r_squared)
    row["peak_kl"] = known(top_kl) if reached else None  # None: not within the KLs seen
    row["peak_gain"] = known(top) if reached else None
    return row


def fits_of(rows, scale, labels_of=tuple(LABELS)):
    """Gao's curve of each method through the score and through gold, for each kind of labels.

    PPO: the runs without a KL price, as in the paper.  -> list of dicts.
    """
    found = []
    for labels in labels_of:
        for method in (ONE, MINIMUM, BEST):
            group = group_of(rows, labels, method)
            form = "best of n" if method == BEST else "rl"
            for what in ("score", "naturalness"):
                about = {"labels": labels, "method": method}
                found.append(about | fit_group(group, scale, what, form))
    return found


def band_of(group, scale, what, points=40):
    """The trials' curves on one axis of d, as far as all of them went.

    -> d (G,), lowest, mean, highest gain (G,) over the trials.
    """
    paths = [np.sqrt(np.maximum.accumulate(row["curves"]["kl"]).clip(0)) for row in group]
    d = np.linspace(0, min(path[-1] for path in paths), points)  # (G,)
    values = [np.interp(d, path, gains(row, scale, what)) for path, row in zip(paths, group)]
    return d, np.min(values, axis=0), np.mean(values, axis=0), np.max(values, axis=0)


# ---- remedies -------------------------------------------------------------------------------


def kept_figures(group, stops):
    """The policy that is kept in each trial -> means and standard deviations over the trials."""
    figures = {"trials": len(group)}
    for name in ("naturalness", "natural", "kl", "score", "iteration"):
        values = [row["curves"][name][stop.kept] for row, stop in zip(group, stops)]
        figures[name], figures[f"{name}_sd"] = rounded(mean_and_sd(values))
        if name == "natural":
            figures["natural_each"] = values
    return figures


def remedies_of(rows, prices, labels_of=tuple(LABELS)):
    """-> list of dicts: what each remedy keeps, for each kind of labels.

    "none": PPO without a KL price, to the end.  "best seen": its checkpoint with the highest
    naturalness, which only the gold judge can point at: no remedy, the mark to compare with.
    """
    found = []
    for labels in labels_of:
        plain = group_of(rows, labels, ONE)
        last = [Stop(kept=-1, seen=-1)] * len(plain)
        kept = {"none": kept_figures(plain, last)}
        for price in prices:
            if price > 0:
                kept[f"KL coefficient {price:g}"] = kept_figures(
                    group_of(rows, labels, ONE, price), last
                )
        for rule in RULES:
            kept[rule] = kept_figures(plain, [stop_by(rule, row["curves"]) for row in plain])
        kept["minimum of the ensemble"] = kept_figures(group_of(rows, labels, MINIMUM), last)
        seen = [int(np.argmax(row["curves"]["naturalness"])) for row in plain]
        kept["best seen"] = kept_figures(plain, [Stop(kept=i, seen=i) for i in seen])
        found += [{"labels": labels, "remedy": name} | row for name, row in kept.items()]
    return found


def beside_the_free_path(rows, prices, labels_of=tuple(LABELS)):
    """Does a KL price buy more gold than stopping early at the same KL?  Gao et al.: it does not.

    For each price: naturalness at the end, minus that of the run without a price where it passes
    the same KL (between two checkpoints, by a straight line in d) -> list of dicts.
    """
    found = []
    for labels in labels_of:
        for price in prices:
            if price == 0:
                continue
            pairs = zip(group_of(rows, labels, ONE, price), group_of(rows, labels, ONE))
            values = [ahead(row["curves"], free["curves"]) for row, free in pairs]
            mean, deviation = mean_and_sd(values)
            figures = {"ahead": mean, "ahead_sd": deviation, "ahead_each": values}
            found.append({"labels": labels, "price": price} | rounded(figures))
    return found


def ahead(curves, free):
    """Curves of a run with a price and of one without -> difference in naturalness at one KL.

    Of the run with a price the last three checkpoints are averaged: it has settled there.
    """
    kl, gold = np.mean(curves["kl"][-3:]), np.mean(curves["naturalness"][-3:])
    path = np.maximum.accumulate(free["kl"])  # (C,) the first time that it passes a KL
    return float(gold - np.interp(math.sqrt(kl), np.sqrt(path.clip(0)), free["naturalness"]))
