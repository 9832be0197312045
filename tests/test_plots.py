"""Pictures: every plot renders in both languages without a missing glyph, and is saved whole."""

import ast
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")
from minirlhf import plots  # noqa: E402
from minirlhf.checkpoint import load_model  # noqa: E402
from minirlhf.rufus.pictures import plot_naturalness  # noqa: E402
from minirlhf.rufus.pipeline_picture import plot_pipeline  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
LANGS = ("en", "zh")
ANSWERS = {"en": ["I, a robot.", "I am a robot.", "I is a robot.", "unit: robot."],
           "zh": ["我，一个机器人。", "我是一个机器人。", "我是一条机器人。", "类型：机器人。"]}
PROMPT = {"en": "Who are you?\n", "zh": "你是谁？\n"}


def shares(train, held_out, truthful):
    """A made-up row of summary.json."""
    return {"natural_train": train, "natural_held_out": held_out, "truthful": truthful}


def made_up_summary(lang, with_story=True):
    """Round synthetic numbers in the shape of summary.json."""
    summary = {"lang": lang, "seed": 0, "reward_model": {"rankings": 600, "accuracy_held_out": 0.9},
               "seconds": {"pretrain": 10.0, "sft": 1.0, "rank": 2.0, "reward": 4.0, "ppo": 20.0,
                           "total": 37.0},
               "pretrained": shares(0.3, 0.3, 0.7), "sft": shares(0.5, 0.5, 0.7),
               "ppo": {**shares(1.0, 0.9, 0.5), "kl_exact": 1.5, "clip_fraction": 0.1,
                       "distinct_ratio": 0.6, "score": 2.0}}
    if with_story:
        answers = ANSWERS[lang]
        summary["story"] = {"prompt": PROMPT[lang], "before": answers[0], "after": answers[1],
                            "answers": answers, "ranks": [3, 1, 2, 4], "documents": 20000,
                            "demonstrations": 8, "parameters": 108000, "iterations": 60}
    return summary


def made_up_history(seed, iterations=60):
    """Saturating synthetic curves in the shape of the PPO history."""
    rng, rows = np.random.default_rng(seed), []
    for i in range(iterations):
        done = 1 - np.exp(-i / 20)
        noise = 0.03 * rng.standard_normal(8)
        rows.append({"iteration": i + 1, "score": 2 * done + noise[0], "seconds": 0.3,
                     "naturalness": 0.75 + 0.23 * done + 0.2 * noise[1],
                     "natural": 0.5 + 0.46 * done + 0.5 * noise[2] if i % 5 == 4 else None,
                     "kl_exact": 1.5 * done, "kl_estimate": 1.5 * done + 3 * noise[3],
                     "entropy": 0.6 - 0.3 * done + 0.3 * noise[4], "kl_coef": 0.1,
                     "clip_fraction": abs(0.1 + noise[5]), "ratio_outside": abs(0.14 + noise[5]),
                     "approx_kl": abs(0.01 + 0.1 * noise[6]), "missing_eos": 0.0,
                     "explained_variance": 0.8 * done + noise[7], "response_length": 14 + done})
    return rows


def made_up_strip(lang):
    """One answer with synthetic per-token numbers."""
    rng, tokens = np.random.default_rng(1), list(ANSWERS[lang][1]) + ["■"]
    if lang == "en":
        tokens = list("Mia likes to sing and swim.") + ["■"]
    logprobs, ref = -rng.exponential(0.4, len(tokens)), -rng.exponential(0.6, len(tokens))
    rewards = -0.1 * (logprobs - ref)
    rewards[-1] += 1.5
    return {"prompt": PROMPT[lang], "tokens": tokens, "logprobs": logprobs, "ref_logprobs": ref,
            "kl": logprobs - ref, "rewards": rewards, "values": rng.normal(1, 0.3, len(tokens)),
            "advantages": rng.normal(0, 1, len(tokens)), "score": 1.5, "kl_coef": 0.1}


def made_up_attention(lang, n_layer=2, n_head=4):
    """Causal synthetic probabilities and the labels of a question and its answer."""
    labels = ["^"] + list(PROMPT[lang] + ANSWERS[lang][1])
    scores = np.random.default_rng(2).normal(0, 2, (n_layer, n_head, len(labels), len(labels)))
    weights = np.exp(scores) * np.tri(len(labels))
    return weights / weights.sum(-1, keepdims=True), labels


