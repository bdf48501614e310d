"""Detection from the command to the page: networks by name, runs that go on, what is learned."""

import json

import pytest
import torch
from torchvision.models.detection import ssdlite320_mobilenet_v3_large

import decoupled_nets as dn
from decoupled_nets.compare import CompareConfig, compare
from decoupled_nets.models.detection import MOST, Detector
from decoupled_nets.models.faster_rcnn import fasterrcnn
from decoupled_nets.networks import build
from decoupled_nets.reports.results import Results
from decoupled_nets.tasks import find_task
from decoupled_nets.training import NetworkConfig, TrainConfig, load_network, train

SMALL = {
    "task": "detect", "data": "synthetic", "width": 0.0625, "epochs": 2, "batch_size": 4, "train_size": 8,
    "val_size": 4, "test_size": 6, "lr": 3e-3, "workers": 0, "operator": "conv",
}  # fmt: skip


@pytest.mark.parametrize(("operator", "kind"), [("tanh-cos", dn.DecoupledConv2d), ("ddf", dn.DDF2d)])
def test_operators_stand_everywhere_but_in_the_output_layers(operator, kind):
    config = NetworkConfig(model="fasterrcnn", width=0.0625)
    network = build(config, operator, 2, 1, boxes=True)
    names = [name for name, module in network.named_modules() if isinstance(module, kind)]
    assert any("stages" in name for name in names)
    assert any("fpn.layer_blocks" in name for name in names)
    for name in ("rpn.head.cls_logits", "rpn.head.bbox_pred", "roi_heads.box_predictor.cls_score"):
        layer = network.network.get_submodule(name)
        assert type(layer) in (torch.nn.Conv2d, torch.nn.Linear), name
    assert network.eval()(torch.rand(2, 1, 37, 50)).shape == (2, MOST, 6)


def test_losses_depend_on_the_objects_and_not_on_crowds():
    network = Detector(fasterrcnn(2, 3, 0.0625), 3).train()
    images, truth = torch.rand(1, 3, 48, 64), torch.tensor([[[5.0, 5, 30, 30, 1, 0], [0, 0, 0, 0, -1, 0]]])
    crowd = truth.clone()
    crowd[0, 1] = torch.tensor([20.0, 20, 60, 40, 0, 1])
    none = truth.clone()
    none[..., 4] = -1

    def losses(objects):
        torch.manual_seed(0)
        return {name: float(loss.detach()) for name, loss in network(images, objects).items()}

    assert losses(truth) == losses(crowd)
    assert losses(none)["loss_box_reg"] == 0 < losses(truth)["loss_rpn_box_reg"]


def test_boxes_are_not_of_half_precision():
    """Beyond 256, bfloat16 has every second number; boxes that were computed in it could not say less."""
    torch.manual_seed(0)
    network, images = Detector(fasterrcnn(2, 3, 0.0625), 3).eval(), torch.rand(1, 3, 96, 640)
    with torch.no_grad():
        plain = network(images)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = network(images)
    right = plain[..., 2][plain[..., 5] >= 0]
    assert (right > 256).any()
    assert (right != right.bfloat16()).any()
    torch.testing.assert_close(mixed, plain, atol=0.1, rtol=0)


@pytest.mark.parametrize("own", [True, False])
def test_anchors_are_not_of_half_precision(own):
    """In training under autocast as well: what is learned there is the way from them to the objects."""
    inner = (
        fasterrcnn(2, 3, 0.0625)
        if own
        else ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None)
    )
    network, seen = Detector(inner, 3).train(), []
    find = inner.rpn.anchor_generator if own else inner.anchor_generator
    find.register_forward_hook(lambda module, inputs, anchors: seen.extend(anchors))
    truth = torch.tensor([[[5.0, 5, 90, 60, 1, 0]]]).repeat(2, 1, 1)
    with torch.autocast("cpu", torch.bfloat16):
        losses = network(torch.rand(2, 3, 64, 320), truth)
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert {anchors.dtype for anchors in seen} == {torch.float32}
    assert (seen[0] != seen[0].bfloat16()).any()


def test_weights_of_half_precision_are_refused():
    for precision in ("bf16-true", "16-true"):
        with pytest.raises(
            ValueError, match=f"precision = {precision} received for the task detect; needed: 32"
        ):
            TrainConfig.of(**{**SMALL, "precision": precision})
    assert TrainConfig.of(**{**SMALL, "precision": "bf16-mixed"}).machine.precision == "bf16-mixed"


