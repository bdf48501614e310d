"""Conversion of networks of timm and torchvision, one of a kind; scripts/sweep_convert.py takes many more."""

from __future__ import annotations

from collections import Counter

import pytest
import timm
import torch
import torchvision
from torch.optim.swa_utils import update_bn

import decoupled_nets as dn

# What is left, and why, where that says something.
NETWORKS = {
    "timm/test_resnet": {},
    "timm/test_efficientnet": {},
    "timm/test_byobnet": {},
    "timm/test_convnext": {},
    "timm/test_vit": {},
    "timm/test_nfnet": {"1×1": 21},
    "timm/regnetx_002": {"1×1": 30},
    "timm/tf_mobilenetv3_small_minimal_100": {"depth-wise": 11, "1×1": 23},
    "torchvision/squeezenet1_1": {"1×1": 17},
    "torchvision/shufflenet_v2_x0_5": {"depth-wise": 19, "1×1": 36},
    "torchvision/mobilenet_v3_small": {"depth-wise": 11},
}


def build(name):
    source, _, network = name.partition("/")
    if source == "timm":
        return timm.create_model(network, num_classes=10)
    models = torchvision.models
    return models.get_model(network, weights=None, num_classes=10)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_network(name):
    torch.set_num_threads(1)  # small inputs; on a busy machine two wait for each other
    size = 160 if name == "timm/test_vit" else 64
    model, x = build(name), torch.randn(2, 3, size, size)
    for parameter in model.parameters():  # residual branches may begin with zeros, which hide the layers
        if not parameter.any():
            torch.nn.init.uniform_(parameter, 0.5, 1.0)
    update_bn([x], model)  # without it, signals may vanish before anything can be compared
    model.eval()
    with torch.no_grad():
        plain = model(x)
        report = dn.convert(model)
        out = model(x)
        assert out.isfinite().all()
        assert torch.equal(out, plain) == (not report.converted)
        fresh = build(name).eval()
        dn.convert(fresh)
        fresh.load_state_dict(model.state_dict())
        assert torch.equal(fresh(x), out)
    loss = model.train()(x).square().mean()
    loss.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(g.isfinite().all() for g in gradients)
    assert dn.revert(fresh) == len(report.converted)
    assert torch.equal(fresh(x), plain)
    left = Counter(fate.reason for fate in report.left)
    assert NETWORKS[name].items() <= left.items()
