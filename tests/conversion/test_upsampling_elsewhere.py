"""Converted upsampling in compiled and exported programs, in ONNX, and in saved networks."""

from __future__ import annotations

import json

import pytest
import torch
from pyramids import Calls, Pyramid, X
from torch import nn
from torchvision.models import detection, segmentation
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

import decoupled_nets as dn


def drawn(model):
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".upsamplers." in name:
                parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


def pyramid(name="ddf"):
    model = Pyramid()
    dn.convert_upsampling(model, X, name)
    return drawn(model)


@pytest.mark.parametrize("name", ["ddf", pytest.param("dysample", marks=pytest.mark.sweep)])
def test_compiled_in_one_graph(near, name):
    torch._dynamo.reset()
    model = pyramid(name)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    for got, wanted in zip(compiled(X).values(), model(X).values(), strict=True):
        near(got, wanted)
    sum(y.mean() for y in compiled(X).values()).backward()
    assert all(p.grad is not None for p in model.fpn.upsamplers.parameters())
    torch._dynamo.reset()


def test_exported(near):
    model = pyramid()
    batch = torch.export.Dim("batch", min=1, max=8)
    program = torch.export.export(model, (X,), dynamic_shapes=({0: batch},))
    for x in (X, X[:1]):
        for got, wanted in zip(program.module()(x).values(), model(x).values(), strict=True):
            near(got, wanted)


@pytest.mark.parametrize("size", [(27, 33), pytest.param((32, 48), marks=pytest.mark.long)])
def test_onnx(near, size):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model, x = pyramid(), torch.rand(2, 3, *size)
    program = torch.onnx.export(model, (x,), dynamo=True, verbose=False, optimize=False)
    assert {node.domain for node in program.model.graph} == {""}
    session = onnxruntime.InferenceSession(
        program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (name,) = [value.name for value in session.get_inputs()]
    with torch.no_grad():
        expected = model(x)
    for got, wanted in zip(session.run(None, {name: x.numpy()}), expected.values(), strict=True):
        near(torch.from_numpy(got), wanted)


def test_a_detector_finds_what_it_found():
    """Boxes and scores before and after, of a pyramid that starts as it was."""
    backbone = resnet_fpn_backbone(backbone_name="resnet18", weights=None)
    options = {"min_size": 96, "max_size": 128, "box_score_thresh": 0.0}
    model = detection.FasterRCNN(backbone, num_classes=5, **options).eval()
    images = [torch.rand(3, 96, 110), torch.rand(3, 70, 96)]
    with torch.no_grad():
        before = model(images)
        report = dn.convert_upsampling(model, images, "ddf")
        after = model(images)
    assert [fate.name for fate in report.converted] == [f"backbone.fpn[{i}]" for i in range(3)]
    for old, new in zip(before, after, strict=True):
        assert len(old["boxes"]) > 10
        assert torch.equal(old["labels"], new["labels"])
        torch.testing.assert_close(new["boxes"], old["boxes"], rtol=1e-5, atol=1e-3)  # of 100 pixels
        torch.testing.assert_close(new["scores"], old["scores"], rtol=0, atol=1e-5)
    targets = [{"boxes": torch.tensor([[5.0, 5, 50, 60]]), "labels": torch.tensor([1])}] * 2
    sum(model.train()(images, targets).values()).backward()
    found = {name: p.grad for name, p in model.backbone.fpn.upsamplers.named_parameters()}
    assert all(gradient.isfinite().all() for gradient in found.values())
    assert all(
        gradient.any()
        for name, gradient in found.items()
        if "channel_branch.1" not in name and "channel_branch.3" not in name
    )  # behind a scale that starts at 0: from the second step on


class Twice(nn.Upsample):
    def forward(self, input, guidance=None, size=None):
        return nn.functional.interpolate(input, scale_factor=2)


def check_saved(model, folder, recipe=None, example=None, x=X):
    dn.save_pretrained(model, folder, recipe=recipe, example_input=example)
    again = dn.from_pretrained(folder)
    for got, wanted in zip(
        *(torch.utils._pytree.tree_leaves(m.eval()(x)) for m in (again, model)), strict=True
    ):
        assert torch.equal(got, wanted)
    assert list(again.state_dict()) == list(model.state_dict())
    return again


def test_saved_with_torchvisions_segmentation(tmp_path):
    options = {"weights": None, "weights_backbone": None, "num_classes": 3}
    model = segmentation.lraspp_mobilenet_v3_large(**options)
    dn.convert_upsampling(model, X)
    recipe = {
        "source": "torchvision", "model": "lraspp_mobilenet_v3_large", "arguments": {"num_classes": 3},
    }  # fmt: skip
    again = check_saved(drawn(model), tmp_path, recipe)
    config = json.loads((tmp_path / "config.json").read_text())
    (change,) = config["upsampling"]
    assert change["module"] == "classifier"
    assert change["calls"][0] == {
        "upsampler": "ddf-bilinear", "channels": 128, "scale_factor": 2, "guidance_channels": 40,
        "mode": "bilinear",
    }  # fmt: skip
    assert dn.revert(again) == 1


@pytest.mark.sweep
def test_saved_with_torchvisions_detection(tmp_path):
    model = detection.fasterrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=2, min_size=64, max_size=96
    ).eval()
    images = [torch.rand(3, 64, 64)]
    dn.convert_upsampling(model, images)
    recipe = {
        "source": "torchvision", "model": "fasterrcnn_resnet50_fpn",
        "arguments": {"num_classes": 2, "min_size": 64, "max_size": 96},
    }  # fmt: skip
    targets = [{"boxes": torch.tensor([[5.0, 5, 30, 40]]), "labels": torch.tensor([1])}]
    check_saved(drawn(model), tmp_path, recipe, (images, targets), images)


