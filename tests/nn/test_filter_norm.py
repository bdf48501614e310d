"""Filter normalisation: both arithmetics, finite gradients, parameters."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from torch import nn

import decoupled_nets as dn
from decoupled_nets.nn.filter_norm import NORMS, filter_norm


def released_by_hand(filters: torch.Tensor, count: int, scale) -> torch.Tensor:
    """One filter after the other, as the released code does it."""
    out = torch.empty_like(filters)
    taps = filters.shape[1] // count
    for i in range(count):
        part = filters[:, i * taps : (i + 1) * taps]
        mean = sum(part.unbind(1)) / taps
        squares = sum((one - mean) ** 2 for one in part.unbind(1))
        deviation = (squares / (taps - 1)).sqrt()
        for t in range(taps):
            factor = scale if isinstance(scale, float) else scale[i * taps + t]
            out[:, i * taps + t] = (part[:, t] - mean) / (deviation + 1e-10) * factor
    return out


@pytest.mark.parametrize("rest", [(1, 1), (3, 4), ()])
@pytest.mark.parametrize("kernel", [3, (3, 5)])
@pytest.mark.parametrize("affine", ["tap", None])
def test_released_arithmetic(near, affine, kernel, rest):
    norm = dn.FilterNorm(2, kernel, affine=affine, gain=math.sqrt(2), released=True, dtype=torch.float64)
    filters = torch.randn(3, 2 * norm.taps, *rest, dtype=torch.float64)
    scale = math.sqrt(2) / math.sqrt(norm.taps) if affine is None else norm.std
    near(norm(filters), released_by_hand(filters, 2, scale))


@pytest.mark.parametrize("affine", ["filter", "tap", None])
def test_paper_form(near, affine):
    norm = dn.FilterNorm(4, 3, affine=affine, eps=1e-3, gain=1.5, dtype=torch.float64)
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.copy_(torch.randn_like(parameter))
    filters = torch.randn(2, 36, 3, 2, dtype=torch.float64)
    each = filters.reshape(2, 4, 9, 3, 2)
    variance = each.var(2, correction=0, keepdim=True)
    unit = (each - each.mean(2, keepdim=True)) / (variance + 1e-3).sqrt()
    if affine is None:
        expected = unit * 0.5
    elif affine == "tap":
        expected = unit * norm.scale.view(1, 4, 9, 1, 1)
    else:
        expected = unit * norm.scale.view(1, 4, 1, 1, 1) + norm.shift.view(1, 4, 1, 1, 1)
    near(norm(filters), expected.reshape(2, 36, 3, 2))


@pytest.mark.parametrize(
    ("affine", "released", "names"),
    [
        ("filter", False, {"scale": 4, "shift": 4}),
        ("tap", False, {"scale": 36}),
        ("tap", True, {"std": 36}),
        (None, False, {}),
        (None, True, {}),
    ],
)
def test_parameters(affine, released, names):
    norm = dn.FilterNorm(4, 3, affine=affine, released=released)
    assert {name: p.numel() for name, p in norm.named_parameters()} == names


def test_filters_start_with_the_gain_as_their_norm(near):
    filters = torch.randn(2, 4 * 9, 5, 5)
    for affine in ("filter", None):
        out = dn.FilterNorm(4, 3, affine=affine, gain=math.sqrt(2))(filters)
        squares = out.unflatten(1, (4, 9)).square().sum(2)
        torch.testing.assert_close(squares, torch.full_like(squares, 2.0), rtol=1e-3, atol=0)
    assert dn.FilterNorm(400, 3, affine="tap", gain=3.0).scale.std().item() == pytest.approx(1.0, rel=0.1)


@pytest.mark.parametrize("norm", [norm for norm in NORMS if norm != "sigmoid"])
@pytest.mark.parametrize("gain", [1.0, 3.0])
def test_every_normalisation_starts_with_the_gain(norm, gain):
    """A filter's root mean square is gain / sqrt(taps) at the start, in each branch, and after a reset."""
    for per_tap in (False, True):
        layer = filter_norm(norm, 200, (3, 5), per_tap=per_tap, gain=gain)
        for _ in range(2):
            size = layer(torch.randn(32, 200 * 15, 1, 1)).square().mean().sqrt().item()
            assert size == pytest.approx(gain / math.sqrt(15), rel=0.05)
            layer.reset_parameters()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("noise", [0.0, 1e-12, 1e-6])
@pytest.mark.parametrize("affine", ["filter", "tap", None])
def test_filters_that_are_almost_constant_have_moderate_gradients(affine, noise, dtype):
    norm = dn.FilterNorm(2, 3, affine=affine, dtype=dtype)
    filters = (3 + noise * torch.randn(2, 18, 4, 4)).to(dtype).requires_grad_()
    out = norm(filters)
    out.backward(torch.randn_like(out))
    assert out.isfinite().all()
    for tensor in (filters, *norm.parameters()):
        assert tensor.grad.isfinite().all()
        assert tensor.grad.abs().max() < 1e3 * max(1.0, norm.gain)


