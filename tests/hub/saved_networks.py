"""Small networks to save, and what a round trip has to keep."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

import decoupled_nets as dn

X = torch.rand(2, 3, 32, 32)


def randomized(model: nn.Module) -> nn.Module:
    """As after training: nothing is where it started."""
    for tensor in [*model.parameters(), *model.buffers()]:
        if tensor.is_floating_point():
            # Adding, too: timm's residual branches end in zeros, which hide what they compute.
            tensor.data.mul_(1 + 0.1 * torch.rand_like(tensor)).add_(0.01 * torch.rand_like(tensor))
    return model.eval()


def small(**options) -> nn.Module:
    return randomized(dn.create_model("cifar_vgg11", 4, **{"width": 1 / 16, **options}))


def check_round_trip(model: nn.Module, folder: Path, **options) -> nn.Module:
    drawn = torch.get_rng_state()
    dn.save_pretrained(model, folder, **options)
    again = dn.from_pretrained(folder)
    assert torch.equal(drawn, torch.get_rng_state())
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert not any(m.training for m in again.modules())
    state = model.state_dict()
    assert {k: v.dtype for k, v in again.state_dict().items()} == {k: v.dtype for k, v in state.items()}
    assert str(again) == str(model)
    assert torch.equal(
        again(X.to(next(model.parameters()).dtype)), model(X.to(next(model.parameters()).dtype))
    )
    return again
