"""What the tests of all experiments share: tiny models, the verb's arguments, the picture."""

import warnings

import numpy as np

from minirlhf import plots
from minirlhf.__main__ import main
from minirlhf.gpt import GPTConfig, init_params, with_scalar_head
from minirlhf.step3_ppo import PPOModels, PPOSettings
from minirlhf.tokenizer import BOS

CONFIG = GPTConfig(vocab_size=7, block_size=12, n_layer=1, n_head=2, n_embd=8)
PROMPTS = [[BOS, 3], [BOS, 4, 5], [BOS, 6]]
SETTINGS = PPOSettings(
    iterations=3, rollout_size=8, minibatch_size=4, max_new_tokens=6, learning_rate=3e-3
)


def tiny_models(seed=0):
    """Random models in which EOS is likely enough to be said."""
    rng = np.random.default_rng(seed)
    policy = init_params(CONFIG, rng)
    reward = with_scalar_head(policy, CONFIG, rng)
    return PPOModels(policy.copy(), policy, reward, reward.copy(), CONFIG, CONFIG)


def check_wrong_arguments(verb, tmp_path, monkeypatch, capsys):
    """Each mistake is one clear line, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "points.resume.jsonl").write_text("", encoding="utf-8")
    for arguments, expected in (
        (("--lang", "xx"), "--lang xx"),
        (("--seeds", "0"), "--seeds 0: expected 1 or more"),
        (("--seed", "-1"), "--seed -1"),
        (("--out", "out"), "--resume"),
    ):
        assert main([verb, *arguments]) == 2
        error = capsys.readouterr().err
        assert expected in error and error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["out", "points.resume.jsonl"]


def draw_with_the_bundled_font(plot, results, lang, tmp_path, monkeypatch):
    """plot(results, lang) -> its Figure, saved without a warning: every glyph is there.

    The caption says that the annotators are simulated.
    """
    import matplotlib.mathtext  # noqa: F401  old versions warn of pyparsing while importing it

    monkeypatch.setattr(plots, "SYSTEM_FONTS", ())  # the bundled font only
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("error", RuntimeWarning)
        # of an old matplotlib beside a new pyparsing, about each other
        warnings.simplefilter("ignore", DeprecationWarning)
        figure = plot(results, lang)
        plots.save_figure(figure, tmp_path / "picture.png")
    assert ("simulated" if lang == "en" else "模拟") in figure.get_label().lower()
    return figure
