"""No time without a right result: dynamic filters are compared with float64 before they are measured."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..ops.dynamic.reference import ddf_reference
from .ddf_cases import DdfCase, FilterCase, ResNetCase
from .ddf_paths import Filtering, in_float64, leaves, random_filtering

#: Largest error, relative to the largest value of the tensor.
TOLERANCE = 1e-4
NETWORK_TOLERANCE = 1e-3


def check_right(module: nn.Module, own: nn.Module, case: DdfCase) -> None:
    """Compare a module with the composed path in float64, on an input as large as the measured one.

    Given or generated filters are compared in their gradients too; a network, in whose depth ReLU and pooling
    choose differently in another type, only in the response to one image.

    Args:
        module: what is to be measured.
        own: the filtering, layer or network whose parameters it has.
        case: what it is measured on.

    Raises:
        AssertionError: they differ.
    """
    if isinstance(own, Filtering):
        assert isinstance(case, FilterCase)
        check_reference(case)
    _compare(module, own, in_float64(own), case, torch.float64, all_images=False)


def check_alike(module: nn.Module, own: nn.Module, case: DdfCase) -> None:
    """Compare a module with another one, which was checked, in the mode that is measured.

    Raises:
        AssertionError: they differ.
    """
    _compare(module, own, own, case, torch.float32, all_images=True)


def check_reference(case: FilterCase) -> None:
    """Compare the composed path in float64 with the paper's sum, pixel by pixel, on a small image.

    Raises:
        AssertionError: they differ.
    """
    size = case.kernel + 1
    right = in_float64(random_filtering(2, 3, size, case.kernel))
    x = torch.randn(2, 3, size, size, dtype=torch.float64, requires_grad=True)
    channel, spatial = leaves(right)
    _all_near(
        *_results(right(x), [x, channel, spatial]),
        *_results(ddf_reference(x, channel, spatial), [x, channel, spatial]),
        case,
        TOLERANCE,
    )


def _compare(
    module: nn.Module, own: nn.Module, right: nn.Module, case: DdfCase, dtype: torch.dtype, all_images: bool
) -> None:
    network = isinstance(case, ResNetCase)
    x = case.input() if all_images or not network else case.input()[:1]
    same = x.detach().to(dtype).requires_grad_(x.requires_grad)
    for one in (module, own, right):
        one.train(case.training and (not network or all_images))
    tolerance = NETWORK_TOLERANCE if network else TOLERANCE
    if network:
        with torch.set_grad_enabled(case.training and all_images):
            _all_near(module(x).detach(), [], right(same).detach(), [], case, tolerance)
        return
    actual = _results(module(x), [x, *leaves(module)])
    _all_near(*actual, *_results(right(same), [same, *leaves(right)]), case, tolerance)


def _results(out: Tensor, inputs: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """The response, and the gradients of a fixed random weighting of it."""
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out.dtype)
    return out.detach(), list(torch.autograd.grad(out, inputs, weights))


def _all_near(
    out: Tensor, grads: list[Tensor], right: Tensor, wanted: list[Tensor], case: DdfCase, tolerance: float
) -> None:
    names = ["response", *(f"gradient of shape {tuple(grad.shape)}" for grad in wanted)]
    # What is all cancellation, as a bias before a normalisation has it, is measured by the largest of all.
    largest = max((float(grad.abs().max()) for grad in wanted), default=0.0)
    for name, one, other in zip(names, [out, *grads], [right, *wanted], strict=True):
        scale = float(other.abs().max())
        if name != "response":
            scale = max(scale, 1e-2 * largest)
        _near(one.double(), other.double(), tolerance * scale, f"{case}: {name} is wrong.")


def _near(actual: Tensor, wanted: Tensor, most: float, what: str) -> None:
    torch.testing.assert_close(actual, wanted, rtol=0, atol=most, msg=lambda text: f"{what} {text}")
