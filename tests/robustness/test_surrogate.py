"""The surrogate backward pass: the same outputs, and the gradient of its formula in plain float64."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from network_zoo import honest
from torch import Tensor, nn

import decoupled_nets as dn
from decoupled_nets.robustness.surrogate import surrogate_backward
from decoupled_nets.robustness.victim import Victim

CONVS: dict[str, tuple[type[nn.Module], tuple[int, ...]]] = {
    "conv1d": (dn.DecoupledConv1d, (3, 4, 9)),
    "conv2d": (dn.DecoupledConv2d, (3, 4, 6, 5)),
    "conv3d": (dn.DecoupledConv3d, (3, 4, 4, 5, 4)),
}
OPERATORS = ("tanh-cos", "ball-sqcos", "sphere-cos", "seg-linear", "log-sigmoid", "mix-cos")


def gradient(model: nn.Module, images: Tensor, *, on: bool) -> tuple[Tensor, Tensor]:
    """Output, and gradient of a fixed sum of it."""
    images = images.clone().requires_grad_()
    with surrogate_backward(model, on=on):
        out = model(images)
    pull = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).reshape(out.shape)
    return out.detach(), torch.autograd.grad((out * pull).sum(), images)[0]


def sized(own: Tensor, response: Tensor) -> Tensor:
    """The response with each image made as large as its own."""
    count = len(own)
    ratio = own.reshape(count, -1).norm(dim=1) / response.detach().reshape(count, -1).norm(dim=1)
    return response * ratio.reshape(-1, *[1] * (own.ndim - 1))


def of_formula(layer: Any, images: Tensor, weight: Tensor, patches: Any) -> Tensor:
    """The surrogate gradient of a decoupled layer, written out: ‖x‖ g(θ) in place of h(‖x‖) g(θ)."""
    images = images.double().clone().requires_grad_()
    rows, back = patches(images)  # (B, patches, entries), and (B, patches, O) to the output's shape
    flat = weight.detach().double().flatten(1)
    norm = (rows.square().sum(-1, keepdim=True) + layer.eps).sqrt()
    cosine = rows @ flat.T / norm / (flat.square().sum(1) + layer.eps).sqrt()
    response = back(norm * layer.operator.g(cosine))
    own = layer.double()(images.detach()).detach()
    if layer.bias is not None:
        own = own - layer.bias.detach().reshape(-1, *[1] * (own.ndim - 2 if weight.ndim > 2 else 0))
    out = sized(own, response)
    pull = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).reshape(out.shape)
    return torch.autograd.grad((out * pull).sum(), images)[0]


def vectors(images: Tensor) -> tuple[Tensor, Any]:
    return images, lambda response: response


def windows(images: Tensor) -> tuple[Tensor, Any]:
    """3 x 3 windows with a border of zeros."""
    rows = nn.functional.unfold(images, 3, padding=1).transpose(1, 2)
    return rows, lambda response: response.transpose(1, 2).reshape(len(images), -1, *images.shape[2:])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("operator", OPERATORS)
def test_the_gradient_is_that_of_the_formula(operator: str, bias: bool):
    images = torch.randn(3, 4, 6, 5)
    layer = dn.DecoupledConv2d(4, 5, 3, padding=1, bias=bias, operator=operator).eval()
    out, found = gradient(layer, images, on=True)
    plain, own = gradient(layer, images, on=False)
    assert torch.equal(out, plain)
    expected = of_formula(layer, images, layer.weight, windows)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found, own, rtol=0.05)


@pytest.mark.parametrize("operator", ["tanh-cos", "ball-sqcos"])
def test_linear_layers_too(operator: str):
    images = torch.randn(3, 7)
    layer = dn.DecoupledLinear(7, 5, operator=operator, radius=0.5).eval()
    out, found = gradient(layer, images, on=True)
    assert torch.equal(out, gradient(layer, images, on=False)[0])
    expected = of_formula(layer, images, layer.weight, vectors)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("radius", ["relative", "learned", 0.5])
@pytest.mark.parametrize("name", [*CONVS, "linear"])
def test_every_layer_has_one_and_fusing_changes_nothing(name: str, radius: Any):
    if name == "linear":
        layer, images = dn.DecoupledLinear(4, 5, radius=radius), torch.randn(3, 6, 4)
    else:
        kind, shape = CONVS[name]
        layer, images = kind(4, 6, 3, padding=1, groups=2, radius=radius), torch.randn(*shape)
    layer.eval()
    out, found = gradient(layer, images, on=True)
    plain, own = gradient(layer, images, on=False)
    assert torch.equal(out, plain)
    assert not torch.allclose(found, own, rtol=0.05)
    fused = dn.fuse(layer)
    with surrogate_backward(fused) as count:
        assert count == 1
    out, fused_found = gradient(fused, images, on=True)
    assert torch.equal(out, gradient(fused, images, on=False)[0])
    torch.testing.assert_close(fused_found, found, rtol=1e-4, atol=1e-5)
    assert torch.equal(gradient(layer, images, on=False)[1], own)  # nothing stays behind


def test_a_batch_norm_folded_into_a_layer_keeps_its_sign():
    block = nn.Sequential(dn.DecoupledConv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3))
    block(torch.randn(8, 2, 5, 5))
    with torch.no_grad():
        block[1].weight.copy_(torch.tensor([1.0, -2.0, 0.5]))
        block[1].bias.copy_(torch.tensor([3.0, 0.0, -3.0]))
    images = torch.randn(2, 2, 5, 5)
    block.eval()
    _, found = gradient(block, images, on=True)
    out, fused = gradient(dn.fuse(block), images, on=True)
    torch.testing.assert_close(out, block(images).detach(), rtol=1e-4, atol=1e-5)
    # The factor of an image is of the whole response, before or behind the BatchNorm: directions agree.
    alike = torch.cosine_similarity(found.flatten(1), fused.flatten(1))
    assert alike.min() > 0.99


@pytest.mark.parametrize("affine", ["filter", "tap", None])
def test_filters_that_are_normalised_pass_their_scale_on(affine: Any):
    layer = dn.FilterNorm(2, 3, affine=affine).eval()
    filters = torch.randn(3, 18, 4, 4)
    if layer.scale is not None:
        nn.init.normal_(layer.scale)
    if layer.shift is not None:
        nn.init.normal_(layer.shift)
    out, found = gradient(layer, filters, on=True)
    plain, own = gradient(layer, filters, on=False)
    assert torch.equal(out, plain)
    given = filters.double().requires_grad_()
    factor = torch.ones(2, 9) if layer.scale is None else layer.scale.detach().reshape(2, -1).expand(2, 9)
    shift = torch.zeros(2) if layer.shift is None else layer.shift.detach()
    scaled = given * factor.double().reshape(1, 18, 1, 1)
    unshifted = out.double() - shift.double().repeat_interleave(9).reshape(1, 18, 1, 1)
    expected = sized(unshifted, scaled)
    pull = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).reshape(out.shape)
    (expected,) = torch.autograd.grad((expected * pull).sum(), given)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found, own, rtol=0.05)


@pytest.mark.parametrize("name", ["tanh-cos", "sphere-cos", "ddf"])
@pytest.mark.parametrize("fused", [False, True])
def test_networks_give_the_same_bits(name: str, fused: bool):
    model, images = honest(name), torch.rand(20, 1, 8, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = dn.fuse(model) if fused else model
    victim = Victim(model)
    labels = torch.zeros(20, dtype=torch.int64)

    def loss(logits: Tensor, truth: Tensor) -> Tensor:
        return logits.gather(1, truth[:, None])[:, 0]

    plain, _, own = victim.gradient(images, loss, labels)
    with surrogate_backward(model) as count:
        out, _, found = victim.gradient(images, loss, labels)
        assert torch.equal(victim.logits(images), plain)
        alone = victim.gradient(images[3:4], loss, labels[3:4])[2]
    assert count == 2
    assert torch.equal(out, plain)
    assert torch.equal(alone[0], found[3])  # of each image, whatever is beside it
    assert not torch.allclose(found, own, rtol=0.05)
    assert torch.equal(victim.gradient(images, loss, labels)[2], own)


def test_an_exception_leaves_no_surrogate_behind():
    layer = dn.DecoupledLinear(4, 3).eval()
    with pytest.raises(KeyError), surrogate_backward(layer):
        raise KeyError
    assert not layer._forward_hooks