@pytest.mark.parametrize("size", [1e-18, 1e12, 1e15, 3e17])
@pytest.mark.parametrize(
    ("affine", "released"), [("filter", False), ("tap", False), (None, False), ("tap", True), (None, True)]
)
def test_small_and_large_filters(near, affine, released, size):
    norm = dn.FilterNorm(2, 3, affine=affine, released=released)
    wide = copy.deepcopy(norm).double()
    filters = (size * torch.randn(3, 18, 4, 4)).requires_grad_()
    filters64 = filters.detach().double().requires_grad_()
    out, expected = norm(filters), wide(filters64)
    near(out, expected)
    grad = torch.randn_like(out)
    tensors = zip((filters, *norm.parameters()), (filters64, *wide.parameters()), strict=True)
    out.backward(grad)
    expected.backward(grad.double())
    for tensor, tensor64 in tensors:
        near(tensor.grad, tensor64.grad)


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("size", [1e20, 1e36])
def test_filters_whose_squares_overflow(size, released):
    norm = dn.FilterNorm(2, 3, affine=None, released=released)
    filters = (size * torch.randn(3, 18, 4, 4)).requires_grad_()
    out = norm(filters)
    out.square().sum().backward()
    assert out.isfinite().all()
    assert filters.grad.isfinite().all()
    assert released or not (out.any() or filters.grad.any())


def test_the_released_arithmetic_is_finite_too_but_steep():
    norm = dn.FilterNorm(1, 3, affine=None, released=True, dtype=torch.float64)
    filters = (1 + 1e-12 * torch.randn(1, 9, 1, 1, dtype=torch.float64)).requires_grad_()
    norm(filters).square().sum().backward()
    assert filters.grad.isfinite().all()
    filters = torch.ones(1, 9, 1, 1, requires_grad=True)
    norm.float()(filters).sum().backward()
    assert filters.grad.isfinite().all()


@pytest.mark.parametrize(
    ("affine", "released"),
    [("filter", False), ("tap", False), (None, False), ("tap", True), (None, True)],
)
def test_gradcheck(affine, released):
    norm = dn.FilterNorm(2, (1, 3), affine=affine, released=released, dtype=torch.float64)
    names = [name for name, _ in norm.named_parameters()]

    def fn(filters, *values):
        return torch.func.functional_call(norm, dict(zip(names, values, strict=True)), (filters,))

    values = [p.detach().clone().requires_grad_() for p in norm.parameters()]
    filters = torch.randn(2, 6, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(fn, (filters, *values))
    assert torch.autograd.gradgradcheck(fn, (filters, *values))


def test_half_precision_is_computed_in_single():
    norm = dn.FilterNorm(2, 3, affine="tap")
    filters = 50 + torch.randn(2, 18, 3, 3).bfloat16()
    out = norm(filters)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, norm(filters.float()).bfloat16())


def test_switching_to_the_released_arithmetic_keeps_the_scale(near):
    norm = dn.FilterNorm(3, 3, affine="tap")
    scale = norm.scale
    norm.use_released_arithmetic()
    norm.use_released_arithmetic()
    assert norm.std is scale
    assert dict(norm.named_parameters()).keys() == {"std"}
    assert "released=True" in repr(norm)
    other = dn.FilterNorm(3, 3, affine="tap", released=True)
    other.load_state_dict(norm.state_dict())
    filters = torch.randn(2, 27, 1, 1)
    near(other(filters), norm(filters))
    norm.reset_parameters()
    assert not torch.equal(norm.std, other.std)


def test_a_state_dict_belongs_to_one_arithmetic():
    ours, theirs = dn.FilterNorm(3, 3, affine="tap"), dn.FilterNorm(3, 3, affine="tap", released=True)
    with pytest.raises(RuntimeError, match=r'Missing key.*"std"'):
        theirs.load_state_dict(ours.state_dict())
    with pytest.raises(RuntimeError, match=r'Missing key.*"scale"'):
        ours.load_state_dict(theirs.state_dict())


@pytest.mark.parametrize("released", [False, True])
def test_copies(released):
    norm = dn.FilterNorm(3, 3, affine="tap", released=released)
    filters = torch.randn(2, 27, 2, 2)
    for twin in (copy.deepcopy(norm), pickle.loads(pickle.dumps(norm))):
        assert torch.equal(twin(filters), norm(filters))
    assert norm.to("meta")(filters.to("meta")).shape == filters.shape
    assert norm(torch.empty(0, 27, 2, 2, device="meta")).shape == (0, 27, 2, 2)
    made = dn.FilterNorm(3, 3, affine="tap", released=released, device="meta", dtype=torch.float64)
    assert next(made.parameters()).dtype == torch.float64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filters": 0}, "filters = 0 received; needed: at least 1"),
        ({"kernel_size": 4}, "kernel_size = 4 received; needed: an odd number"),
        ({"kernel_size": (3, 3, 3)}, r"kernel_size = \(3, 3, 3\) received"),
        ({"kernel_size": 1, "affine": "tap"}, "filters of one tap received"),
        ({"affine": "channel"}, "affine = 'channel' received"),
        ({"eps": 0.0}, "eps = 0.0 received; needed: a positive number"),
        ({"affine": "filter", "released": True}, "affine = 'filter' received; needed: 'tap' or None"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        dn.FilterNorm(**{"filters": 2, **arguments})


def test_shapes_that_do_not_fit():
    with pytest.raises(
        ValueError, match=r"filters of shape \(2, 17, 1, 1\) received; needed: \(B, 18, ...\)"
    ):
        dn.FilterNorm(2, 3)(torch.randn(2, 17, 1, 1))
    with pytest.raises(TypeError, match=r"filters of type torch\.int64 received"):
        dn.FilterNorm(2, 3)(torch.ones(2, 18, 1, 1).long())


def test_is_a_module_with_parameters_of_one_dimension():
    """Which keeps it free of weight decay."""
    groups = dn.parameter_groups(nn.Sequential(dn.FilterNorm(2, 3)), weight_decay=1.0)
    assert [group["weight_decay"] for group in groups] == [0.0]
