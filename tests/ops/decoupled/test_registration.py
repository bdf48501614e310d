"""What torch knows of the ops beyond their CPU code: other devices, decompositions, autocast."""

from __future__ import annotations

import operator
from functools import partial

import pytest
import torch
from kernel_cases import (
    ANGLES,
    DTYPES,
    GEOMETRIES,
    MAGNITUDES,
    OUTPUTS,
    epilogue_case,
    geometry_case,
    lists,
)
from torch import nn
from torch._decomp import get_decompositions
from torch._prims_common import check_significant_strides
from torch._subclasses.fake_tensor import FakeTensorMode

from decoupled_nets.ops import backend

pytestmark = pytest.mark.skipif(not backend.status.loaded, reason="the binary was not built")
ops = torch.ops.decoupled_nets
EVERY = [
    "patch_norm", "patch_norm_backward", "patch_norm_backward_", "epilogue", "epilogue_", "epilogue_backward",
]  # fmt: skip
EPS = 1e-4
SIZES = {operator.add, operator.sub, operator.mul, operator.floordiv}
WINDOWS = ([3, 3], [1, 1], [1, 1, 1, 1], [1, 1])


def composed(name, *arguments):
    """The op as every device without kernels runs it, on whatever device the arguments are."""
    op = getattr(ops, name).default
    return op._op_dk(torch._C.DispatchKey.CompositeExplicitAutograd, *arguments)


def agree(near, actual, expected, dtype, shift=0.0):
    assert actual.dtype == expected.dtype
    assert check_significant_strides(actual, expected)[0]
    near(actual + shift, expected + shift, dtype)


def test_every_op_is_covered():
    names = {name.partition("::")[2].partition(".")[0] for name in torch._C._dispatch_get_all_op_names()}
    assert set(EVERY) == {name for name in names if name.startswith(("patch_norm", "epilogue"))}


@pytest.mark.parametrize("name", EVERY)
def test_every_device_has_code(name):
    has_computed = torch._C._dispatch_has_computed_kernel_for_dispatch_key
    own = torch._C._dispatch_has_kernel_for_dispatch_key
    qualified = f"decoupled_nets::{name}"
    assert own(qualified, "CPU")
    for device in ("CPU", "CUDA", "XPU", "MPS", "PrivateUse1", "Meta"):
        assert has_computed(qualified, device), device
        assert device in ("CPU", "Meta") or not own(qualified, device), device
    assert getattr(ops, name).default in torch._decomp.decomposition_table


@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", GEOMETRIES)
def test_patch_norms_elsewhere_are_those_of_the_cpu(near, name, dtype, last):
    x, geometry, groups = geometry_case(name, dtype, last)
    windows = lists(geometry)
    norm = ops.patch_norm(x, *windows, groups, EPS)
    agree(near, composed("patch_norm", x, *windows, groups, EPS), norm, norm.dtype)
    grad = torch.randn_like(norm)
    by_x = ops.patch_norm_backward(grad, x, norm, *windows)
    agree(near, composed("patch_norm_backward", grad, x, norm, *windows), by_x, dtype)
    total = torch.randn_like(x)
    twin = total.clone()
    ops.patch_norm_backward_(total, grad, x, norm, *windows)
    composed("patch_norm_backward_", twin, grad, x, norm, *windows)
    agree(near, twin, total, dtype)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize("magnitude", MAGNITUDES)
@pytest.mark.parametrize(("name", "last"), [(name, name in ("rows", "volume")) for name in OUTPUTS])
def test_epilogues_elsewhere_are_those_of_the_cpu(near, name, magnitude, angle, dtype, last, bias):
    tensors, response = epilogue_case(name, magnitude, angle, dtype, last, bias=bias)
    out = ops.epilogue(*tensors, *response.arguments)
    agree(near, composed("epilogue", *tensors, *response.arguments), out, dtype)
    in_place = tensors[0].clone()
    composed("epilogue_", in_place, *tensors[1:], *response.arguments)
    agree(near, in_place, out, dtype)
    grad = torch.randn_like(out)
    for from_output in [False] if bias else [False, True]:
        arguments = (
            grad,
            out if from_output else tensors[0],
            *tensors[1:5],
            *response.arguments,
            from_output,
        )
        both = zip(composed("epilogue_backward", *arguments), ops.epilogue_backward(*arguments), strict=True)
        for index, (actual, expected) in enumerate(both):
            # Where the gradient of the norms cancels, it is as exact as its terms, which are about 1.
            agree(near, actual, expected, dtype, shift=1.0 if index == 1 else 0.0)


def test_defaults_elsewhere(near):
    (z, norm, kernel_norm, *_), response = epilogue_case(
        "rows", "seg", "sqcos", torch.float64, False, bias=False
    )
    absent = (norm, kernel_norm, None, None)
    out = ops.epilogue(z, *absent, None, *response.arguments)
    near(composed("epilogue", z, *absent, None, *response.arguments), out)
    arguments = (torch.randn_like(z), z, *absent, *response.arguments, False)
    both = zip(composed("epilogue_backward", *arguments), ops.epilogue_backward(*arguments), strict=True)
    for actual, expected in both:
        near(actual + 1, expected + 1)


