"""The pages of docs/results, made from the committed figures in benchmarks/*.json.

    python docs/make_results.py            # writes the pages, and the findings in both READMEs
    python docs/make_results.py --check    # writes nothing; exit code 1 names what is out of date

A page is a text with gaps: docs/texts/story.md in English, story.zh.md in Chinese.  A gap <<name>>
is filled with the figure of that name, which a function below takes from the JSON; it may also be
a few cells of a table.  Figures need no translation, so a third language is one more text.
"""

import json
import re
import sys
from pathlib import Path
from statistics import median

REPO = Path(__file__).resolve().parent.parent
TEXTS = REPO / "docs/texts"
LANGS = ("en", "zh")
SPLITS = ("train", "held_out")
FIRST_MARK, LAST_MARK = "<!-- made by docs/make_results.py -->", "<!-- end -->"


def read(name):
    """benchmarks/NAME.json -> what it holds."""
    return json.loads((REPO / f"benchmarks/{name}.json").read_text(encoding="utf-8"))


# ---- how a figure is written ----------------------------------------------------------------


def number(value, form="{:.2f}"):
    """A float, with a real minus sign."""
    return form.format(value).replace("-", "−")


def spread(values, form="{:.1%}"):
    """Several runs -> "median (lowest – highest)"."""
    low, middle, high = (number(f(values), form) for f in (min, median, max))
    return f"{middle} ({low} – {high})"


def span(values, form="{:.2f}"):
    """-> "lowest to highest", the one number where both look alike."""
    low, high = number(min(values), form), number(max(values), form)
    return low if low == high else f"{low}–{high}"


def mean_sd(mean, sd, form="{:.2f}"):
    """-> "mean ± standard deviation"."""
    return f"{number(mean, form)} ± {form.format(sd)}"


def percent_sd(mean, sd):
    """Two shares -> "12 ± 3 %"."""
    return f"{100 * mean:.0f} ± {100 * sd:.0f} %"


def row(cells):
    """-> the cells as they stand in a row of a table."""
    return " | ".join(cells)


def at(record, path):
    """{"ppo": {"score": 1}}, "ppo score" -> 1."""
    for key in path.split():
        record = record[key]
    return record


# ---- the demo on five seeds -----------------------------------------------------------------

STORY = {  # the table's rows: place in a summary, how it is written
    **{f"{model} natural_{split}": "{:.1%}" for split in SPLITS
       for model in ("pretrained", "sft", "ppo")},
    "ppo kl_exact": "{:.2f}", "first_round": "{:.1%}", "reward_model accuracy_held_out": "{:.1%}",
    "reward_model accuracy_labels": "{:.1%}", "reward_model ceiling_labels": "{:.1%}",
    "sft truthful": "{:.1%}", "ppo truthful": "{:.1%}", "ppo distinct_ratio": "{:.2f}",
    "ppo clip_fraction": "{:.1%}", "seconds total": "{:.0f}", "peak_memory_mb": "{:.0f}",
}


def story():
    """-> {name: figure} of benchmarks/story.json."""
    runs, figures = read("story"), {}
    for lang in LANGS:
        summaries = [run["summary"] for run in runs[lang]]
        for path, form in STORY.items():
            values = [at(summary, path) for summary in summaries]
            figures[f"{lang} {path}"] = spread(values, form)
            figures[f"{lang} middle {path}"] = number(median(values), form.replace(".1%", ".0%"))
        for what, sentence in enumerate(("unnatural", "natural")):
            for model in ("pretrained", "sft", "ppo"):
                values = [list(s["probability"].values())[what][model] for s in summaries]
                form = "{:.0%}" if max(values) > 0.01 else "{:.2%}"
                figures[f"{lang} {sentence} {model}"] = spread(values, form)
        hacked = [hack(run["no_kl"]) for run in runs[lang]]
        for name in hacked[0]:
            figures[f"{lang} {name}"] = f"{sum(h[name] for h in hacked)} / {len(hacked)}"
    both = [run for lang in LANGS for run in runs[lang]]
    for name in hack(both[0]["no_kl"]):
        figures[name] = str(sum(hack(run["no_kl"])[name] for run in both))
    lost = [run["summary"]["sft"]["truthful"] - run["summary"]["ppo"]["truthful"] for run in both]
    figures |= {"runs": str(len(both)),
                "samples": f"{both[0]['summary']['ppo']['samples'] // 2:,}",
                "lost truth": str(sum(loss > 0 for loss in lost)),
                "least lost": f"{100 * min(lost):.2f}", "most lost": f"{100 * max(lost):.0f}"}
    natural = [list(run["summary"]["probability"].values())[1] for run in both]
    figures["natural sentence"] = span([100 * chance["ppo"] for chance in natural], "{:.0f}")
    figures["weaker"] = str(sum(chance["ppo"] < chance["sft"] for chance in natural))
    return figures