def test_a_look_at_the_boxes_changes_no_mode():
    """A BatchNorm that the user keeps still in training stays so."""
    network = Detector(fasterrcnn(2, 3, 0.0625), 3).train()
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    norms[0].eval()
    before = [module.training for module in network.modules()]
    network(torch.rand(1, 3, 48, 64))
    assert [module.training for module in network.modules()] == before
    assert norms[1].num_batches_tracked == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cnn9", "model 'cnn9' received for detection; needed: fasterrcnn, torchvision:NAME"),
        ("torchvision:resnet18", "unknown torchvision detector 'resnet18'"),
        ("torchvision:maskrcnn_resnet50_fpn", "unknown torchvision detector"),
        ("timm:resnet18", "model timm:resnet18 received for detection; needed: torchvision:NAME"),
    ],
)
def test_unknown_networks(name, message):
    with pytest.raises(ValueError, match=message):
        build(NetworkConfig(model=name), "conv", 3, 3, boxes=True)


@pytest.mark.long
@pytest.mark.parametrize(
    "name",
    ["fasterrcnn_mobilenet_v3_large_320_fpn", "retinanet_resnet50_fpn", "fcos_resnet50_fpn", "ssd300_vgg16"],
)
def test_torchvisions_detectors(name):
    network = build(NetworkConfig(model=f"torchvision:{name}"), "conv", 2, 3, boxes=True)
    size = (
        (300, 300) if "ssd300" in name else (96, 128)
    )  # of smaller ones nothing is left for its last layers
    images, truth = torch.rand(2, 3, *size), torch.tensor([[[10.0, 10, 60, 60, 1, 0]]]).repeat(2, 1, 1)
    loss = sum(network.train()(images, truth).values())
    loss.backward()
    assert torch.isfinite(loss)
    assert network.eval()(images).shape == (2, MOST, 6)


@pytest.mark.parametrize(
    ("name", "value"), [("label_smoothing", 0.1), ("class_weights", "balanced"), ("drop_rate", 0.2)]
)
def test_options_that_detectors_have_no_use_for(name, value):
    with pytest.raises(ValueError, match=f"{name} = {value} received for the task detect; needed"):
        TrainConfig.of(**{**SMALL, name: value})


def test_a_run_and_what_it_keeps(finished):
    folder, module = finished
    tested = json.loads((folder / "test.json").read_text())
    assert set(tested["metrics"]) == {"ap50", "ap75", "ap_small", "ap_medium", "ap_large", "class_ap"}
    assert module.outcomes.shape == (6, module.task.counts)
    assert module.task.value(module.outcomes, 6) == tested["ap"]
    again = train(TrainConfig.of(**SMALL), folder, resume=True, quiet=True)
    assert torch.equal(again.outcomes, module.outcomes)
    network = load_network(folder / "last.ckpt")
    images = torch.rand(2, 3, 48, 72)
    assert torch.equal(network(images), module.network.eval()(images))


def test_an_interrupted_run_ends_with_the_same_bits(check_interrupted):
    check_interrupted(1)  # in mid-epoch


@pytest.mark.long
def test_it_learns_to_find_objects():
    """Eight images by heart: boxes in the wrong place, or of the wrong class, would leave AP50 near 0."""
    task = find_task("detect")
    data = task.load(TrainConfig.of(**SMALL).data)
    own = task(data.classes)
    images, truth = data.train_subset(8)
    torch.manual_seed(0)
    network = Detector(fasterrcnn(2, 3, 0.125), 3).train()
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3)
    before = own.training_loss(network, images, truth)
    for _ in range(60):
        optimizer.zero_grad()
        loss = own.training_loss(network, images, truth)
        loss.backward()
        optimizer.step()
    assert loss < 0.5 * before
    table = own.scorer(own.outcomes(network.eval()(images), truth)).table(None, ("all",))[:, 0]
    assert table[0].mean() > 0.5


@pytest.mark.long
def test_compare_shows_boxes(tmp_path):
    options = {**SMALL, "epochs": 1, "operators": "conv,tanh-cos", "seeds": 2, "train_size": 4}
    del options["operator"]
    results, paths = compare(CompareConfig.of(**options), tmp_path, quiet=True)
    assert (results.task, results.metric.name, results.interval) == ("detect", "ap", "bootstrap")
    assert "boxes.png" in {path.name for path in paths}
    assert results.differences["tanh-cos"].images == 6
    assert results.to_json() == Results.load(tmp_path / "results.json").to_json()
    page = (tmp_path / "report.html").read_text()
    for text in ("Test AP, %", "AP50, %", ">disc<", "Boxes", "the boxes of their objects"):
        assert text in page, text
    data = find_task("detect").load(CompareConfig.of(**options).data)
    _, truth = data.test_subset(4)
    given = [json.loads(text) for text in results.examples["given"]["boxes"]]
    assert [len(rows) for rows in given] == [(rows[:, 4] >= 0).sum() for rows in truth]
