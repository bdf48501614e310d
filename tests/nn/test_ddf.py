"""DDF2d does what torch.nn's layers do."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from ddf_cases import BRANCHES
from torch._dynamo.testing import CompileCounterWithBackend

import decoupled_nets as dn
from decoupled_nets.nn.filter_norm import NORMS


def test_unbatched(near):
    layer = dn.DDF2d(4)
    x = torch.randn(4, 6, 5)
    near(layer(x), layer(x[None])[0])


@pytest.mark.parametrize("branches", BRANCHES)
def test_empty_batch(branches):
    layer = dn.DDF2d(4, stride=2, branches=branches)
    x = torch.randn(0, 4, 6, 5, requires_grad=True)
    y = layer(x)
    assert y.shape == (0, 4, 3, 3)
    y.sum().backward()
    assert x.grad.shape == x.shape


@pytest.mark.parametrize("norm", NORMS)
def test_round_trip_and_copies(norm):
    layer, other = dn.DDF2d(6, norm=norm).eval(), dn.DDF2d(6, norm=norm).eval()
    x = torch.randn(2, 6, 5, 5)
    assert other.load_state_dict(layer.state_dict()) == ([], [])
    for twin in (other, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(x), layer(x))


@pytest.mark.parametrize("branches", BRANCHES)
def test_devices_and_types(branches):
    layer = dn.DDF2d(4, stride=2, branches=branches, device="meta", dtype=torch.float64)
    assert all(p.is_meta and p.dtype == torch.float64 for p in layer.parameters())
    assert layer(torch.empty(2, 4, 7, 7, device="meta", dtype=torch.float64)).shape == (2, 4, 4, 4)
    layer.to_empty(device="cpu").reset_parameters()
    assert layer(torch.randn(2, 4, 7, 7, dtype=torch.float64)).isfinite().all()


@pytest.mark.parametrize("norm", NORMS)
def test_reset_is_a_new_start(norm):
    torch.manual_seed(1)
    state = dn.DDF2d(4, norm=norm).state_dict()
    layer = dn.DDF2d(4, norm=norm)
    layer(torch.randn(2, 4, 5, 5))  # running statistics move
    torch.manual_seed(1)
    layer.reset_parameters()
    for name, value in layer.state_dict().items():
        assert torch.equal(value, state[name]), name


@pytest.mark.parametrize("options", [{}, {"stride": 2, "heads": 2, "combine": "add"}])
def test_channels_last(near, options):
    layer = dn.DDF2d(8, **options)
    x = torch.randn(2, 8, 6, 5)
    near(layer(x.contiguous(memory_format=torch.channels_last)), layer(x))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("norm", ["filter", "paper"])
def test_half_precision(dtype, norm):
    layer = dn.DDF2d(8, norm=norm)
    x = torch.randn(2, 8, 6, 5)
    half = copy.deepcopy(layer).to(dtype)
    y = half(x.to(dtype))
    assert y.dtype == dtype
    # Generated filters carry the rounding of their branch, which normalisation may enlarge.
    assert (y.float() - layer(x)).abs().mean() < 0.05 * layer(x).abs().mean()
    y.sum().backward()
    assert all(p.grad.isfinite().all() for p in half.parameters())


def test_autocast():
    layer = dn.DDF2d(8)
    x = torch.randn(2, 8, 6, 5)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
        assert y.dtype == torch.bfloat16
        y.sum().backward()
    assert (y.float() - layer(x)).abs().mean() < 0.05 * layer(x).abs().mean()
    assert all(p.grad.dtype == torch.float32 for p in layer.parameters())


@pytest.mark.parametrize("options", [{}, {"stride": 2, "heads": 2, "branches": "spatial", "norm": "paper"}])
def test_compiled_training_step(near, options):
    torch._dynamo.reset()
    layer = dn.DDF2d(4, **options)
    twin = copy.deepcopy(layer)
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(twin, backend=counter, fullgraph=True)
    for _ in range(2):
        x = torch.randn(2, 4, 7, 6)
        expected, actual = layer(x), compiled(x)
        near(actual, expected)
        expected.square().sum().backward()
        actual.square().sum().backward()
    assert counter.frame_count == 1
    for (name, p), q in zip(layer.named_parameters(), twin.parameters(), strict=True):
        near(q.grad, p.grad, name=name)
    torch._dynamo.reset()


@pytest.mark.parametrize("branches", BRANCHES)
def test_export(near, branches):
    layer = dn.DDF2d(4, stride=2, branches=branches).eval()
    shapes = ({0: torch.export.Dim("batch", min=1, max=64)},)
    exported = torch.export.export(layer, (torch.randn(2, 4, 7, 6),), dynamic_shapes=shapes)
    for batch in (1, 3):
        x = torch.randn(batch, 4, 7, 6)
        near(exported.module()(x), layer(x))


def test_repr():
    text = repr(dn.DDF2d(6, heads=2, norm="paper"))
    assert "6, kernel_size=(3, 3), stride=(1, 1), dilation=(1, 1), heads=2" in text
    assert "norm='paper'" in text
