"""Upsamplers side by side in the same network."""

from __future__ import annotations

import pytest
import torch
from proofs import proves

from decoupled_nets.compare import CompareConfig, compare
from decoupled_nets.networks import build
from decoupled_nets.training import NetworkConfig

SMALL = {
    "task": "segment", "data": "synthetic", "image_size": 32, "train_size": 8, "val_size": 4, "test_size": 4,
    "batch_size": 4, "epochs": 1, "width": 0.25,
}  # fmt: skip


def build_dense(**options):
    torch.manual_seed(0)
    return build(NetworkConfig(**options), "conv", 3, 3, dense=True).eval()


@proves(NetworkConfig, "upsample")
@pytest.mark.parametrize("model", ["unet", "smp:Unet:resnet18"])
def test_a_network_upsamples_as_asked(model):
    own, other = build_dense(model=model), build_dense(model=model, upsample="carafe")
    new = [name for name in other.state_dict() if name not in own.state_dict()]
    assert new
    x = torch.rand(2, 3, 64, 64)
    other.load_state_dict(own.state_dict(), strict=False)
    with torch.no_grad():
        assert not torch.allclose(own(x), other(x))


def test_a_network_without_upsampling_takes_none():
    with pytest.raises(ValueError, match=r"torchvision:deeplabv3_mobilenet_v3_large has no upsampling that"):
        build_dense(model="torchvision:deeplabv3_mobilenet_v3_large", upsample="ddf")


@proves(CompareConfig, "upsamplers")
def test_upsamplers_are_compared(tmp_path):
    config = CompareConfig.of(**SMALL, upsamplers="own,nearest,ddf")
    assert {one.options["operator"] for one in config.compared} == {"conv"}
    results, _ = compare(config, tmp_path, quiet=True)
    assert [run.operator for run in results.runs] == ["own", "nearest", "ddf"]
    places = sorted(path.name for path in (tmp_path / "runs").glob("*-seed0"))
    assert places == [
        "ddf-operator=conv-upsample=ddf-seed0",
        "nearest-operator=conv-upsample=nearest-seed0",
        "own-operator=conv-upsample=None-seed0",
    ]
    own, nearest, ddf = (run.parameters for run in results.runs)
    assert own == nearest < ddf
    assert "upsampling" not in results.runs[0].start
    assert results.runs[2].start["upsampling"]["converted"] == 3
    page = (tmp_path / "report.html").read_text()
    assert "Upsampling replaced" in page
    assert "3 of 3 calls" in page


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"upsamplers": "ddf,foo"}, "unknown upsampler 'foo'"),
        ({"upsamplers": "ddf,ddf"}, "upsamplers = 'ddf,ddf' received; needed: each once"),
        ({"upsamplers": "ddf", "operators": "conv,tanh-cos"}, "needed: one operator"),
        ({"upsamplers": "ddf", "upsample": "ddf"}, "upsamplers = ddf and upsample received; needed: one"),
        ({"upsamplers": "ddf", "task": "classify"}, "received for the task classify"),
        (
            {"upsamplers": "own,ddf", "task": "depth"},
            "received for model joint, whose own is ddf; needed: one",
        ),
    ],
)
def test_what_cannot_be_compared(options, said):
    with pytest.raises(ValueError, match=said):
        CompareConfig.of(**{"task": "segment", **options})


def test_what_can_be_compared_in_joint_upsampling():
    for upsamplers in ("own,pac", "ddf,pac", "ddf-bilinear,own"):
        assert len(CompareConfig.of(task="depth", upsamplers=upsamplers).compared) == 2
    assert CompareConfig.of(task="segment", upsamplers="own,ddf").names == ["own", "ddf"]
