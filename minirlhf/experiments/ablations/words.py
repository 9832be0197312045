"""What every ablation of PPO broke, and how the dashboard shows it: sentences and a table.

EXHIBITS holds a few sentences for each ablation.  They speak of the committed runs
(benchmarks/ablations_en.json and ablations_zh.json: seed 0, three trials, annotators simulated),
and tests/test_ablation_findings.py holds each of them by those files.  Several parts of PPO can be
taken out of this small world and nothing breaks; then the sentence says so.

`signs` are the figures that give the bug away, as summarise in run.py names them: of the trained
policy, or the mean, first five or last five iterations of a curve.  In both languages each of the
three trials lies higher (or lower) than each of the healthy run's; where an ablation changes
nothing, that happens to one figure in two hundred by chance.
"""

from typing import NamedTuple

from minirlhf.experiments.ablations.changes import ABLATIONS, HEALTHY
from minirlhf.experiments.ablations.run import REGIMES
from minirlhf.experiments.trials import markdown
from minirlhf.messages import later, load_messages

NOTHING = later("nothing broke")


class Exhibit(NamedTuple):
    """One ablation."""

    verdict: str  # two words
    broke: str  # what broke
    seen: str  # how the dashboard shows it
    regime: str  # the one to look at, of REGIMES
    signs: dict  # {figure: "higher" or "lower"} than the healthy run, in that regime
    picture: str  # the curve that is drawn