def test_saved_with_smp(tmp_path):
    smp = pytest.importorskip("segmentation_models_pytorch")
    model = smp.create_model("unet", "resnet18", None, classes=2)
    dn.convert_upsampling(model, torch.rand(1, 3, 64, 64), "dysample", select="decoder.*")
    dn.convert(model, "tanh-cos", select="encoder.layer4.*")
    recipe = {"source": "smp", "model": "unet:resnet18", "arguments": {"classes": 2}}
    check_saved(drawn(model), tmp_path, recipe, x=torch.rand(1, 3, 64, 64))


def test_what_cannot_be_saved_or_built(tmp_path):
    from decoupled_nets.hub.upsampling import answer_again, answers_of

    model = Calls(lambda m, x: m.up(x), up=nn.Upsample(scale_factor=2))
    dn.convert_upsampling(model, torch.rand(1, 3, 8, 8), lambda c, s, g: Twice())
    with pytest.raises(
        ValueError, match=r"the module 'up' upsamples by .* which has no name; needed: one that"
    ):
        answers_of("up", model.up)
    dn.revert(model)
    call = {"upsampler": "ddf", "channels": 8, "scale_factor": 2, "guidance_channels": None}
    for change in (
        None, {"module": "up"}, {"module": "up", "calls": [None]}, {"module": 3, "calls": [call]},
        {"module": "up", "calls": [{"upsampler": "ddf"}]},
        {"module": "up", "calls": [{**call, "upsampler": 3}]},
    ):  # fmt: skip
        with pytest.raises(ValueError, match="received; needed: a module and what answers its calls"):
            answer_again(model, change)
    with pytest.raises(ValueError, match="unknown upsampler 'ddff'"):
        answer_again(model, {"module": "up", "calls": [{**call, "upsampler": "ddff"}]})
    with pytest.raises(ValueError, match="upsampling of 'down' received; needed: a module of the network"):
        answer_again(model, {"module": "down", "calls": [call]})
    answer_again(model, {"module": "up", "calls": [call]})
    with pytest.raises(
        ValueError, match="upsampling of 'up' received; needed: a module of the network, and once"
    ):
        answer_again(model, {"module": "up", "calls": [call]})