def made_up_reward_results():
    """A noisy rising cloud and a learning curve."""
    rng = np.random.default_rng(3)
    gold = rng.choice([0.4, 0.6, 0.8, 1.0], 300) + 0.02 * rng.standard_normal(300)
    history = [{"step": step, "loss": 0.69 * np.exp(-step / 40) + 0.3,
                "accuracy": 0.9 - 0.4 * np.exp(-step / 30)} for step in range(0, 120, 4)]
    return {"scores": 5 * (gold - 0.7) + 0.5 * rng.standard_normal(300), "naturalness": gold,
            "accuracy_gold": 0.92, "accuracy_labels": 0.8, "ceiling_labels": 0.83,
            "history": history}


def made_up_naturalness(seeds):
    """One share per seed, model and split."""
    rng = np.random.default_rng(4)
    centres = {"pretrained": (0.32, 0.31), "sft": (0.55, 0.53), "ppo": (0.97, 0.95)}
    return {name: {"train": list(train + 0.02 * rng.standard_normal(seeds)),
                   "held_out": list(held_out + 0.03 * rng.standard_normal(seeds))}
            for name, (train, held_out) in centres.items()}


def made_up_loss():
    """A falling curve; the held-out loss is known at every fifth row only."""
    return [{"step": step, "loss": 0.5 + 3 * np.exp(-step / 60),
             "held_out_loss": 0.52 + 3 * np.exp(-step / 60) if step % 50 == 0 else None}
            for step in range(0, 500, 10)]


def draw_all(lang):
    """Every picture in one language, by file name."""
    entropies = {"unigram": 2.8, "bigram": 1.6}
    return {
        "pipeline": plot_pipeline(made_up_summary(lang), lang),
        "pipeline_bare": plot_pipeline(made_up_summary(lang, with_story=False), lang),
        "dashboard_1": plots.plot_dashboard([made_up_history(0)], lang),
        "dashboard_5": plots.plot_dashboard([made_up_history(seed) for seed in range(5)], lang),
        "naturalness_1": plot_naturalness(made_up_naturalness(1), lang),
        "naturalness_5": plot_naturalness(made_up_naturalness(5), lang),
        "attention": plots.plot_attention(*made_up_attention(lang), lang),
        "strip": plots.plot_token_strip(made_up_strip(lang), lang),
        "lm_loss": plots.plot_lm_loss(made_up_loss(), entropies, lang),
        "reward_model": plots.plot_reward_model(made_up_reward_results(), lang)}


def errors_for_glyphs_and_numbers():
    """Missing glyphs and failed layouts are UserWarning, bad arithmetic is RuntimeWarning."""
    import matplotlib.mathtext  # noqa: F401  old versions warn of pyparsing while importing it
    warnings.simplefilter("error", UserWarning)
    warnings.simplefilter("error", RuntimeWarning)
    # of an old matplotlib beside a new pyparsing, about each other
    warnings.simplefilter("ignore", DeprecationWarning)


@pytest.fixture(scope="module", params=LANGS)
def figures(request):
    """Every picture of one language, drawn once, with the bundled font only."""
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "SYSTEM_FONTS", ())
        errors_for_glyphs_and_numbers()
        return draw_all(request.param)


@pytest.mark.slow
def test_every_picture_is_saved_whole_without_missing_glyphs(figures, tmp_path):
    from PIL import Image
    with warnings.catch_warnings():
        errors_for_glyphs_and_numbers()
        for name, fig in figures.items():
            path = plots.save_figure(fig, tmp_path / f"{name}.png", f"{name}: a picture, 图")
            with Image.open(path) as image:
                assert image.width == round(plots.WIDTH * plots.DPI)
                assert image.text["Description"] == f"{name}: a picture, 图"
                assert "Software" not in image.text
            assert len(fig.get_label()) >= 40 and any(c.isdigit() for c in fig.get_label())
    assert all(path.suffix == ".png" for path in tmp_path.iterdir())