EXHIBITS = {  # of ABLATIONS
    later("no clip"): Exhibit(
        verdict=later("too large steps"),
        broke=later(
            "At the usual learning rate nothing. At four times that rate one update moves the "
            "policy too far: KL is higher in both languages, and fewer than half of the English "
            "answers are natural; the Chinese ones stay natural."
        ),
        seen=later(
            "The approximate KL of one update is more than twice the healthy run's. The panel of "
            "the ratios cannot warn: nothing is outside an infinite range, so it stays at 0."
        ),
        regime="bold",
        signs={"mean approx_kl": "higher", "kl_exact": "higher", "mean ratio_outside": "lower"},
        picture="approx_kl",
    ),
    later("one epoch"): Exhibit(
        verdict=later("slower"),
        broke=later(
            "It only learns more slowly: a quarter of the optimiser steps brings four fifths of "
            "the score. At four times the learning rate the score less the price of its KL is no "
            "lower than the healthy run's."
        ),
        seen=later(
            "The score climbs late, explained variance too. Hardly a ratio is outside 1 ± ε, so "
            "the clip has nothing to do."
        ),
        regime="usual",
        signs={
            "score": "lower", "mean ratio_outside": "lower", "mean approx_kl": "lower",
            "last explained_variance": "lower", "entropy": "higher",
        },
        picture="score",
    ),
    later("no KL"): Exhibit(
        verdict=later("reward hacking"),
        broke=later(
            "Nothing holds the policy at the reference. At four times the learning rate its score "
            "is the highest of all, and fewer answers are natural than in the healthy run, in "
            "English hardly one."
        ),
        seen=later(
            "Score and KL climb together; only the gold panel shows that the answers become worse. "
            "At the usual rate KL is the one warning in both languages."
        ),
        regime="bold",
        signs={
            "score": "higher", "kl_exact": "higher", "natural": "lower", "naturalness": "lower",
            "mean ratio_outside": "higher",
        },
        picture="kl_exact",
    ),
    later("no whitening"): Exhibit(
        verdict=NOTHING,
        broke=later(
            "Nothing. The gradient is less than half as large, and KL a little lower; the score "
            "and the share of natural answers are those of the healthy run, also at four times the "
            "learning rate."
        ),
        seen=later("Fewer ratios are outside 1 ± ε, and KL stays lower."),
        regime="usual",
        signs={"mean ratio_outside": "lower", "kl_exact": "lower", "mean approx_kl": "lower"},
        picture="score",
    ),
    later("no value function"): Exhibit(
        verdict=later("noisier"),
        broke=later(
            "Less score and fewer natural answers for at least as much KL. At four times the "
            "learning rate the KL is more than three times the healthy run's, and the score falls."
        ),
        seen=later(
            "Explained variance lies at 0. Entropy stays higher, and more ratios are outside "
            "1 ± ε."
        ),
        regime="usual",
        signs={
            "last explained_variance": "lower", "entropy": "higher", "mean ratio_outside": "higher",
            "score": "lower", "natural": "lower",
        },
        picture="explained_variance",
    ),
    later("value from the SFT model"): Exhibit(
        verdict=NOTHING,
        broke=later(
            "Nothing. Stiennon et al. 2020 start the values from the reward model, as the healthy "
            "run does; here that start is worse than a head of zeros on the first rollout, and "
            "after ten iterations the two are alike."
        ),
        seen=later(
            "Explained variance starts at 0 and not below −0.5, and later meets the healthy run's."
        ),
        regime="usual",
        signs={"first explained_variance": "higher"},
        picture="explained_variance",
    ),
    later("value from noise"): Exhibit(
        verdict=NOTHING,
        broke=later(
            "Nothing. The values are worse in every trial, and even so the score and the share of "
            "natural answers are those of the healthy run."
        ),
        seen=later(
            "Explained variance starts at 0 and not below −0.5, and then lags behind the healthy "
            "run's."
        ),
        regime="usual",
        signs={"first explained_variance": "higher"},
        picture="explained_variance",
    ),
    later("KL in the loss, k2"): Exhibit(
        verdict=later("a cheaper KL"),
        broke=later(
            "The same coefficient holds the policy less: about two thirds more KL in English and a "
            "quarter more in Chinese, for about the same score and as many natural answers."
        ),
        seen=later("KL is higher; no other panel differs in both languages."),
        regime="usual",
        signs={"kl_exact": "higher"},
        picture="kl_exact",
    ),
    later("KL in the loss, k3"): Exhibit(
        verdict=later("too soft a KL"),
        broke=later(
            "Where a token has become likelier than for the reference, the pull back never passes "
            "1, however far it is. At four times the learning rate fewer answers are natural, and "
            "the English KL is more than twice the healthy run's."
        ),
        seen=later("Entropy stays higher, while gold naturalness falls behind."),
        regime="bold",
        signs={"entropy": "higher", "natural": "lower"},
        picture="entropy",
    ),
    later("mean per answer"): Exhibit(
        verdict=NOTHING,
        broke=later(
            "Nothing: the answers of this world are about equally long, so a mean per answer and "
            "a mean per token are nearly the same."
        ),
        seen=later("It does not: at the usual rate no panel differs in both languages."),
        regime="usual",
        signs={},
        picture="score",
    ),
    later("score on every token"): Exhibit(
        verdict=later("runs away"),
        broke=later(
            "Beside a score that is paid many times the price of KL is small: KL is at least half "
            "as high again, for no more score. At four times the learning rate one English answer "
            "in ten is natural, and the Chinese ones grow longer."
        ),
        seen=later(
            "KL is higher, and more ratios are outside 1 ± ε, while the score gains nothing."
        ),
        regime="usual",
        signs={"kl_exact": "higher", "mean ratio_outside": "higher"},
        picture="kl_exact",
    ),
    later("EOS masked out"): Exhibit(
        verdict=later("learns less"),
        broke=later(
            "The token that ends an answer gets no advantage, so to stop in the right place is not "
            "rewarded. For about the same KL, score and natural answers stay lower."
        ),
        seen=later(
            "The score ends too low, explained variance too. Length and missing EOS do not warn: "
            "nearly every answer still ends, and about where it should."
        ),
        regime="usual",
        signs={
            "score": "lower", "natural": "lower", "last explained_variance": "lower",
            "mean ratio_outside": "higher",
        },
        picture="score",
    ),
}
PANELS = {  # curve: its name on the dashboard
    "score": later("reward model score"),
    "kl_exact": later("KL to the reference"),
    "entropy": later("entropy per token"),
    "approx_kl": later("approx. KL of one update"),
    "explained_variance": later("explained variance"),
}


def sentences(lang="en"):
    """-> one line for each ablation: what broke, and how the dashboard shows it."""
    say, lines = load_messages(lang), []
    for name, exhibit in EXHIBITS.items():
        lines.append(
            say(
                "{name}: {broke} Dashboard: {seen}",
                name=say(name), broke=say(exhibit.broke), seen=say(exhibit.seen),
            )
        )
    return lines


def table(results):
    """Results of run_ablations -> the lines of a table in Markdown, three columns for a regime."""
    head = ["ablation"]
    for regime, factor in REGIMES.items():
        rate = f"{factor} x rate" if factor != 1 else regime
        head += [f"{rate}: score", "KL (nats)", "natural"]
    summary = {(row["regime"], row["name"]): row for row in results["summary"]}
    rows = []
    for name in (HEALTHY, *ABLATIONS):
        cells = [name]
        for regime in REGIMES:
            row = summary[regime, name]
            for figure in ("score", "kl_exact"):
                cells.append(f"{row[figure]:.2f} ± {row[figure + '_sd']:.2f}")
            cells.append(f"{row['natural']:.0%} ± {100 * row['natural_sd']:.0f}")
        rows.append(cells)
    return markdown(head, rows)