def hack(no_kl):
    """A run without a price on KL -> what went wrong, each True or False."""
    rose = no_kl["score_rise"] > 0
    return {"rose": rose, "worse": rose and no_kl["end"] < no_kl["best"] - 0.05,
            "below": rose and no_kl["end"] < no_kl["start"]}


# ---- a person teaches -----------------------------------------------------------------------

WAYS = ("corrections", "rankings", "both", "both, and seed labels", "seed labels alone")


def teaching():
    """-> {name: figure} of benchmarks/teach_curves_LANG.json."""
    figures, starts, true = {}, [], []
    for lang in LANGS:
        runs = read(f"teach_curves_{lang}")["runs"]
        for key in ("natural_train", "natural_held_out", "true", "kinds", "seconds"):
            form = "{:.1f}" if key in ("kinds", "seconds") else "{:.1%}"
            for rounds in (0, 20, 60):
                cells = []
                for gives in WAYS:
                    values = taught(runs, "a1", gives, rounds, key)
                    cells.append(spread(values, form) if values else "–")
                    if values:
                        name = f"{lang} middle {gives} {key} {rounds}"
                        figures[name] = number(median(values), form.replace(".1%", ".0%"))
                figures[f"{lang} {key} {rounds}"] = row(cells)
        starts += [median(taught(runs, "a1", "both", 0, f"natural_{split}")) for split in SPLITS]
        true.append(median(taught(runs, "a1", "both", 0, "true")))
        for taste in ("greets", "brief", "pirate"):
            for split in SPLITS:
                cells = [spread(taught(runs, taste, "both", rounds, f"pleases_{split}"))
                         for rounds in (0, 20)]
                figures[f"{lang} {taste} {split}"] = " → ".join(cells)
    return figures | {
        "start": span([100 * share for share in starts], "{:.0f}"),
        "start true": span([100 * share for share in true], "{:.0f}")}


def taught(runs, who, gives, rounds, key):
    """-> the figures of all seeds after so many rounds."""
    points = [point for run in runs if (run["who"], run["gives"]) == (who, gives)
              for point in run["points"] if point["round"] == rounds]
    return [point[key] for point in points if point.get(key) is not None]


# ---- methods beside the exact optimum -------------------------------------------------------


def frontier():
    """-> {name: figure} of benchmarks/frontier_LANG.json."""
    figures, weaker, dpo, missed, close = {}, [], [], [], []
    for lang in LANGS:
        results = read(f"frontier_{lang}")
        rows = {(r["method"], r["price"]): r for r in results["summary"]}
        for (method, price), r in rows.items():
            figures[f"{lang} {method} {price:g}"] = row(
                mean_sd(r[key], r[f"{key}_sd"], "{:.3f}") if key in r else "–"
                for key in ("reward", "kl", "gap", "regret"))
        for start in results["reference"]:
            figures[f"{lang} reference {start['beta']:g}"] = row(
                [number(start["reward"], "{:.3f}"), "0", "–", f"{start['regret']:.3f}"])
        for best in results["best_of_n"]:
            for key in ("reward", "kl", "bound"):
                figures[f"{lang} best of {best['n']} {key}"] = f"{best[key]:.3f}"
        exact = {r["beta"]: r for r in results["optima"]}
        for beta in (1.0, 0.5, 0.2, 0.1):
            best = exact[beta]
            figures[f"{lang} optimum {beta:g}"] = row(
                [f"{best['reward']:.3f}", f"{best['kl']:.3f}", "0", "0"])
        for beta in (0.5, 0.2, 0.1):
            weaker.append(rows["GRPO", beta]["kl"] / rows["Dr. GRPO", beta]["kl"])
            dpo.append(rows["DPO", beta]["regret"] / rows["PPO", beta]["regret"])
        close += [rows["PPO", beta]["gap"] for beta in (0.2, 0.1)]
        sampled = {r["beta"]: r["log_z"] for r in results["importance_sampling"]}
        missed.append(exact[min(sampled)]["log_z"] - sampled[min(sampled)])
    return figures | {"GRPO weaker": span(weaker, "{:.1f}"), "DPO regret": span(dpo, "{:.1f}"),
                      "missed": span(missed, "{:.1f}"), "PPO gap": span(close, "{:.2f}")}


# ---- the score climbs, the answers get worse ------------------------------------------------

LABELS = ("50", "100", "200", "600", "biased")


