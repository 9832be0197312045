"""What the tests of all experiments check alike: the verb's arguments and the picture."""

import warnings

from minirlhf import plots
from minirlhf.__main__ import main


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
        figure = plot(results, lang)
        plots.save_figure(figure, tmp_path / "picture.png")
    assert ("simulated" if lang == "en" else "模拟") in figure.get_label().lower()
    return figure