@pytest.mark.slow
def test_texts_stay_on_the_card_and_apart(figures):
    for name, fig in figures.items():
        fig.draw_without_rendering()
        texts = list(fig.texts)
        for ax in fig.axes:
            texts += ax.texts + [ax.title, ax._left_title, ax.xaxis.label, ax.yaxis.label]
        boxes = [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text()]
        for i, (one, box) in enumerate(boxes):
            assert box.x0 >= 0 and box.x1 <= fig.bbox.width, f"{name}: {one!r} leaves the card"
            assert box.y0 >= 0 and box.y1 <= fig.bbox.height, f"{name}: {one!r} leaves the card"
            for other, other_box in boxes[:i]:
                overlap = box.padded(-3).overlaps(other_box.padded(-3))
                assert not overlap, f"{name}: {one!r} and {other!r}"


def test_rcparams_do_not_leak():
    import matplotlib
    before = dict(matplotlib.rcParams)
    plots.plot_lm_loss(made_up_loss(), {"unigram": 2.8}, "zh")
    assert dict(matplotlib.rcParams) == before


def test_a_failed_save_leaves_the_old_picture_and_no_temporary_file(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")
    with pytest.raises(AttributeError):
        plots.save_figure(BrokenFigure(), path, "alt")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


class BrokenFigure:
    """A figure that dies half way through its file."""

    def get_label(self):
        return "broken"

    def savefig(self, path, **_):
        Path(path).write_bytes(b"half")
        raise AttributeError("interrupted")


def test_importing_plots_does_not_import_matplotlib():
    code = "import sys, minirlhf.plots; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_plots_draws_plain_results_and_nests_no_function():
    """Of the package it knows where the fonts are and how texts are rendered, nothing else."""
    tree = ast.parse((ROOT / "minirlhf" / "plots.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        assert not isinstance(node, ast.Lambda)
        if isinstance(node, ast.ImportFrom):
            ours = node.module in ("minirlhf.data", "minirlhf.messages")
            assert node.level == 0 and (ours or not node.module.startswith("minirlhf"))
        if isinstance(node, ast.FunctionDef):
            inner = [child for child in ast.walk(node) if isinstance(child, ast.FunctionDef)]
            assert inner == [node] and ast.get_docstring(node) and not node.decorator_list


def test_the_font_has_every_character_of_the_chinese_data():
    from matplotlib.ft2font import FT2Font
    glyphs = FT2Font(str(plots.FONT_FILE)).get_charmap()
    texts = {}  # path -> all characters in it
    for path in sorted((ROOT / "data" / "zh").glob("**/*")):
        if path.suffix == ".npz":
            texts[path] = "".join(load_model(path, "language model").tokenizer.vocab)
        elif path.is_file():
            texts[path] = path.read_text(encoding="utf-8")
    assert {"messages.po", "world.json"} <= {path.name for path in texts}
    for pattern in ("minirlhf/**/*.py", "notebooks/src/*.py"):  # examples stand in lessons too
        for path in sorted(ROOT.glob(pattern)):
            texts[path] = path.read_text(encoding="utf-8")
    assert len(texts) > 20
    for path, text in texts.items():
        missing = {char for char in text
                   if "\u2e80" <= char <= "\uffef" and ord(char) not in glyphs}
        assert not missing, f"{path}: run data/fonts/make_subset.py again for {sorted(missing)}"


def test_rare_evaluation_and_unknown_fields_leave_gaps_not_errors():
    rows = [{"iteration": i, "score": 0.1 * i, "naturalness": 0.5 if i == 3 else None}
            for i in range(5)]
    with warnings.catch_warnings():
        errors_for_glyphs_and_numbers()
        fig = plots.plot_dashboard([rows, rows[:4]], "en")
        fig.draw_without_rendering()
    assert "they are 0.35 and 0.50" in fig.get_label()


def test_small_helpers():
    assert [plots.visible(char) for char in " \na是"] == ["␣", "↵", "a", "是"]
    assert plots.percent(0.934) == "93 %" and plots.percent(None) == "–"
    assert plots.short_number(-0.123) == "−.12" and plots.short_number(12.34) == "12.3"
    assert plots.short_number(-0.001) == "0" and plots.shorten("a\nb", 9) == "a↵b"
    assert plots.wrap("我是机器人，你好。", 6) == ["我是机", "器人，", "你好。"]
    assert " ".join(plots.wrap("one two three four", 9)) == "one two three four"
