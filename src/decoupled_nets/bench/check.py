"""No time without a right result: what is measured is first compared with the float64 reference."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..nn.operator import DecoupledMixin
from .cases import Case, LayerCase
from .paths import Reference, replaced

#: Largest error, relative to the largest value of the tensor.
TOLERANCE = {"float32": 1e-4, "bfloat16": 4e-2}
#: The slope of a spline jumps at its knots, and rounding decides on which side a patch lies: the share of a
#: gradient that may then be another one.
AT_KNOTS = 0.01


def check(module: nn.Module, own: nn.Module, case: Case) -> None:
    """Compare a module with the float64 reference, in the case's type, memory format and geometry.

    A layer that is trained is compared in the gradients of its input and weight too; a network, in whose
    depth ReLU and pooling choose differently in another type, only in its response.

    Args:
        module: what is to be measured.
        own: the decoupled layer or network whose parameters it has.
        case: what it is measured on.

    Raises:
        AssertionError: they differ.
    """
    x = case.small_input()
    module.eval()
    own.eval()
    reference = replaced(own, Reference).double()
    same = x.detach().double().requires_grad_(x.requires_grad)
    with torch.set_grad_enabled(_has_gradients(case)):
        _compare(module, x, reference, same, case)
    module.train(case.training)
    own.train(case.training)


def check_measured(module: nn.Module, own: nn.Module, case: Case, x: Tensor) -> None:
    """Compare a module with another one, which was checked, on the very input `x` that is measured.

    A compiled module would be compiled again for another shape; the kernels share a large input among
    threads, and take it in parts, where :func:`check`'s is too small for that.

    Raises:
        AssertionError: they differ.
    """
    # In the mode that is measured: a compiled module has a form of its own for each.
    with torch.set_grad_enabled(case.training):
        _compare(module.train(case.training), x, own.train(case.training), x, case)


def _has_gradients(case: Case) -> bool:
    return case.training and isinstance(case, LayerCase)


def _compare(module: nn.Module, x: Tensor, expected: nn.Module, same: Tensor, case: Case) -> None:
    out, right = module(x), expected(same)
    jumps = any(isinstance(m, DecoupledMixin) and m.operator.learns_slopes for m in expected.modules())
    _near(out, right, case, "response")
    if _has_gradients(case):
        grad = torch.randn_like(out)
        named = zip(_gradients(module, x, out, grad), _gradients(expected, same, right, grad), strict=True)
        for actual, wanted in named:
            share = AT_KNOTS if jumps and wanted.shape == x.shape else 0.0
            _near(actual, wanted, case, f"gradient of shape {tuple(wanted.shape)}", share)


def _near(actual: Tensor, wanted: Tensor, case: Case, name: str, share: float = 0.0) -> None:
    """Equal within the tolerance, but for a share of the elements."""
    actual, wanted = actual.detach().double(), wanted.detach().double()
    most = TOLERANCE[case.dtype] * float(wanted.abs().max())
    outside = ~((actual - wanted).abs() <= most)
    if share and bool(actual.isfinite().all()) and float(outside.double().mean()) <= share:
        return
    torch.testing.assert_close(
        actual, wanted, rtol=0, atol=most, msg=lambda text: f"{case}: {name} is wrong. {text}"
    )


def _gradients(module: nn.Module, x: Tensor, out: Tensor, grad: Tensor) -> tuple[Tensor, ...]:
    """Those of input and weight: a radius's may be all cancellation, and no test of half precision."""
    inputs = [t for t in (x, *module.parameters()) if t.requires_grad and t.dim() == 4]
    return torch.autograd.grad(out, inputs, grad.to(out.dtype))
