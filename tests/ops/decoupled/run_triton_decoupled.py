"""The Triton kernels of the convolution in Triton's interpreter, on the CPU; run by test_triton_decoupled.py.

The interpreter has to be chosen before Triton is imported, so this is a process of its own. The argument says
what to check.
"""

from __future__ import annotations

import sys

import torch
from kernel_cases import (
    GEOMETRIES,
    GIVEN,
    OUTPUTS,
    doubled,
    epilogue_case,
    geometry_case,
    lists,
)

from decoupled_nets.ops.decoupled import composed, radial, triton_launch, triton_radial
from decoupled_nets.ops.decoupled.angle import angles
from decoupled_nets.ops.decoupled.derivative import Response
from decoupled_nets.ops.decoupled.magnitude import magnitudes
from decoupled_nets.ops.decoupled.triton import ANGLES, MAGNITUDES
from decoupled_nets.ops.norms import patch_norm
from decoupled_nets.ops.tensors import gradients

TOLERANCE = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
EPS = 1e-4


def near(found, wanted, dtype=torch.float32, name=""):
    tolerance = TOLERANCE[dtype]
    found, wanted = found.detach().double(), wanted.detach().double()
    scale = wanted.abs().max().item() if wanted.numel() else 0.0
    torch.testing.assert_close(
        found, wanted, rtol=tolerance, atol=tolerance * scale, msg=lambda text: f"{name}: {text}"
    )


def norms():
    types = list(TOLERANCE)
    for number, name in enumerate(name for name in GEOMETRIES if name != "no image"):
        for last in (False, True):
            dtype = types[(number + last) % 3]
            x, geometry, groups = geometry_case(name, dtype, last)
            windows = lists(geometry)
            norm = triton_launch.patch_norm(x, *windows, groups, EPS)
            assert norm.dtype == torch.float32
            assert norm.is_contiguous()
            near(norm, patch_norm(x.double(), geometry, groups, EPS), name=name)
            grad = torch.randn_like(norm)
            (wanted,) = gradients(
                lambda x, where=(geometry, groups): patch_norm(x, *where, EPS), doubled((x,)), grad.double()
            )
            by_x = triton_launch.patch_norm_backward(grad, x, norm, *windows)
            assert by_x.stride() == x.stride()
            near(by_x, wanted, dtype, name)
            total = torch.randn_like(x)
            wanted = total.double() + wanted
            triton_launch.patch_norm_backward_(total, grad, x, norm, *windows)
            near(total, wanted, dtype, name)


