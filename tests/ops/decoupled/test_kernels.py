"""Every op of the binary against its plain twin in float64: values, gradients, layouts, threads, memory."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from kernel_cases import (
    DTYPES,
    GEOMETRIES,
    OPERATORS,
    OUTPUTS,
    arrange,
    doubled,
    epilogue_case,
    geometry_case,
    lists,
)
from torch.utils.flop_counter import FlopCounterMode

from decoupled_nets.ops import backend
from decoupled_nets.ops import tensors as shared
from decoupled_nets.ops.decoupled import composed
from decoupled_nets.ops.decoupled.angle import angles
from decoupled_nets.ops.norms import patch_norm

pytestmark = pytest.mark.skipif(not backend.status.loaded, reason="the binary was not built")
ops = torch.ops.decoupled_nets
EPS = 1e-4
CHECKS = ("test_schema", "test_faketensor", "test_aot_dispatch_dynamic")


@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", GEOMETRIES)
def test_patch_norm(near, name, dtype, last):
    x, geometry, groups = geometry_case(name, dtype, last)
    norm = ops.patch_norm(x, *lists(geometry), groups, EPS)
    expected = patch_norm(x.double(), geometry, groups, EPS)
    assert norm.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert norm.is_contiguous()
    near(norm, expected)

    grad = torch.randn_like(norm)
    (wanted,) = shared.gradients(lambda x: patch_norm(x, geometry, groups, EPS), doubled((x,)), grad.double())
    by_x = ops.patch_norm_backward(grad, x, norm, *lists(geometry))
    assert by_x.stride() == x.stride()
    near(by_x, wanted, dtype)
    total = torch.randn_like(x)
    expected = total.double() + wanted
    ops.patch_norm_backward_(total, grad, x, norm, *lists(geometry))
    near(total, expected, dtype)


def test_patch_norm_of_what_is_neither_contiguous_nor_channels_last(near):
    x = torch.randn(3, 8, 7, 12)[:, ::2, :, 1::2]
    *_, geometry, groups = geometry_case("plain", torch.float32, False)
    near(
        ops.patch_norm(x, *lists(geometry), groups, EPS), patch_norm(x.double(), geometry, groups, EPS)
    )  # fmt: skip


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("magnitude", "angle"), OPERATORS)
@pytest.mark.parametrize("name", OUTPUTS)
def test_epilogue(near, name, magnitude, angle, dtype, last, bias):
    tensors, response = epilogue_case(name, magnitude, angle, dtype, last, bias=bias)
    exact = doubled(tensors)
    expected = composed.epilogue(*exact, *response.arguments)
    out = ops.epilogue(*tensors, *response.arguments)
    assert out.stride() == tensors[0].stride()
    near(out, expected)
    in_place = tensors[0].clone()
    ops.epilogue_(in_place, *tensors[1:], *response.arguments)
    assert torch.equal(in_place, out)

    grad = torch.randn_like(out)
    wanted = torch.autograd.grad(
        expected, [t for t in exact if t is not None], grad.double(), allow_unused=True
    )
    names = ("z", "norm", "kernel_norm", "gain", "radius", "bias", "h", "g_parameters")
    given = [name for name, t in zip(names, tensors, strict=True) if t is not None]
    wanted = dict(zip(given, wanted, strict=True))
    for from_output in [False] if bias or not angles[angle].invertible else [False, True]:
        value = out if from_output else tensors[0]
        operands = (*tensors[1:5], *tensors[6:])
        found = ops.epilogue_backward(grad, value, *operands, *response.arguments, from_output)
        found = dict(zip(names, found, strict=True))
        for key, own in zip(names[6:], tensors[6:], strict=True):
            assert found[key].shape == ((0,) if own is None else own.shape)
        assert found["z"].stride() == tensors[0].stride()
        for key, got in found.items():
            if (want := wanted.get(key)) is not None:
                # Where the gradient of the norms cancels, it is as exact as its terms, which are about 1.
                shift = 1.0 if key == "norm" else 0.0
                near(got + shift, want + shift, dtype, f"{key}, from output: {from_output}")
        near(found["bias"], grad.double().movedim(1, 0).flatten(1).sum(1), dtype)


@pytest.mark.parametrize("magnitude", ["tanh", "sphere"])
def test_epilogue_of_defaults_and_of_another_layout_of_the_gradient(near, magnitude):
    (z, norm, kernel_norm, *_), response = epilogue_case(
        "rows", magnitude, "cos", torch.float32, False, bias=False
    )
    absent = (norm, kernel_norm, None, None)
    out = ops.epilogue(z, *absent, None, None, None, *response.arguments)
    exact = doubled((z, *absent, None, None, None))
    expected = composed.epilogue(*exact, *response.arguments)
    near(out, expected)
    grad = arrange(torch.randn_like(out), True)
    (wanted,) = torch.autograd.grad(expected, exact[0], grad.double())
    near(ops.epilogue_backward(grad, z, *absent, None, None, *response.arguments, False)[0], wanted)


def every_op(dtype=torch.float32, last=False):
    """Pairs of an op and arguments of a size that several threads share."""
    x = arrange(torch.randn(4, 16, 64, 48, dtype=torch.float64).to(dtype), last)
    windows = ([3, 3], [1, 1], [1, 1, 1, 1], [1, 1])
    norm = ops.patch_norm(x, *windows, 2, EPS)
    grad, channels = torch.randn_like(norm), [torch.rand(16, dtype=norm.dtype) + 0.5 for _ in range(4)]
    operator = (None, None, "tanh", "sqcos", 1.0, 1.0)
    learned = (torch.rand_like(norm), torch.rand(2, 4, dtype=norm.dtype), "given", "spline", 1.0, 1.0)
    radial = (torch.rand(2, 16, dtype=norm.dtype), norm.new_tensor(3.0), "spline")
    raised = (torch.rand(2, 1, dtype=norm.dtype), norm.new_tensor(3.0), "power")
    yield ops.patch_norm, (x, *windows, 2, EPS)
    yield ops.patch_norm_backward, (grad, x, norm, *windows)
    yield ops.epilogue, (x, norm, *channels, *operator)
    yield ops.epilogue_backward, (torch.randn_like(x), x, norm, *channels[:3], *operator, False)
    yield ops.epilogue, (x, norm, *channels, *learned)
    yield ops.epilogue_backward, (torch.randn_like(x), x, norm, *channels[:3], *learned, False)
    for angle, k in (("linear", None), ("sigmoid", channels[3].unsqueeze(1))):
        steep = (None, k, "tanh", angle, 1.0, 1.0)
        yield ops.epilogue, (x, norm, *channels, *steep)
        yield ops.epilogue_backward, (torch.randn_like(x), x, norm, *channels[:3], *steep, False)
    for own in (radial, raised):
        yield ops.radial, (norm, *own)
        yield ops.radial_backward, (grad, norm, *own)


@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_number_of_threads_does_not_change_a_bit(dtype, last):
    for op, arguments in every_op(dtype, last):
        results = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(op(*arguments))
        for other in results[1:]:
            torch.testing.assert_close(other, results[0], rtol=0, atol=0)


@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
def test_opcheck(last):
    small = torch.randn(2, 4, 5, 3)
    x, windows = arrange(small, last), ([3, 2], [2, 1], [1, 0, 1, 1], [1, 1])
    norm = ops.patch_norm(x, *windows, 2, EPS)
    z = arrange(torch.randn(2, 6, *norm.shape[2:]), last)
    channels, operator = [torch.rand(6) + 0.5 for _ in range(4)], (None, None, "ball", "cos", 1.0, 1.0)
    learned = (torch.rand_like(norm), torch.rand(2, 1), "given", "power", 1.0, 1.0)
    steep = (None, torch.rand(6, 1), "tanh", "sigmoid", 1.0, 1.0)
    radial = (torch.rand(2, 16), torch.tensor(3.0), "spline")
    cases = [
        (ops.patch_norm, (x.clone(), *windows, 2, EPS)),
        (ops.patch_norm_backward, (torch.randn_like(norm), x, norm, *windows)),
        (ops.patch_norm_backward_, (x.clone(), torch.randn_like(norm), x, norm, *windows)),
        (ops.epilogue, (z.clone(), norm.clone(), *(c.clone() for c in channels), *operator)),
        (ops.epilogue_, (z.clone(), norm, *channels, *operator)),
        (ops.epilogue_backward, (torch.randn_like(z), z, norm, *channels[:3], *operator, False)),
        (ops.epilogue, (z.clone(), norm.clone(), *(c.clone() for c in channels), *learned)),
        (ops.epilogue_backward, (torch.randn_like(z), z, norm, *channels[:3], *learned, False)),
        (ops.epilogue, (z.clone(), norm.clone(), *(c.clone() for c in channels), *steep)),
        (ops.epilogue_backward, (torch.randn_like(z), z, norm, *channels[:3], *steep, False)),
        (ops.radial, (norm.clone(), *radial)),
        (ops.radial_backward, (torch.randn_like(norm), norm, *radial)),
    ]
    for op, arguments in cases:
        torch.library.opcheck(op.default, arguments, test_utils=CHECKS)


@pytest.mark.parametrize(
    ("scale", "rtol"), [(1e-6, 5e-7), (1e-2, 5e-7), (0.3, 5e-7), (1.0, 5e-7), (8.0, 5e-7), (60.0, 5e-7)]
)
def test_tanh_to_a_few_units_in_the_last_place(scale, rtol):
    """Also of its slope, where tanh itself is 1 to all digits."""
    ratio = torch.rand(1, 1, 50, 40) * scale + 1e-9
    z, one = ratio.clone(), torch.ones(1)
    arguments = (ratio, one, None, one, None, None, None, "tanh", "cos", 1.0, 1.0)
    near_one = ops.epilogue(z, *arguments)
    torch.testing.assert_close(near_one.double(), ratio.double().tanh(), rtol=rtol, atol=0)
    grad = ops.epilogue_backward(torch.ones_like(z), z, *arguments[:4], *arguments[5:], False)
    slope = -(ratio.double() / ratio.double().cosh().square()).sum()
    torch.testing.assert_close(grad[4].double().sum(), slope, rtol=2e-6, atol=1e-30)


def test_flops_are_counted():
    x = torch.randn(2, 4, 8, 8)
    with FlopCounterMode(display=False) as counter:
        norm = ops.patch_norm(x, [3, 3], [1, 1], [1, 1, 1, 1], [1, 1], 1, EPS)
        ops.epilogue(x, norm, torch.ones(4), None, None, None, None, None, "linear", "cos", 1.0, 1.0)
    assert counter.get_total_flops() == 2 * (2 * x.numel())


@pytest.mark.parametrize("wrong", ["dtype", "norm", "radius", "magnitude", "layout"])
def test_arguments_that_do_not_fit_are_refused(wrong):
    z, norm, radius, magnitude = torch.randn(2, 4, 3, 3), torch.ones(2, 1, 3, 3), torch.ones(4), "tanh"
    if wrong == "dtype":
        z = z.half()
    if wrong == "norm":
        norm = torch.ones(2, 1, 3, 2)
    if wrong == "radius":
        radius = torch.ones(3)
    if wrong == "magnitude":
        magnitude = "cube"
    if wrong == "layout":
        z = torch.randn(2, 4, 3, 6)[..., ::2]
    with pytest.raises(RuntimeError, match=r"needed|unknown"):
        ops.epilogue_(z, norm, torch.ones(4), None, radius, None, None, None, magnitude, "cos", 1.0, 1.0)


@pytest.mark.parametrize("capability", ["default", "avx2"])
def test_older_instruction_sets(capability, tmp_path):
    """One binary: the code for older machines gives the same results on this one."""
    script = tmp_path / "run.py"
    script.write_text(
        "import sys, torch\nimport decoupled_nets\n"
        "from decoupled_nets.ops import backend\n"
        "torch.manual_seed(0)\n"
        "layer = decoupled_nets.DecoupledConv2d(5, 7, 3, radius='learned')\n"
        "x = torch.randn(2, 5, 9, 21, requires_grad=True)\n"
        "out = layer(x); out.square().sum().backward()\n"
        "torch.save([out.detach(), x.grad, layer.weight.grad, layer.radius.grad], sys.argv[1])\n"
        "print(backend.status.capability)\n"
    )

    def run(name, **extra):
        env = {**os.environ, **extra}
        done = subprocess.run(
            [sys.executable, str(script), str(tmp_path / name)], env=env, check=True, capture_output=True
        )
        return done.stdout.decode().strip(), torch.load(tmp_path / name, weights_only=True)

    used, older = run("older", ATEN_CPU_CAPABILITY=capability)
    best, newest = run("newest")
    assert used == {"default": "baseline"}.get(capability, capability) or best == "baseline"
    torch.testing.assert_close(older, newest, rtol=1e-5, atol=1e-5)