def overoptimization():
    """-> {name: figure} of benchmarks/overoptimization_LANG.json."""
    figures, worse, trainings, mute, summits, fit_of_ppo = {}, 0, 0, 0, set(), []
    for lang in LANGS:
        results = read(f"overoptimization_{lang}")
        for remedy in {r["remedy"] for r in results["remedies"]}:
            rows = {r["labels"]: r for r in results["remedies"] if r["remedy"] == remedy}
            figures[f"{lang} {remedy}"] = row(
                percent_sd(rows[x]["natural"], rows[x]["natural_sd"]) for x in LABELS)
            shares = [rows[x]["natural"] for x in LABELS]
            figures[f"{lang} span {remedy}"] = span([100 * share for share in shares], "{:.0f}")
            passed = sum(rows[x]["iteration"] for x in LABELS) / len(LABELS)
            figures[f"{lang} iteration {remedy}"] = f"{passed:.0f}"
        fits = {(f["method"], f["labels"]): f for f in results["fits"]
                if f["what"] == "naturalness"}
        for method in ("PPO", "PPO, minimum", "best of n"):
            figures[f"{lang} fit {method}"] = row(map(fitted, [fits[method, x] for x in LABELS]))
        fit_of_ppo += [fits["PPO", x]["r_squared"] for x in LABELS]
        figures[f"{lang} odd fit"] = number(fits["best of n", "biased"]["r_squared"])
        ahead = [r["ahead"] for r in results["beside_the_free_path"] if r["price"] == 0.1]
        figures[f"{lang} ahead"] = span(ahead)
        for r in results["rows"]:
            curves = r["curves"]
            if r["method"] == "best of n":
                summits.add(curves["n"][curves["naturalness"].index(max(curves["naturalness"]))])
                figures[f"{lang} reference"] = f"{curves['natural'][0]:.0%}".replace("%", " %")
            elif (r["method"], r["price"]) == ("PPO", 0):
                trainings += 1
                mute += curves["disagreement"][-1] < 1.1 * curves["disagreement"][0]
                worse += (curves["score"][-1] > r["score_at_start"] + 1
                          and curves["naturalness"][-1] < results["reference"]["mean"])
    return figures | {
        "worse": str(worse), "trainings": str(trainings), "mute": str(mute),
        "summits": "{" + ", ".join(str(int(n)) for n in sorted(summits)) + "}",
        "lowest fit": number(min(fit_of_ppo)),
    }


def fitted(fit):
    """A fitted curve -> "alpha, beta (R^2)"."""
    return f"{number(fit['alpha'])}, {number(fit['beta'])} ({number(fit['r_squared'])})"


# ---- PPO with one part missing --------------------------------------------------------------


def ablations():
    """-> {name: figure} of benchmarks/ablations_LANG.json."""
    figures = {}
    for lang in LANGS:
        rows = {(r["regime"], r["name"]): r for r in read(f"ablations_{lang}")["summary"]}
        for name in {name for _, name in rows}:
            usual, bold = rows["usual", name], rows["bold", name]
            cells = [mean_sd(usual["score"], usual["score_sd"])]
            for r in (usual, bold):
                cells += [mean_sd(r["kl_exact"], r["kl_exact_sd"]),
                          percent_sd(r["natural"], r["natural_sd"])]
            figures[f"{lang} {name}"] = row(cells)
    return figures


# ---- scores, rankings, demonstrations -------------------------------------------------------

KINDS = ("raw scores", "z-scores", "scores as ranks", "rankings")


def labels():
    """-> {name: figure} of benchmarks/signals_LANG.json."""
    figures, strict, alike, order = {}, [], [], []
    for lang in LANGS:
        results = read(f"signals_{lang}")
        for crowd, found in results["crowds"].items():
            figures[f"{lang} {crowd}"] = row(f"{100 * found[kind][-1][0]:.0f}" for kind in KINDS)
            figures[f"{lang} {crowd} sets"] = row(
                f"{found['exchange'][kind]:.2f}" for kind in KINDS[:-1])
            order.append(found["exchange"]["scores as ranks"])
        strict.append(results["crowds"]["strict and generous"]["exchange"]["raw scores"])
        alike += [results["crowds"][crowd]["exchange"]["z-scores"]
                  for crowd in ("all alike", "one careful person")]
        for way, found in results["ways"].items():
            figures[f"{lang} {way}"] = row(
                f"{percent_sd(*r['natural_held_out'])}; {100 * r['true'][0]:.0f} %" for r in found)
        start = results["pretrained"]
        for key in ("natural_held_out", "true"):
            figures[f"{lang} {key}"] = f"{100 * start[key]:.0f} %"
    seconds = results["settings"]
    ranked, scored = seconds["read"] + seconds["place"], seconds["read"] + seconds["grade"]
    return figures | {
        "strict": span(strict, "{:.1f}"), "alike": span(alike, "{:.1f}"),
        "order": span(order, "{:.1f}"), "ranked": f"{ranked:.0f}", "scored": f"{scored:.0f}",
        "dearer": f"{ranked / scored:.1f}", "write": f"{seconds['write']:.0f}",
        "sets": str(seconds["sets"][-1]),
    }


