"""Whether the network is a function of the image alone, and gives logits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from . import Check, Context, check

_PASSES = 5
_VARIES = 1e-4  # of normalised logits
_FEW = 8


@check("inference")
def inference(context: Context) -> Check:
    """Random outputs, probabilities, dependence on the batch, gradients computed within.

    Asked of the network itself, also where the mean of its outputs is attacked.
    """
    images, _ = context.some
    victim = context.itself
    found = [victim.logits(images) for _ in range(_PASSES)]
    normal = [logits / logits.norm(dim=1, keepdim=True).clamp(min=1e-12) for logits in found]
    varies = max(float((other - normal[0]).abs().max()) for other in normal[1:])
    alone = [_alone(context, place) for place in range(min(_FEW, len(images)))]
    scale = float(found[0].std().clamp(min=1e-12))
    together = (
        max((float((one - found[0][i]).abs().max()) for i, one in enumerate(alone)), default=0.0) / scale
    )
    sums = found[0].sum(1)
    probabilities = bool((found[0] >= 0).all()) and float((sums - 1).abs().max()) < 1e-3
    with _counted() as calls, torch.enable_grad():
        victim.model(images[:1].clone())
    faults = {
        "outputs vary between passes": varies > _VARIES,
        "outputs look like probabilities": probabilities,
        "outputs depend on the other images of the batch": together > 0.01 and varies <= _VARIES,
        "gradients are computed within": bool(calls),
    }
    seen = [text for text, is_so in faults.items() if is_so]
    return Check(
        "inference", bool(seen), ", ".join(seen) or "the same logits each time, alone and in a batch",
        {"varies": varies, "batch": together, "probabilities": probabilities, "autograd": len(calls)},
    )  # fmt: skip


@torch.no_grad()
def _alone(context: Context, place: int) -> torch.Tensor:
    image = context.some[0][place : place + 1]
    return context.itself.model(image)[0].to(torch.promote_types(image.dtype, torch.float32))


@contextmanager
def _counted() -> Iterator[list[str]]:
    """Names of the functions that compute gradients, each time one is called."""
    calls: list[str] = []
    grad, backward, method = torch.autograd.grad, torch.autograd.backward, torch.Tensor.backward

    def noting(name: str, function: Any) -> Any:
        def noted(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            return function(*args, **kwargs)

        return noted

    torch.autograd.grad = noting("grad", grad)
    torch.autograd.backward = noting("backward", backward)
    torch.Tensor.backward = noting("backward", method)  # type: ignore[method-assign]
    try:
        yield calls
    finally:
        torch.autograd.grad, torch.autograd.backward = grad, backward
        torch.Tensor.backward = method  # type: ignore[method-assign]
