"""Every option of ``decoupled distil`` does what it says."""

from __future__ import annotations

import json

import pytest
from matplotlib.colors import same_color
from proofs import proves

import decoupled_nets as dn
from decoupled_nets.cli import distil as command
from decoupled_nets.cli.distil import DistilConfig
from decoupled_nets.cli.main import main
from decoupled_nets.reports.figures.style import THEMES

WORDS = ["--data", "sample", "--train-size", "60", "--val-size", "40", "--test-size", "20", "--epochs", "1"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    words = [*WORDS, "--width", "0.03", "--operator", "spline-cos@ball-cos", "--out", str(folder)]
    assert main(["train", *words]) == 0
    return folder


@pytest.fixture
def drawn(monkeypatch):
    """The figure in place of the picture."""
    figures = []
    monkeypatch.setattr(command.figures, "png", lambda figure: (figures.append(figure), b"picture")[1])
    return figures


def record(folder):
    return json.loads((folder / "distil.json").read_text())


@proves("distil", "checkpoint", "out")
def test_a_folder_or_a_checkpoint_is_read_and_all_is_written(run, drawn, tmp_path, capsys):
    found = []
    for place in (run, run / "best.ckpt"):
        out = tmp_path / place.name
        assert main(["distil", str(place), "--images", "40", "--out", str(out)]) == 0
        found.append(record(out))
        assert (out / "learned.png").read_bytes() == b"picture"
        said = capsys.readouterr().out
        assert str(out / "learned.png") in said
        assert "are nearest to" in said
        assert "accuracy on 40 validation images, as learned" in said
    assert found[0]["layers"] == found[1]["layers"]
    assert found[0]["layers"][0]["learned"] == "spline-cos@ball-cos"
    assert len(drawn[0].axes) == 2 * len(found[0]["layers"])


def test_what_learns_nothing_is_refused(tmp_path, capsys):
    words = [*WORDS, "--width", "0.03", "--operator", "tanh-cos", "--out", str(tmp_path)]
    assert main(["train", *words]) == 0
    assert main(["distil", str(tmp_path)]) == 2
    assert "without learned operators received; needed" in capsys.readouterr().err


@proves(DistilConfig, "images")
def test_images(run, drawn, tmp_path):
    counts = []
    for number in ("10", "30"):
        assert main(["distil", str(run), "--images", number, "--no-exchange", "--out", str(tmp_path)]) == 0
        counts.append(sum(record(tmp_path)["layers"][0]["norms"][0]))
    assert counts[1] == 3 * counts[0] > 0
    assert main(["distil", str(run), "--images", "1"]) == 2


@proves(DistilConfig, "exchange")
@pytest.mark.parametrize("exchange", [True, False])
def test_exchange(exchange, run, drawn, tmp_path):
    words = [] if exchange else ["--no-exchange"]
    assert main(["distil", str(run), "--images", "30", *words, "--out", str(tmp_path)]) == 0
    said = record(tmp_path)["exchange"]
    assert bool(said) == exchange
    if exchange:
        assert list(said) == [
            "accuracy on 30 validation images, as learned", "with named operators everywhere", "same answers"
        ]  # fmt: skip


@proves(DistilConfig, "theme")
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_theme(theme, run, drawn, tmp_path):
    words = ["--images", "10", "--no-exchange", "--theme", theme, "--out", str(tmp_path)]
    assert main(["distil", str(run), *words]) == 0
    assert same_color(drawn[0].get_facecolor(), THEMES[theme].background)


@proves(DistilConfig, "plugin")
def test_plugin(run, drawn, tmp_path):
    path = tmp_path / "of_distil.py"
    path.write_text(
        "import decoupled_nets as dn\n"
        "dn.register_magnitude('of_distil', lambda norm, radius, alpha, beta: alpha * norm / radius)\n"
    )
    words = ["--images", "10", "--no-exchange", "--plugin", str(path), "--out", str(tmp_path)]
    assert main(["distil", str(run), *words]) == 0
    dn.unregister_magnitude("of_distil")  # raises if the command did not register it
