"""Segmentation from the command to the page: networks by name, runs that go on, pictures."""

import json

import numpy as np
import pytest
import torch

import decoupled_nets as dn
from decoupled_nets.compare import CompareConfig, compare
from decoupled_nets.evaluation.trained import load_trained
from decoupled_nets.models.segmentation import UNet
from decoupled_nets.networks import build
from decoupled_nets.reports.results import Results, Run, Score, to_plain
from decoupled_nets.reports.tables import class_tables
from decoupled_nets.tasks import further_metrics
from decoupled_nets.tasks._examples import picture, pixels_of
from decoupled_nets.tasks.metrics.class_iou import class_iou
from decoupled_nets.training import NetworkConfig, TrainConfig, load_network, train

SMALL = {
    "task": "segment", "data": "synthetic", "width": 0.125, "epochs": 2, "batch_size": 8, "train_size": 24,
    "val_size": 8, "test_size": 12, "lr": 3e-3, "workers": 0,
}  # fmt: skip


def converted(network: torch.nn.Module, kind: type) -> int:
    return sum(isinstance(module, kind) for module in network.modules())


@pytest.mark.parametrize("in_chans", [1, 3])
@pytest.mark.parametrize("name", ["unet", "torchvision:lraspp_mobilenet_v3_large", "smp:fpn:resnet18"])
def test_networks_by_name(name, in_chans):
    if name.startswith("smp:"):
        pytest.importorskip("segmentation_models_pytorch")
    config = NetworkConfig(model=name, width=0.125 if name == "unet" else 1.0)
    images = torch.rand(2, 3 if name.startswith("torchvision") else in_chans, 37, 50)
    kernels = {}
    for operator, kind in (("conv", torch.nn.Conv2d), ("tanh-cos", dn.DecoupledConv2d), ("ddf", dn.DDF2d)):
        if name.startswith("torchvision") and operator == "ddf":
            continue  # its one wide convolution is strided
        torch.manual_seed(0)
        network = build(config, operator, 5, in_chans, dense=True)
        kernels[operator] = {name: p.clone() for name, p in network.named_parameters() if p.dim() == 4}
        assert converted(network, kind) > 0
        assert network(images).shape == (2, 5, 37, 50)
    assert all(torch.equal(kernels["tanh-cos"][name], kernel) for name, kernel in kernels["conv"].items())


def test_radius_and_weighting_reach_the_layers():
    config = NetworkConfig(model="unet", width=0.125, radius=2.0, weighting="linear")
    network = build(config, "ball-cos", 3, 3, dense=True)
    layers = [module for module in network.modules() if isinstance(module, dn.DecoupledConv2d)]
    assert {(layer.radius, layer.weighting) for layer in layers} == {(2.0, "linear")}


def test_width_batch_norm_and_relu_of_ours():
    count = {width: sum(p.numel() for p in UNet(3, width=width).parameters()) for width in (0.25, 0.5)}
    assert 3 < count[0.5] / count[0.25] < 4.5
    assert converted(UNet(3, batch_norm=False), torch.nn.BatchNorm2d) == 0
    assert converted(UNet(3, relu=False), torch.nn.ReLU) == 0
    with pytest.raises(ValueError, match="width = 0 received"):
        UNet(3, width=0)
    with pytest.raises(ValueError, match="needed: at least 8²"):
        UNet(3, width=0.125)(torch.rand(1, 3, 7, 9))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cnn9", "model 'cnn9' received for segmentation; needed: unet, smp:ARCH:ENCODER, torchvision"),
        ("torchvision:resnet18", "needed: one of deeplabv3"),
        ("smp:unet:nothing", "needed: smp:ARCH:ENCODER"),
        ("smp:nothing", "needed: smp:ARCH:ENCODER"),
    ],
)
def test_unknown_networks(name, message):
    if name.startswith("smp:"):
        pytest.importorskip("segmentation_models_pytorch")
    with pytest.raises(ValueError, match=message):
        build(NetworkConfig(model=name), "conv", 3, 3, dense=True)


def test_a_run_and_what_it_keeps(finished):
    folder, module = finished
    tested = json.loads((folder / "test.json").read_text())
    assert {"epoch", "loss", "miou", "images", "metrics"} == set(tested)
    assert set(tested["metrics"]) == {"class_iou", "pixel_accuracy"}
    occurring = module.outcomes.sum(0)[3:] > 0
    per_class = torch.tensor(tested["metrics"]["class_iou"])[occurring]
    assert tested["miou"] == pytest.approx(float(per_class.mean()), rel=1e-5)
    assert module.outcomes.shape == (12, 6)
    assert module.task.value(module.outcomes.sum(0), 12) == tested["miou"]
    again = train(TrainConfig.of(**SMALL), folder, resume=True, quiet=True)
    assert torch.equal(again.outcomes, module.outcomes)
    network = load_network(folder / "last.ckpt")
    images = torch.rand(2, 3, 32, 48)
    assert torch.equal(network(images), module.network.eval()(images))
    trained = load_trained(folder)
    assert (trained.in_chans, trained.image_size) == (3, (32, 48))
    assert trained.network(images).shape == (2, 3, 32, 48)


def test_an_interrupted_run_ends_with_the_same_bits(check_interrupted):
    check_interrupted(2)  # in mid-epoch


def test_compare_shows_predictions(tmp_path):
    options = {**SMALL, "epochs": 1, "operators": "conv,ddf", "class_names": "ground,disc,box"}
    results, paths = compare(CompareConfig.of(**options), tmp_path, quiet=True)
    assert (results.task, results.metric.name, results.metric.better) == ("segment", "miou", "higher")
    assert results.interval == "bootstrap"
    assert "predictions.png" in {path.name for path in paths}
    assert results.features == []
    for run in results.runs:
        assert run.test.low <= run.test.value <= run.test.high
        assert len(run.further["class_iou"]) == 3
    again, _ = compare(CompareConfig.of(**options), tmp_path, quiet=True)
    assert again == results == Results.load(tmp_path / "results.json")
    page = (tmp_path / "report.html").read_text()
    for text in ("Test mIoU, %", "bootstrap", "Pixel accuracy, %", "IoU, %", ">disc<", "Predictions"):
        assert text in page, text
    assert "conv reached" in page
    assert "--task segment --data synthetic" in results.config["command"]
    # What is shown is what the network of the run makes of these images.
    images, masks = (
        torch.stack([torch.tensor(np.asarray(pixels_of(text))) for text in results.examples["given"][name]])
        for name in ("images", "masks")
    )
    network = load_network(tmp_path / "runs" / "conv-seed0" / "last.ckpt")
    with torch.no_grad():
        found = network(images.permute(0, 3, 1, 2) / 255).argmax(1)
    assert [picture(mask) for mask in found] == results.examples["made"]["conv"]
    assert masks.shape == found.shape


def test_predictions_are_drawn_in_the_colours_of_their_classes(tmp_path):
    metric = class_iou("abc")
    metric.update(torch.tensor([[0, 1]]), torch.tensor([[0, 1]]))
    found = to_plain(metric.compute().tolist())
    assert found == [1.0, 1.0, None]
    (further,) = [one for one in further_metrics("segment") if one.metric.name == "class_iou"]
    runs = [Run("conv", 0, 1, [], Score(1.0, 1), further={"class_iou": found})]
    results = Results(
        ["conv"], [0], {}, {"classes": list("abc")}, {}, 0.0, runs, further={"class_iou": further.metric}
    )
    (table,) = class_tables(results)
    assert [row[1] for row in table.rows] == ["100.0", "100.0", "–"]
