"""Settings of a decoupled convolution drawn by number, special values included, and both paths' outcome.

A setting follows from its number alone. What is drawn stays where arithmetic in the type is defined: norms
between 1e-18 and 1e18 and products of them, beside zeros, denormal numbers, infinities and NaN anywhere.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from kernel_cases import DTYPES, MAGNITUDES, arrange
from torch import Tensor

from decoupled_nets.ops import backend
from decoupled_nets.ops.decoupled.call import Operands
from decoupled_nets.ops.decoupled.functional import measure_conv, respond
from decoupled_nets.ops.decoupled.operator import WEIGHTINGS, Operator
from decoupled_nets.ops.norms import accumulation_dtype

#: Largest difference between the paths, relative to the element or to the largest finite one beside it.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 3e-4, torch.bfloat16: 8e-2}
#: Likewise, relative to the terms of a gradient that cancels.
ROUNDING = {torch.float64: 1e-14, torch.float32: 1e-6, torch.bfloat16: 6e-2}
RADII = ["number", "each", "one", "relative"]
#: A value put in place of one element, or a factor of the whole tensor.
VALUES = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf, "zero": 0.0, "denormal": 1e-40}
FACTORS = {"zeros": 0.0, "huge": 1e18, "tiny": 1e-18}


@dataclass(frozen=True)
class Setting:
    """One call of a decoupled convolution; `special` says what was put into which tensor."""

    number: int
    operator: str
    alpha: str | float | None
    beta: float | None
    weighting: str | None
    radius: str
    dtype: torch.dtype
    last: bool
    shape: tuple[int, ...]
    out: int
    kernel: tuple[int, ...]
    geometry: dict[str, Any]
    bias: bool
    scale: bool
    eps: float
    needs_input: bool
    special: tuple[tuple[str, str], ...] = field(default=())


def draw(number: int) -> Setting:
    """The setting of this number; every operator comes once in fourteen."""
    rng = random.Random(number)
    dims = rng.choice([1, 2, 2, 2, 3])
    groups = rng.choice([1, 1, 2, 3])
    kernel = tuple(rng.choice([1, 2, 3]) for _ in range(dims))
    dilation = tuple(rng.choice([1, 1, 2]) for _ in range(dims))
    padding: Any = tuple(rng.choice([0, 1, 3]) for _ in range(dims))
    stride = tuple(rng.choice([1, 1, 2, 3]) for _ in range(dims))
    if rng.random() < 0.15:
        padding, stride = "same", (1,) * dims
    least = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    size = [n + rng.choice([0, 1, 2, 5, 19 if dims == 1 else 7]) for n in least]
    channels = groups * rng.choice([1, 2, 3, 17 if dims < 3 else 4])
    magnitude, angle = MAGNITUDES[number % 7], ("cos", "sqcos")[number // 7 % 2]
    radius = rng.choice(RADII)
    tensors = ["input", "weight", "cotangent", "radius", "bias", "scale", "alpha"]
    kinds = [*VALUES, *FACTORS]
    chosen = rng.sample(tensors, k=rng.choice([0, 1, 1, 2]))
    special = tuple(
        (name, kind) for name in chosen if (kind := rng.choice(kinds)) not in _undefined(name, radius)
    )
    if {("weight", "nan"), ("weight", "inf"), ("weight", "-inf")}.intersection(special):
        # Outside the input and between windows, a convolution multiplies zeros by the weight, or does not, as
        # the library behind it likes.
        padding, stride = 0, 1
    return Setting(
        number,
        f"{magnitude}-{angle}",
        rng.choice([None, None, 0.7, -1.2, "each", "one"]),
        rng.choice([None, 0.3, 1.5]) if magnitude in ("seg", "mix") else None,
        rng.choice([None, None, *WEIGHTINGS]),
        radius,
        DTYPES[number % 3],
        rng.random() < 0.5,
        (rng.choice([0, 1, 2, 2, 9] if dims < 3 else [0, 1, 2]), channels, *size),
        groups * rng.choice([1, 2, 3, 20 if dims < 3 else 5]),
        kernel,
        {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups},
        rng.random() < 0.4,
        rng.random() < 0.3,
        rng.choice([1e-4, 1e-4, 1e-6]),
        rng.random() < 0.8,
        special,
    )


def _undefined(name: str, radius: str) -> tuple[str, ...]:
    """What may not be put into a tensor: a radius is positive; r² + 1e-4 is, if r² can be told."""
    if name != "radius":
        return ()
    return ("huge",) if radius == "relative" else ("zero", "zeros", "-inf", "denormal")


def tensors_of(s: Setting) -> dict[str, Tensor]:
    """The tensors by their names as arguments, those that are trained with ``requires_grad``."""
    generator = torch.Generator().manual_seed(s.number)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    fan = s.shape[1] // s.geometry["groups"]
    made = {"input": normal(*s.shape), "weight": normal(s.out, fan, *s.kernel) / math.sqrt(fan)}
    if s.bias:
        made["bias"] = normal(s.out)
    if s.scale:
        made["scale"] = normal(s.out)
    if s.alpha in ("each", "one"):
        made["alpha"] = normal(*[s.out] if s.alpha == "each" else []).abs() + 0.3
    if s.radius in ("each", "one", "relative"):
        made["radius"] = normal(*[s.out] if s.radius != "one" else []).abs() * 2 + 0.2
    for name, kind in s.special:
        if name in made:
            made[name] = _with(made[name], kind, generator)
    wide = accumulation_dtype(s.dtype)
    made = {k: v.to(s.dtype if k in ("input", "weight") else wide) for k, v in made.items()}
    made["input"] = arrange(made["input"], s.last)
    if s.number % 5 == 0 and len(s.kernel) == 2:
        made["weight"] = made["weight"].contiguous(memory_format=torch.channels_last)
    return {k: v.requires_grad_(k != "input" or s.needs_input) for k, v in made.items()}


def _with(x: Tensor, kind: str, generator: torch.Generator) -> Tensor:
    """x with a special value in one place (now and then in two), or times a factor."""
    if kind in FACTORS:
        return x * FACTORS[kind]
    if x.numel():
        at = torch.randint(x.numel(), (2,), generator=generator)
        x = x.clone()
        x.view(-1)[at[:1] if at.sum() % 2 else at] = VALUES[kind]
    return x


@contextmanager
def _convolutions(dtype: torch.dtype) -> Iterator[None]:
    """ATen's own in bfloat16: oneDNN's read what nobody wrote for some geometries, or end the process."""
    before = torch._C._get_mkldnn_enabled()  # torch.backends.mkldnn.flags warns where there is no Intel GPU
    torch._C._set_mkldnn_enabled(before and dtype != torch.bfloat16)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(before)


def _call(s: Setting, tensors: Mapping[str, Tensor | None]) -> Tensor:
    given: dict[str, Any] = dict(tensors)
    if s.radius == "number":
        given["radius"] = 1.7
    elif s.radius == "relative":
        given["radius"] = None  # follows from the norms
    if isinstance(s.alpha, float):
        given["alpha"] = s.alpha
    if s.beta is not None:
        given["beta"] = s.beta
    operator = Operator(*s.operator.split("-"))
    with _convolutions(s.dtype):
        given["x"] = given.pop("input")
        call, operands = measure_conv(
            Operands(**given), **s.geometry, operator=operator, weighting=s.weighting, eps=s.eps
        )
        if s.radius == "relative":
            radius = (tensors["radius"].square() + 1e-4) * operands.norm.mean()
            operands = operands._replace(radius=radius)
        return respond(call, operands)


def outcome(s: Setting, tensors: Mapping[str, Tensor], *, compiled: bool) -> dict[str, Tensor]:
    """The output and every gradient on one of the two paths."""
    wanted = {name: t for name, t in tensors.items() if t.requires_grad}
    with nullcontext() if compiled else backend.use_backend("composed"):
        out = _call(s, tensors)
    cotangent = _cotangent(s, out)
    with _convolutions(s.dtype):
        found = torch.autograd.grad(
            out, list(wanted.values()), cotangent, allow_unused=True, materialize_grads=True
        )
    return {"output": out.detach(), **dict(zip(wanted, found, strict=True))}


def _cotangent(s: Setting, out: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(s.number + 1)
    made = torch.randn(out.shape, generator=generator, dtype=torch.float64)
    for name, kind in s.special:
        if name == "cotangent":
            made = _with(made, kind, generator)
    return arrange(made.to(out.dtype), s.number % 4 == 0)


def differences(s: Setting) -> dict[str, str]:
    """What the paths disagree on, by the name of the output or of the tensor whose gradient it is."""
    tensors = tensors_of(s)
    found, wanted = (outcome(s, tensors, compiled=compiled) for compiled in (True, False))
    plain = {name: _tamed(name, x.detach()) for name, x in tensors.items()}
    size = _call(s, {**plain, "bias": None}).double().abs()
    terms = size * _tamed("input", _cotangent(s, size))
    every = {}
    for name, own in found.items():
        around = size.max() if name == "output" and size.numel() else _terms(name, plain.get(name), terms)
        if text := difference(own, wanted[name], s.dtype, around, exactly=name == "output"):
            every[name] = text
    return every


def _tamed(name: str, x: Tensor) -> Tensor:
    """x without what has no size; of input and weight, the absolutes: their sums are what may cancel."""
    if name in ("input", "weight"):
        return x.nan_to_num(0.0, 0.0, 0.0).abs()
    return torch.where(x.isfinite() & (x.abs() > 1e-25), x, torch.ones_like(x))


def _terms(name: str, x: Tensor | None, terms: Tensor) -> Tensor:
    """About what is added up, and may cancel, in the gradient by x: every kernel's terms, over its size."""
    total = terms.sum()
    if x is None or not x.numel():
        return total
    x = x.double()
    if name == "input":
        return total / x.max().clamp(min=1e-30)
    if x.dim() == 0:
        return total / x.abs()
    size = x.abs() if x.dim() == 1 else x.flatten(1).norm(dim=1)
    by_kernel = terms.movedim(1, 0).flatten(1).sum(1) / size.clamp(min=1e-30)
    return by_kernel.view(-1, *[1] * (x.dim() - 1))


