"""Residual networks and dynamic filters through the commands: train, compare, plot filters."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

import decoupled_nets as dn
from decoupled_nets.cli import plot
from decoupled_nets.cli.main import main
from decoupled_nets.compare import CompareConfig, compare
from decoupled_nets.data import load_data
from decoupled_nets.reports.filters import generated_filters, most_different
from decoupled_nets.reports.results import Results
from decoupled_nets.training import TrainConfig, load_config, load_network
from decoupled_nets.training.network import load_origin

MODEL = "ddf_cifar_resnet26"
SMALL = ["--data", "synthetic", "--model", MODEL, "--width", "0.03", "--epochs", "1", "--train-size", "64"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ddf")
    assert main(["train", *SMALL, "--out", str(folder)]) == 0
    return folder / "last.ckpt"


def test_the_operator_follows_the_network() -> None:
    assert TrainConfig().operator == "tanh-cos"
    assert TrainConfig.of(model=MODEL).operator == "ddf"
    assert TrainConfig.of(model=MODEL, operator="tanh-cos").operator == "tanh-cos"
    assert TrainConfig.of(model=MODEL, radius=2.0).ignored == ["ddf ignores radius"]
    assert TrainConfig.of(model=MODEL, operator="ball-cos", radius=2.0).ignored == []


def test_train(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = load_network(trained)
    assert any(isinstance(m, dn.DDF2d) for m in network.modules())
    assert network(torch.rand(2, 3, 32, 32)).shape == (2, 4)
    assert load_config(trained).operator == "ddf"
    assert main(["train", "--resume", "--out", str(trained.parent)]) == 0
    assert f"{MODEL} ddf on synthetic" in capsys.readouterr().out


def test_compare(tmp_path: Path) -> None:
    config = CompareConfig.of(
        data="synthetic", model=MODEL, operators="conv,ddf", width=0.03, epochs=1,
        batch_size=8, train_size=16, test_size=8, attack_images=2, feature_epochs=1,
    )  # fmt: skip
    compare(config, tmp_path, quiet=True)
    results = Results.load(tmp_path / "results.json")
    assert [run.operator for run in results.runs] == config.names
    counts = {run.operator: run.parameters for run in results.runs}
    assert counts["ddf"] != counts["conv"]
    assert {f.operator for f in results.features} == set(config.names)
    assert (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["compare", "--operators", "conv,ddf", "--data", "synthetic"], "(ddf_cifar_resnet26)"),
        (["compare", "--operators", "conv,ddff"], "needed: '<magnitude>-<angle>'"),
        (["train", *SMALL, "--no-batch-norm"], "--no-batch-norm received; needed: --batch-norm;"),
        (["plot", "filters", "--checkpoint", "none.ckpt"], "none.ckpt does not exist"),
        (["plot", "filters", "--checkpoint", "none.ckpt", "--channels", "0"], "--channels 0 received"),
    ],
)
def test_errors(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--theme", "dark", "--channels", "9", "--positions", "1"]])
def test_plot_filters(trained: Path, options: list[str], tmp_path: Path) -> None:
    argv = ["plot", "filters", "--checkpoint", str(trained), "--out", str(tmp_path), *options]
    assert main(argv) == 0
    with Image.open(tmp_path / "filters.png") as image:
        assert image.width == 1200


def test_plot_filters_of_a_file(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("L", (50, 40), 128).save(tmp_path / "grey.png")
    argv = ["plot", "filters", "--checkpoint", str(trained), "--out", str(tmp_path)]
    assert main([*argv, "--image", str(tmp_path / "grey.png"), "--layer", "network.layer3.0.conv2"]) == 0
    assert main([*argv, "--image", str(trained)]) == 2
    assert "is not a readable image" in capsys.readouterr().err
    assert main([*argv, "--image", "99999"]) == 2
    assert "test image 99999 received; needed: 0 to 127" in capsys.readouterr().err
    assert main([*argv, "--layer", "network.fc"]) == 2
    assert "--layer 'network.fc' received; needed: one of network.layer1.0.conv2" in capsys.readouterr().err


def test_plot_filters_of_test_image_n_shows_test_image_n(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = []
    generate = plot.generated_filters
    monkeypatch.setattr(plot, "generated_filters", lambda n, image, *more: (
        shown.append(image), generate(n, image, *more))[1])  # fmt: skip
    for n in ("0", "7", "127"):
        argv = ["plot", "filters", "--checkpoint", str(trained), "--out", str(tmp_path), "--image", n]
        assert main(argv) == 0
    images = torch.cat([batch for batch, _ in load_data(load_config(trained).data).test_loader(50)])
    assert torch.equal(torch.stack(shown), images[[0, 7, 127]])
    output = capsys.readouterr()
    assert output.err == ""
    assert output.out.startswith("Data: synthetic")


def test_plot_filters_says_if_the_data_is_another(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    origin = {**load_origin(trained), "digest": "other"}
    monkeypatch.setattr(plot, "load_origin", lambda path: origin)
    assert main(["plot", "filters", "--checkpoint", str(trained), "--out", str(tmp_path)]) == 0
    assert "Not what the network was trained on: data:" in capsys.readouterr().err


@pytest.mark.parametrize("combine", ["mul", "add"])
@torch.no_grad()
def test_generated_filters_give_the_layers_output(combine: str) -> None:
    layer = dn.DDF2d(4, stride=2, combine=combine)
    image = torch.rand(4, 9, 8)
    shown = generated_filters(torch.nn.Sequential(torch.nn.Identity(), layer), image, None, 3, 2)
    assert (shown.layer, shown.combine) == ("1", combine)
    padded = torch.nn.functional.pad(image, (1, 1, 1, 1))
    expected = layer(image)
    for n, (row, column) in enumerate(shown.positions.tolist()):
        for m, channel in enumerate(shown.channels.tolist()):
            patch = padded[channel, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
            response = (patch * shown.combined[m, n]).sum()
            torch.testing.assert_close(response, expected[channel, row, column])


def test_generated_filters_are_those_of_evaluation_and_leave_the_mode() -> None:
    layer = dn.DDF2d(4, norm="batch")
    network = torch.nn.Sequential(torch.nn.Identity(), layer, torch.nn.Dropout().eval())
    state = {name: value.clone() for name, value in network.state_dict().items()}
    image = torch.rand(4, 9, 8)
    shown = generated_filters(network, image)
    assert [module.training for module in network] == [True, True, False]
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    torch.testing.assert_close(shown.channel, layer.eval().filters(image[None])[0][0, shown.channels])


def test_a_layer_that_is_not_called() -> None:
    network = torch.nn.Identity()
    network.unused = dn.DDF2d(3)
    with pytest.raises(ValueError, match="a network that does not call the layer received"):
        generated_filters(network, torch.rand(3, 4, 4))


def test_most_different_items() -> None:
    items = torch.tensor([[1.0, 0.0], [1.0, 0.1], [-1.0, 0.0], [0.0, 2.0]])
    assert most_different(items, 3).tolist() == [3, 0, 2]
    assert sorted(most_different(items, 9).tolist()) == [0, 1, 2, 3]
    assert most_different(torch.zeros(2, 3), 2).tolist() == [0, 1]


def test_networks_without_dynamic_filters() -> None:
    with pytest.raises(ValueError, match="a network without dynamic filters received"):
        generated_filters(torch.nn.Conv2d(3, 3, 1), torch.rand(3, 4, 4))