def small_arguments(name, make=torch.randn):
    """Arguments of an op, all tensors made by `make`."""
    x, norm, channels = make(2, 4, 5, 3), make(2, 2, 5, 3), [make(4) for _ in range(4)]
    response = ("tanh", "sqcos", 1.0, 1.0)
    return {
        "patch_norm": (x, *WINDOWS, 2, EPS),
        "patch_norm_backward": (make(2, 2, 5, 3), x, norm, *WINDOWS),
        "patch_norm_backward_": (make(2, 4, 5, 3), make(2, 2, 5, 3), x, norm, *WINDOWS),
        "epilogue": (x, norm, *channels, *response),
        "epilogue_": (x, norm, *channels, *response),
        "epilogue_backward": (make(2, 4, 5, 3), x, norm, *channels[:3], *response, False),
    }[name]


@pytest.mark.skipif(not torch.backends.cuda.is_built(), reason="torch was built without CUDA")
@pytest.mark.parametrize("name", EVERY)
def test_nothing_leaves_the_device(name):
    """With the shapes of CUDA tensors alone: a tensor made on the CPU on the way would be refused."""
    with FakeTensorMode():
        arguments = small_arguments(name, partial(torch.empty, device="cuda"))
        results = torch._decomp.decomposition_table[getattr(ops, name).default](*arguments)
    for result in results if isinstance(results, tuple) else (results,):
        assert result is None or result.device.type == "cuda"


class Raw(nn.Module):
    """Someone's own layer on the raw ops."""

    def __init__(self, in_place=False):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 4, 3, 3))
        self.in_place = in_place

    def forward(self, x):
        norm = ops.patch_norm(x, *WINDOWS, 2, EPS)
        z = nn.functional.conv2d(x, self.weight[:, :2], padding=1, groups=2)
        kernel_norm = self.weight[:, :2].flatten(1).norm(dim=1)
        others = (norm, kernel_norm, None, kernel_norm, None, "tanh", "sqcos", 1.0, 1.0)
        if not self.in_place:
            return ops.epilogue(z, *others)
        ops.epilogue_(z, *others)
        return z


def targets(program):
    """Namespaces of what the program calls; functions of operator, such as mul, compute sizes."""
    calls = {node.target for node in program.graph.nodes if node.op == "call_function"}
    return {getattr(target, "namespace", None) or str(target) for target in calls if target not in SIZES}


@pytest.mark.parametrize("in_place", [False, True])
def test_an_exported_program_decomposes_to_aten(near, in_place):
    module = Raw(in_place).eval()
    dynamic = {0: torch.export.Dim("batch", min=1, max=64), 2: torch.export.Dim("height", min=3, max=64)}
    program = torch.export.export(module, (torch.randn(3, 4, 6, 5),), dynamic_shapes=(dynamic,))
    assert "decoupled_nets" in targets(program)
    table = torch.export.default_decompositions()
    table.update(get_decompositions([getattr(ops, name) for name in EVERY]))
    plain = program.run_decompositions(table)
    assert targets(plain) == {"aten"}, plain.graph
    for size in ((1, 9), (5, 4)):
        x = torch.randn(size[0], 4, size[1], 5)
        near(plain.module()(x), module(x))


@pytest.mark.parametrize("name", ["epilogue", "epilogue_"])
def test_autocast_casts_what_goes_with_z(near, name):
    (z, *others), response = epilogue_case("rows", "tanh", "cos", torch.bfloat16, True, bias=True)
    expected = ops.epilogue(z, *others, *response.arguments)
    low = [t.bfloat16() for t in others]
    with pytest.raises(RuntimeError, match="type of accumulation, needed"):
        ops.epilogue(z, *low, *response.arguments)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        exact = ops.epilogue(z, *others, *response.arguments)
        out = z.clone()
        result = getattr(ops, name)(out, *low, *response.arguments)
    out = result if name == "epilogue" else out
    assert torch.equal(exact, expected)
    assert out.dtype == torch.bfloat16
    near(out, ops.epilogue(z, *(t.float() for t in low), *response.arguments))


def test_autocast_leaves_float64_and_sends_gradients_back():
    (z, *others), response = epilogue_case("rows", "tanh", "cos", torch.float64, False, bias=True)
    low = [t.float().requires_grad_() for t in others]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = ops.epilogue(z, *low, *response.arguments)
    assert out.dtype == torch.float64
    assert {g.dtype for g in torch.autograd.grad(out.sum(), low)} == {torch.float32}


def test_norms_under_autocast_are_those_of_the_input_as_it_is():
    x = torch.randn(2, 4, 6, 5)
    for dtype in DTYPES:
        expected = ops.patch_norm(x.to(dtype), *WINDOWS, 2, EPS)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(ops.patch_norm(x.to(dtype), *WINDOWS, 2, EPS), expected)


@pytest.mark.parametrize("device", ["CUDA", "XPU", "MPS"])
def test_other_devices_have_the_rule_too(device):
    for name in ("epilogue", "epilogue_"):
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"decoupled_nets::{name}", f"Autocast{device}")


def test_a_raw_layer_compiles_under_autocast(near):
    torch._dynamo.reset()
    module, x = Raw(), torch.randn(2, 4, 6, 5)
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected, actual = module(x), compiled(x)
    assert actual.dtype == expected.dtype == torch.bfloat16
    near(actual, expected)
    (grad,) = torch.autograd.grad(actual.float().sum(), module.weight)
    near(grad, torch.autograd.grad(expected.float().sum(), module.weight)[0], torch.bfloat16)
    torch._dynamo.reset()