def epilogues():
    types, number, outputs = list(TOLERANCE), 0, [name for name in OUTPUTS if name != "none"]
    for magnitude in MAGNITUDES:
        for angle in ANGLES:
            if angle in ("power", "spline") and magnitude not in (GIVEN, "tanh"):
                continue  # it meets h in one product only
            for bias in (True, False):
                number += 1
                name = outputs[number % len(outputs)]
                epilogue_of(name, magnitude, angle, types[number // 2 % 3], number % 4 < 2, bias)
    for name in outputs:
        epilogue_of(name, "tanh", "cos", torch.float32, True, False)


def epilogue_of(name, magnitude, angle, dtype, last, bias):
    tensors, response = epilogue_case(name, magnitude, angle, dtype, last, bias=bias)
    what = f"{name} {magnitude}-{angle} {dtype} {last} {bias}"
    exact = doubled(tensors)
    expected = composed.epilogue(*exact, *response.arguments)
    out = triton_launch.epilogue(*tensors, *response.arguments)
    assert out.stride() == tensors[0].stride()
    near(out, expected, dtype, what)
    in_place = tensors[0].clone()
    triton_launch.epilogue_(in_place, *tensors[1:], *response.arguments)
    assert torch.equal(in_place, out)
    grad = torch.randn_like(out)
    given = [t for t in exact if t is not None]
    of_given = iter(torch.autograd.grad(expected, given, grad.double(), allow_unused=True))
    wanted = [None if t is None else next(of_given) for t in exact]
    learned = angles[angle].learned is not None
    for from_output in [False] if bias or learned else [False, True]:
        value = out if from_output else tensors[0]
        found = triton_launch.epilogue_backward(
            grad, value, *tensors[1:5], *tensors[6:], *response.arguments, from_output
        )
        again = triton_launch.epilogue_backward(
            grad, value, *tensors[1:5], *tensors[6:], *response.arguments, from_output
        )
        assert all(map(torch.equal, found, again))
        names = ("z", "norm", "kernel_norm", "gain", "radius", "bias", "h", "parameters")
        for key, got, want in zip(names, found, wanted, strict=True):
            if want is not None:
                # Where the gradient of the norms cancels, it is as exact as its terms, which are about 1.
                shift = 1.0 if key == "norm" else 0.0
                near(got + shift, want + shift, dtype, f"{what} {key}, from output: {from_output}")
        near(found[5], grad.double().movedim(1, 0).flatten(1).sum(1), dtype, what)


def special():
    """Numbers that are none are where the composed ops have them, and finite ones agree."""
    nan, inf = float("nan"), float("inf")
    for magnitude in (name for name in MAGNITUDES if name != GIVEN):
        for angle in ("cos", "sqcos"):
            z, norm = torch.randn(2, 20, 3, 3), torch.rand(2, 1, 3, 3) + 0.5
            w, r, gain = (torch.rand(20) + 0.5 for _ in range(3))
            z[0, 0, 0, 0], z[0, 1, 1, 1], norm[1, 0, 2, 2], norm[0, 0, 2, 1] = nan, inf, inf, 1e18
            z[1, :, 2, 2] = inf  # as the product with an infinite patch is
            r[3], r[4], r[5], r[7], w[6], gain[8] = inf, nan, 1e18, 1e-3, nan, 0.0
            response = Response(magnitude, angle, 1.2, 0.4)
            leaves = [t.requires_grad_() for t in (z, norm, w, gain, r)]
            expected = composed.epilogue(*leaves, None, None, None, *response.arguments)
            grad = torch.randn_like(z)
            grad[1, 9, 1, 1] = nan
            wanted = torch.autograd.grad(expected, leaves, grad, allow_unused=True)
            own = [t.detach() for t in leaves]
            out = triton_launch.epilogue(*own, None, None, None, *response.arguments)
            found = triton_launch.epilogue_backward(
                grad, own[0], *own[1:], None, None, *response.arguments, False
            )
            pairs = [(out, expected), *zip(found, wanted, strict=False)]
            for which, (got, want) in enumerate(pairs):
                if want is None:
                    continue
                assert torch.equal(got.isfinite(), want.isfinite()), (magnitude, angle, which)
                fine = want.isfinite()
                if fine.any():
                    near(got[fine], want[fine], name=f"{magnitude}-{angle} {which}")


def radials():
    """Learned magnitudes of norms on every piece, of more than one stretch, and of numbers that are none."""
    for magnitude in ("power", "spline"):
        for shape in ((2, 3, 5, 7), (2, 2, 1100), (1, 4, 1)):
            count = magnitudes[magnitude].learned.count
            norm = torch.rand(shape) * 5 + 0.01
            given = norm, torch.rand(shape[1], count) + 0.1, torch.tensor(1.3)
            if count == 1:
                given[1][-1] = 0.0  # a sphere
            exact = doubled(given)
            expected = radial.composed(*exact, magnitude)
            near(triton_radial.radial(*given, magnitude), expected, name=f"{magnitude} {shape}")
            grad = torch.randn(shape)
            wanted = torch.autograd.grad(expected, exact, grad.double())
            found = triton_radial.radial_backward(grad, *given, magnitude)
            assert all(map(torch.equal, found, triton_radial.radial_backward(grad, *given, magnitude)))
            for key, got, want in zip(("norm", "parameters", "radius"), found, wanted, strict=True):
                near(got, want, name=f"{magnitude} {shape} {key}")
        norm = torch.tensor([[[float("nan"), float("inf"), 1e18, 1e-2]]])
        parameters = torch.full((1, count), 0.7)
        got = triton_radial.radial(norm, parameters, torch.tensor(1.0), magnitude)
        want = radial.composed(norm, parameters, torch.tensor(1.0), magnitude)
        torch.testing.assert_close(got, want, equal_nan=True)


def vanishing():
    """z cannot be divided out of an output whose response vanishes: no digit of it is in any gradient."""
    z, norm = torch.randn(2, 6, 3, 3), torch.rand(2, 1, 3, 3) + 0.5
    w, r = torch.rand(6) + 0.5, torch.rand(6) + 0.5
    r[2], r[3] = float("inf"), 1e36
    operator = ("tanh", "cos", 1.0, 1.0)
    out = triton_launch.epilogue(z, norm, w, None, r, None, None, None, *operator)
    grad = torch.randn_like(z)
    found = triton_launch.epilogue_backward(grad, out, norm, w, None, r, None, None, *operator, True)
    leaves = [t.requires_grad_() for t in (z, norm, w, r)]
    wanted = torch.autograd.grad(
        composed.epilogue(*leaves[:3], None, r, None, None, None, *operator), leaves, grad
    )
    for got, want in zip((*found[:3], found[4]), wanted, strict=True):
        near(got, want)


def tanh():
    """To a few units in the last place, its slope where tanh itself is 1, too."""
    for scale in (1e-6, 1e-2, 0.2, 0.3, 1.0, 8.0, 40.0):
        ratio = torch.rand(1, 1, 20, 40) * scale + 1e-9
        one = torch.ones(1)
        out = triton_launch.epilogue(ratio, ratio, one, None, one, None, None, None, "tanh", "cos", 1.0, 1.0)
        torch.testing.assert_close(out.double(), ratio.double().tanh(), rtol=1e-6, atol=0)
        given = (
            torch.ones_like(ratio),
            ratio,
            ratio,
            one,
            None,
            one,
            None,
            None,
            "tanh",
            "cos",
            1.0,
            1.0,
            False,
        )
        slope = -(ratio.double() / ratio.double().cosh().square()).sum()
        by_radius = triton_launch.epilogue_backward(*given)[4].double().sum()
        torch.testing.assert_close(by_radius, slope, rtol=3e-6, atol=1e-30)


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)  # memory that is not written is NaN
    {f.__name__: f for f in (norms, epilogues, radials, special, vanishing, tanh)}[sys.argv[1]]()
    print("checked")
