"""Every option of the pictures, by what is drawn."""

from __future__ import annotations

import pytest
import torch
from matplotlib.colors import same_color
from proofs import proves
from small import images
from torch import nn

import decoupled_nets as dn
from decoupled_nets.cli import plot
from decoupled_nets.cli.main import main
from decoupled_nets.cli.plot import FiltersConfig, PlotConfig
from decoupled_nets.reports.figures.style import THEMES
from decoupled_nets.tasks import find_task
from decoupled_nets.training import TrainConfig
from decoupled_nets.training.folder import origin


@pytest.fixture
def drawn(monkeypatch):
    """The figures of the last command, and their folder, in the place of files."""
    figures = {}
    monkeypatch.setattr(
        plot, "_write", lambda folder, made: (figures.clear(), figures.update(made, folder=folder))
    )
    return figures


def titles(figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes]


@proves(PlotConfig, "operators")
def test_operators(drawn):
    assert main(["plot", "operators", "--operators", "ball-cos, seg-sqcos"]) == 0
    assert titles(drawn["geometry.png"])[:3] == ["inner product", "ball-cos", "seg-sqcos"]
    assert {text.get_text() for text in drawn["functions.png"].axes[0].texts} == {"ball", "seg", "conv"}
    assert main(["plot", "operators"]) == 0
    assert {text.get_text() for text in drawn["functions.png"].axes[0].texts} >= {
        "ball",
        "seg",
        "tanh",
        "log",
    }
    assert len(titles(drawn["geometry.png"])) > 8


@proves(PlotConfig, "theme")
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_theme(theme, drawn):
    for words in (["--operators", "ball-cos"], []):
        assert main(["plot", "operators", "--theme", theme, *words]) == 0
        for name in ("functions.png", "geometry.png"):
            assert same_color(drawn[name].get_facecolor(), THEMES[theme].background)


@proves(PlotConfig, "plugin")
@proves(FiltersConfig, "plugin")
def test_plugin(drawn, network, tmp_path):
    path = tmp_path / "drawn.py"
    path.write_text(
        "import decoupled_nets as dn\n"
        "dn.register_magnitude('of_plot', lambda norm, radius, alpha, beta: alpha * norm / radius)\n"
    )
    plugin = ["--plugin", str(path)]
    assert main(["plot", "operators", "--operators", "of_plot-cos"]) == 2
    try:
        assert main(["plot", "operators", "--operators", "of_plot-cos", *plugin]) == 0
        assert titles(drawn["geometry.png"])[1] == "of_plot-cos"
        dn.unregister_magnitude("of_plot")
        assert main([*FILTERS, *plugin]) == 0
    finally:
        dn.unregister_magnitude("of_plot")  # raises if the second command did not register it


FILTERS = ["plot", "filters", "--checkpoint", "runs/mine/best.ckpt"]


@pytest.fixture
def network(monkeypatch):
    """A network of two layers of dynamic filters, in the place of what a checkpoint holds."""
    made = nn.Sequential(dn.DDF2d(3), dn.DDF2d(3, kernel_size=5)).eval()
    asked = []
    monkeypatch.setattr(plot, "load_network", lambda path: (asked.append(path), made)[1])
    monkeypatch.setattr(plot, "load_config", lambda path: TrainConfig())
    monkeypatch.setattr(find_task("classify"), "load", lambda config: images())
    monkeypatch.setattr(plot, "load_origin", lambda path: origin(images()))
    made.asked = asked
    return made


def parts(figure):
    """The image, the maps of the taps, and the table, each as its axes."""
    upper, lower = figure.subfigs
    left, right = upper.subfigs
    return left.axes, right.axes, lower.axes


@proves(FiltersConfig, "checkpoint")
def test_checkpoint(drawn, network):
    assert main(FILTERS) == 0
    assert network.asked == ["runs/mine/best.ckpt"]


@proves(FiltersConfig, "image")
@pytest.mark.parametrize("number", [0, 5])
def test_image(number, drawn, network):
    assert main([*FILTERS, "--image", str(number)]) == 0
    (axes,), _, _ = parts(drawn["filters.png"])
    shown = torch.from_numpy(axes.images[0].get_array().data)
    torch.testing.assert_close(shown.float(), images().test_image(number)[0][0].permute(1, 2, 0))


@proves(FiltersConfig, "layer")
def test_layer(drawn, network):
    assert main(FILTERS) == 0
    assert len(parts(drawn["filters.png"])[1]) == 9
    assert main([*FILTERS, "--layer", "1"]) == 0
    assert len(parts(drawn["filters.png"])[1]) == 25


@proves(FiltersConfig, "positions", "channels")
@pytest.mark.parametrize(("positions", "channels"), [(2, 3), (5, 1)])
def test_positions_and_channels(positions, channels, drawn, network):
    assert main([*FILTERS, "--positions", str(positions), "--channels", str(channels)]) == 0
    image, _, table = parts(drawn["filters.png"])
    assert len(table) == (positions + 1) * (channels + 1)
    assert [text.get_text() for text in image[0].texts] == [str(n + 1) for n in range(positions)]
    assert sum(bool(axes.get_ylabel()) for axes in table) == channels


@proves(FiltersConfig, "theme")
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_theme_of_filters(theme, drawn, network):
    assert main([*FILTERS, "--theme", theme]) == 0
    assert same_color(drawn["filters.png"].get_facecolor(), THEMES[theme].background)