def difference(found: Tensor, wanted: Tensor, dtype: torch.dtype, terms: Tensor, exactly: bool) -> str | None:
    """What differs, or None: where numbers are none, or a number by more than the tolerance.

    NaN and infinities are told apart if `exactly`. In a gradient ∞·(a − b) is either, as the terms are put
    together, and both say the same. The sign of an infinity is that of a g which rounding may have made.
    """
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return f"{tuple(found.shape)} of {found.dtype}, not {tuple(wanted.shape)} of {wanted.dtype}"
    kinds = [torch.isnan, torch.isinf] if exactly else [torch.isfinite]
    for holds in kinds:
        here, there = holds(found), holds(wanted)
        if not torch.equal(here, there):
            at = tuple((here != there).nonzero()[0].tolist())
            return (
                f"{holds.__name__} at {int(here.sum())} places, not {int(there.sum())} of {here.numel()}; "
                f"{found[at].item()}, not {wanted[at].item()} at {at}"
            )
    finite = wanted.isfinite()
    a, b = found[finite].double(), wanted[finite].double()
    if not b.numel():
        return None
    fine = torch.finfo(found.dtype)
    allowed = TOLERANCE[dtype] * b.abs().max() + ROUNDING[dtype] * terms.expand_as(wanted)[finite]
    allowed = allowed + 100 * fine.eps * fine.smallest_normal  # numbers with hardly any digits
    error = (a - b).abs()
    if (error <= allowed).all():
        return None
    at = (error / allowed).argmax()
    beside = b.abs().max().item()
    return f"{a[at].item()}, not {b[at].item()}, at most {allowed[at].item():.2g} off; {beside} beside"