# ---- estimators of the KL -------------------------------------------------------------------


def kl_estimators():
    """-> {name: figure} of benchmarks/estimators_LANG.json."""
    figures, bias, wider = {}, [], []
    for lang in LANGS:
        results = read(f"estimators_{lang}")
        stations = results["stations"]
        figures[f"{lang} kl"] = row(f"{station['kl'][0]:.2f} nats" for station in stations)
        for name in stations[0]["value"]:
            figures[f"{lang} value {name}"] = row(
                f"{1 + station['value'][name]['bias'][0]:.2f}, "
                f"{station['value'][name]['relative_sd'][0]:.1f}" for station in stations)
        for use, pairs in results["descents"].items():
            figures[f"{lang} direction {use}"] = row(
                f"{number(station['direction'][use]['forward'][0], '{:+.2f}')}; "
                f"{station['direction'][use]['size'][0]:.2f}" for station in stations)
            figures[f"{lang} descent {use}"] = row(mean_sd(*pair) for pair in pairs)
        near = {name: value["relative_sd"][0] for name, value in stations[0]["value"].items()}
        wider.append(near["k1"] / max(near["k2 per token"], near["k3 per token"]))
        bias.append(stations[-1]["value"]["k2 per token"]["bias"][0])
    return figures | {"k2 bias": span(bias, "{:.1f}"), "k1 wider": span(wider, "{:.1f}"),
                      "steps": row(str(steps) for steps in results["steps"])}


# ---- speed ----------------------------------------------------------------------------------


def speed():
    """-> {name: figure} of benchmarks/results.json."""
    results = read("results")
    figures = {name: version for name, version in results["versions"].items()}
    figures |= {name: str(results[name]) for name in ("cores", "repeats")}
    figures["parameters"] = f"{results['parameters']:,}"
    ratios = []
    for task, ms in results["tasks"].items():
        numpy, pytorch, floor = (ms[f"{side}_ms"] for side in ("numpy", "pytorch", "gemm"))
        figures[task] = row([*(f"{time:.3g}" for time in (numpy, pytorch, floor)),
                             f"{numpy / pytorch:.2f}", f"{numpy / floor:.2f}"])
        ratios.append(numpy / pytorch)
    figures["faster"] = span([100 * (1 - ratio) for ratio in ratios], "{:.0f}")
    for module, seconds in results["start_up_s"].items():
        figures["import " + module.split(".")[0]] = f"{seconds:.2f}"
    return figures


# ---- pages ----------------------------------------------------------------------------------

EXPERIMENTS = {
    "story": story, "teaching": teaching, "frontier": frontier,
    "overoptimization": overoptimization, "ablations": ablations, "labels": labels,
    "kl_estimators": kl_estimators, "speed": speed,
}


def fill(text, figures):
    """A text with gaps -> the text; a gap that no figure fills is a KeyError."""
    for name in set(re.findall(r"<<(.+?)>>", text)):
        text = text.replace(f"<<{name}>>", figures[name])
    return text


def pages():
    """-> {Path in the repository: its text}: every page, and both READMEs."""
    made, everything = {}, {}
    for name, take in EXPERIMENTS.items():
        figures = take()
        everything |= {f"{name}: {key}": value for key, value in figures.items()}
        for ending in (".md", ".zh.md"):
            text = (TEXTS / (name + ending)).read_text(encoding="utf-8")
            made[REPO / "docs/results" / (name + ending)] = fill(text, figures)
    for ending in (".md", ".zh.md"):
        index = (TEXTS / f"index{ending}").read_text(encoding="utf-8")
        made[REPO / f"docs/results/README{ending}"] = index
        readme = REPO / f"README{ending}"
        findings = fill((TEXTS / f"findings{ending}").read_text(encoding="utf-8"), everything)
        made[readme] = with_findings(readme.read_text(encoding="utf-8"), findings)
    return made


def with_findings(readme, findings):
    """The README with these lines between its two marks."""
    before, rest = readme.split(FIRST_MARK)
    _, after = rest.split(LAST_MARK)
    return f"{before}{FIRST_MARK}\n{findings}{LAST_MARK}{after}"


def main(arguments):
    """Write the pages, or with --check only name those that would change -> exit code."""
    checked, out_of_date = arguments == ["--check"], False
    for path, text in pages().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            out_of_date = True
            print(path.relative_to(REPO), "is out of date" if checked else "written")
            if not checked:
                path.write_text(text, encoding="utf-8", newline="\n")
    return int(checked and out_of_date)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
