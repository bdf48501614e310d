"""The dynamic filters' ops without the binary and on GPUs: schemas, what compilers see, and the way round."""

from __future__ import annotations

import pytest
import torch
from ddf_inputs import make
from torch._subclasses import FakeTensorMode

import decoupled_nets as dn
from decoupled_nets.ops import gpu
from decoupled_nets.ops.dynamic import triton as on_gpu

ops = torch.ops.decoupled_nets
FORM = [1, 1], [1, 1], "mul"


def test_ops_without_the_binary(without_binary):
    """Other devices' code gives the same."""
    found = without_binary(
        "own = [torch.randn(s, requires_grad=True) for s in ((2, 4, 5, 6), (2, 4, 3, 3), (2, 9, 5, 6))]\n"
        "out = torch.ops.decoupled_nets.ddf(*own, [1, 1], [1, 1], 'mul')\n"
        "torch.save([out.detach(), *torch.autograd.grad(out.square().sum(), own)], OUT)\n"
    )
    torch.manual_seed(0)
    own = [torch.randn(s, requires_grad=True) for s in ((2, 4, 5, 6), (2, 4, 3, 3), (2, 9, 5, 6))]
    expected = dn.functional.ddf(*own)
    wanted = [expected.detach(), *torch.autograd.grad(expected.square().sum(), own)]
    torch.testing.assert_close(found, wanted)


def test_both_ops_have_code_for_gpus():
    for name in ("ddf", "ddf_backward"):
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"decoupled_nets::{name}", "CUDA")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("wanted", ["auto", "composed"])
def test_compiled_programs_keep_the_op_on_gpus(dtype, wanted, monkeypatch):
    monkeypatch.setattr(gpu, "missing", lambda index: None)
    seen = []

    def record(module, inputs):
        seen.extend(str(node.target) for node in module.graph.nodes if node.op == "call_function")
        return module.forward

    torch.compiler.reset()
    with FakeTensorMode():
        shapes = (2, 16, 9, 11), (2, 16, 3, 3), (2, 9, 9, 11)
        tensors = [torch.empty(shape, device="cuda", dtype=dtype) for shape in shapes]
        compiled = torch.compile(lambda *t: dn.functional.ddf(*t), fullgraph=True, backend=record)
        with dn.use_backend(wanted):
            out = compiled(*tensors)
    assert ("decoupled_nets.ddf" in seen) == (wanted == "auto")
    assert out.shape == (2, 16, 9, 11)
    assert out.device.type == "cuda"


def test_the_way_round_gives_the_same(near, monkeypatch):
    monkeypatch.setattr(gpu, "missing", lambda index: "there is no card")
    tensors, _ = make("heads", last=True)
    out = on_gpu.ddf(*tensors, *FORM)
    near(out, ops.ddf(*tensors, *FORM))
    for own, expected in zip(
        on_gpu.ddf_backward(out, *tensors, *FORM), ops.ddf_backward(out, *tensors, *FORM), strict=True
    ):
        near(own, expected)
        assert own.stride() == expected.stride()


@pytest.mark.parametrize("wrong", ["spatial", "type", "stride", "combine", "grad", "grad type"])
def test_what_does_not_fit_is_never_read(wrong):
    """A kernel would read beyond the memory."""
    x, channel, spatial = torch.randn(1, 2, 4, 4), torch.randn(1, 2, 3, 3), torch.randn(1, 9, 4, 4)
    grad, form = torch.randn(1, 2, 4, 4), list(FORM)
    if wrong == "spatial":
        spatial = spatial[:, :, :3]
    if wrong == "type":
        channel = channel.double()
    if wrong == "stride":
        form[0] = [1, 1, 1]
    if wrong == "combine":
        form[2] = "max"
    if wrong == "grad":
        grad = grad[..., :3]
    if wrong == "grad type":
        grad = grad.double()
    with pytest.raises((ValueError, TypeError), match="needed"):
        on_gpu.ddf_backward(grad, x, channel, spatial, *form)
