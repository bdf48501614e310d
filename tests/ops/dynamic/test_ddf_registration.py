"""The dynamic filters' ops where there are no kernels: other devices, and exported programs."""

from __future__ import annotations

import itertools

import pytest
import torch

from decoupled_nets.ops import backend

pytestmark = pytest.mark.skipif(not backend.status.loaded, reason="the binary was not built")
ops = torch.ops.decoupled_nets
COMPOSITE = torch._C.DispatchKey.CompositeExplicitAutograd


def case(heads, stride, kernel, dtype, last):
    rows, columns = (-(-n // s) for n, s in zip((7, 10), stride, strict=True))
    format = torch.channels_last if last else torch.contiguous_format
    shapes = (2, 6, 7, 10), (2, 6, *kernel), (2, heads * kernel[0] * kernel[1], rows, columns)
    tensors = [torch.randn(shape, dtype=torch.float64).to(dtype) for shape in shapes]
    return [tensors[0].contiguous(memory_format=format), *tensors[1:]]


CASES = list(itertools.product([1, 3], [(1, 1), (2, 3)], [(3, 3), (1, 5)], ["mul", "add"]))


@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("heads", "stride", "kernel", "combine"), CASES)
def test_what_other_devices_run_is_what_the_kernels_do(near, heads, stride, kernel, combine, dtype, last):
    tensors = case(heads, stride, kernel, dtype, last)
    form = list(stride), [2, 1], combine
    out = ops.ddf(*tensors, *form)
    composed = ops.ddf.default._op_dk(COMPOSITE, *tensors, *form)
    near(composed, out)
    assert composed.stride() == out.stride()
    grad = torch.randn_like(out)
    expected = ops.ddf_backward(grad, *tensors, *form)
    found = ops.ddf_backward.default._op_dk(COMPOSITE, grad, *tensors, *form)
    for own, want in zip(found, expected, strict=True):
        near(own, want)
        assert own.dtype == want.dtype
        assert own.stride() == want.stride()


class Raw(torch.nn.Module):
    """Someone's own layer on the op itself."""

    def forward(self, x, of_channel, of_pixel):
        return ops.ddf(x, of_channel, of_pixel, [1, 1], [1, 1], "mul")


def test_exported_programs_decompose(near):
    tensors = case(3, (1, 1), (3, 3), torch.float32, False)
    program = torch.export.export(Raw(), tuple(tensors))
    table = torch.export.default_decompositions()
    table.update(torch._decomp.get_decompositions([ops.ddf, ops.ddf_backward]))
    plain = program.run_decompositions(table)
    called = {
        n.target.namespace
        for n in plain.graph.nodes
        if n.op == "call_function" and hasattr(n.target, "namespace")
    }
    assert called == {"aten"}
    near(plain.module()(*tensors), Raw()(*tensors))
