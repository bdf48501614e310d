"""The ops of a decoupled convolution on graphics processors: what starts the Triton kernels.

They answer as the CPU's do: in the memory format of what they are given, norms and everything per channel in
float32. What they take :mod:`.triton` says.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..geometry import Geometry
from ..tensors import MaybeTensor, arranged, readable
from . import triton_kernels as kernels
from .learned import TURNS
from .triton import ANGLES, DTYPES, MAGNITUDES

#: Parameters of a learned angle, in force.
_PARAMETERS = {"power": 1, "spline": TURNS}
_TILE = 4096  # elements: 32 for each thread of four warps
_SMALL_TILE = 2048  # of a backward pass, where a thread holds sums as well
_SMALLEST_TILE = 1024  # of one with a learned angle, which has more of them
_ENOUGH = 264  # programs, two for each multiprocessor of a large card
_SHARES = 2048  # programs of a backward pass at most; each leaves a row of sums
_WINDOW_BLOCK = 256


@dataclass(frozen=True)
class Tiles:
    """How the elements (B, C, positions) of a memory format are dealt out to programs."""

    sizes: tuple[int, int, int, int]  # S, width, G, blocks
    tasks: int
    chunks: int
    last: bool
    align: int
    bp: int
    bc: int

    @property
    def programs(self) -> int:
        """Programs if each has one tile."""
        return self.tasks * self.sizes[2] * self.chunks

    @property
    def constants(self) -> dict[str, Any]:
        """What the kernels' code is made for."""
        return {"LAST": self.last, "ALIGN": self.align, "BP": self.bp, "BC": self.bc}


@functools.lru_cache(4096)
def tiles(
    batch: int, channels: int, positions: int, groups: int, last: bool, size: int, whole: bool = False
) -> Tiles:
    """Tiles of `size` elements; `whole`: a program takes all channels of its group, tile by tile."""
    width = channels // groups
    if last and groups == 1:  # the norms of all images lie behind each other, as the positions do
        batch, positions = 1, batch * positions
    least = 16 if last else _power(positions, 128)
    bc = 128 if width % 128 == 0 and last else _power(width, 64 if last else size // least)
    bp = min(size // bc, 1024, max(16, _power(positions, 1024)))
    per_position = groups * (1 if whole else -(-width // bc))
    if batch * -(-positions // bp) * per_position < _ENOUGH:
        bp = max(16 if last else 1, bp // 4)
    blocks = -(-positions // bp)
    row = width if last else positions
    align = 8 if row % 8 == 0 else 1
    return Tiles((positions, width, groups, blocks), batch * blocks, -(-width // bc), last, align, bp, bc)


def _power(size: int, most: int) -> int:
    """The least power of two that is not less than `size`, but not more than `most`."""
    return min(most, 1 << max(0, size - 1).bit_length())


def is_last(x: Tensor) -> bool:
    """Whether a readable x has its channels last; a single position counts so, for the longer rows."""
    if not x.is_contiguous():
        return True
    return x.shape[2:].numel() == 1


def _checked(x: Tensor, name: str) -> Tensor:
    """`x` as the kernels read it."""
    if x.dtype not in DTYPES or not x.numel() or x.dim() < 3:
        raise RuntimeError(
            f"{name} of shape {tuple(x.shape)} and type {x.dtype} received; needed: (B, C, *spatial) with "
            f"something in it and one of {DTYPES}"
        )
    return readable(x)


def _output_size(x: Tensor, windows: tuple[list[int], ...]) -> tuple[int, ...]:
    kernel, stride, padding, dilation = windows
    pairs = tuple(zip(padding[::2], padding[1::2], strict=True))
    return Geometry(tuple(kernel), tuple(stride), pairs, tuple(dilation)).output_size(x.shape[2:])


def _columns(value: Tensor, **given: MaybeTensor) -> dict[str, MaybeTensor]:
    """What is given per channel, as the kernels read it."""
    for name, t in given.items():
        if t is not None and (t.shape != value.shape[1:2] or t.dtype != torch.float32):
            raise RuntimeError(
                f"epilogue: {name} of shape {tuple(t.shape)} and type {t.dtype} received; needed: "
                f"({value.shape[1]},) in float32, the type of accumulation"
            )
    return {name: None if t is None else t.contiguous() for name, t in given.items()}


def _checked_norm(value: Tensor, norm: Tensor) -> Tensor:
    fits = norm.dim() == value.dim() and norm.shape[0] == value.shape[0] and norm.shape[2:] == value.shape[2:]
    if not fits or not norm.shape[1] or value.shape[1] % norm.shape[1] or norm.dtype != torch.float32:
        raise RuntimeError(
            f"epilogue: norm of shape {tuple(norm.shape)} and type {norm.dtype} received; needed: (B, G, *S) "
            f"in float32, the type of accumulation, for a value of shape {tuple(value.shape)}"
        )
    return norm.contiguous()


def _tiles_of(x: Tensor, groups: int, size: int = _TILE, whole: bool = False) -> Tiles:
    return tiles(x.shape[0], x.shape[1], x.shape[2:].numel(), groups, is_last(x), size, whole)


def _windows(size: Any, out: Any, *windows: list[int]) -> tuple[int, ...]:
    """Sizes, kernel, stride, padding before and dilation, each in three dimensions."""
    kernel, stride, padding, dilation = windows
    lead = 3 - len(kernel)
    filled = [(1, size), (1, out), (1, kernel), (1, stride), (0, padding[::2]), (1, dilation)]
    return tuple(n for one, entries in filled for n in ([one] * lead + list(entries)))


def _each_position(windows: tuple[list[int], ...]) -> bool:
    """Whether every window is one position, and every position a window."""
    kernel, stride, padding, _ = windows
    return all(n == 1 for n in (*kernel, *stride)) and not any(padding)


def patch_norm(
    input: Tensor,
    kernel: list[int],
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    eps: float,
) -> Tensor:
    """``sqrt(Σ x² + eps)`` of every patch."""
    windows = kernel, stride, padding, dilation
    x, out = _checked(input, "input"), _output_size(input, windows)
    if groups < 1 or x.shape[1] % groups:
        raise RuntimeError(f"patch_norm: groups = {groups} received; needed: a divisor of {x.shape[1]}")
    plane = x.new_empty((x.shape[0], groups, *x.shape[2:]), dtype=torch.float32)
    t, root = _tiles_of(x, groups, whole=True), _each_position(windows)
    with torch.cuda.device_of(x):
        kernels.square_sums[(t.tasks * groups,)](x, plane, *t.sizes, eps, ROOT=root, **t.constants)
        if root:
            return plane
        norm = plane.new_empty((x.shape[0], groups, *out))
        programs = x.shape[0] * groups * -(-norm.shape[2:].numel() // _WINDOW_BLOCK)
        numbers = _windows(x.shape[2:], out, *windows)
        kernels.window_norms[(programs,)](plane, norm, *numbers, eps, BLOCK=_WINDOW_BLOCK)
    return norm


def patch_norm_backward(grad: Tensor, input: Tensor, norm: Tensor, *windows: list[int]) -> Tensor:
    """Gradient of the patch norms with respect to their input."""
    x = _checked(input, "input")
    out = torch.empty_like(x)
    _spread(out, grad, x, norm, windows, add=False)
    return out


def patch_norm_backward_(
    grad_input: Tensor, grad: Tensor, input: Tensor, norm: Tensor, *windows: list[int]
) -> None:
    """Adds :func:`patch_norm_backward` to `grad_input`, rounded once."""
    if grad_input.shape != input.shape or grad_input.dtype != input.dtype:
        raise RuntimeError(
            f"gradient of shape {tuple(grad_input.shape)} received; needed: the input's shape and type"
        )
    _spread(grad_input, grad, arranged(_checked(input, "input"), grad_input), norm, windows, add=True)


def _spread(
    out: Tensor, grad: Tensor, x: Tensor, norm: Tensor, windows: tuple[list[int], ...], *, add: bool
) -> None:
    size = _output_size(x, windows)
    if grad.shape != norm.shape or norm.shape[2:] != size or norm.shape[0] != x.shape[0]:
        raise RuntimeError(
            f"gradient of shape {tuple(grad.shape)} received; needed: the windows' {tuple(size)}"
        )
    if grad.dtype != torch.float32 or norm.dtype != torch.float32:
        raise RuntimeError(f"gradient of type {grad.dtype} received; needed: float32, as the norms are")
    groups, share, norm = norm.shape[1], grad.contiguous(), norm.contiguous()
    t, divide = _tiles_of(x, groups), _each_position(windows)
    with torch.cuda.device_of(x):
        if not divide:
            share = norm.new_empty((x.shape[0], groups, *x.shape[2:]))
            programs = x.shape[0] * groups * -(-x.shape[2:].numel() // _WINDOW_BLOCK)
            numbers = _windows(x.shape[2:], size, *windows)
            kernels.window_shares[(programs,)](grad.contiguous(), norm, share, *numbers, BLOCK=_WINDOW_BLOCK)
        kernels.scale_input[(t.programs,)](
            x, share, norm, out, *t.sizes, t.chunks, DIVIDE=divide, ADD=add, **t.constants
        )


def _operator(magnitude: str, angle: str) -> dict[str, Any]:
    if magnitude not in MAGNITUDES or angle not in ANGLES:
        raise RuntimeError(f"epilogue: unknown operator {magnitude}-{angle}")
    return {"MAGNITUDE": magnitude, "ANGLE": angle}


def _learned(
    norm: Tensor, h: MaybeTensor, parameters: MaybeTensor, magnitude: str, angle: str
) -> tuple[MaybeTensor, MaybeTensor]:
    """The values of a learned magnitude and the parameters of a learned angle, as the kernels read them."""
    wanted = norm.shape if magnitude == "given" else None
    count = _PARAMETERS.get(angle)
    for name, given, shape in (
        ("h", h, wanted),
        ("g_parameters", parameters, None if count is None else (norm.shape[1], count)),
    ):
        fits = given is None if shape is None else given is not None and given.shape == shape
        if not fits or (given is not None and given.dtype != torch.float32):
            found = "None" if given is None else f"shape {tuple(given.shape)} and type {given.dtype}"
            needed = "None" if shape is None else f"{tuple(shape)} in float32"
            raise RuntimeError(
                f"epilogue: {name} of {found} received; needed: {needed} for {magnitude}-{angle}"
            )
    return None if h is None else h.contiguous(), None if parameters is None else parameters.contiguous()


def epilogue(z: Tensor, *others: Any) -> Tensor:
    """``gain · h(‖x‖) · g(z / (‖x‖‖w‖)) + bias``."""
    value = _checked(z, "z")
    out = torch.empty_like(value)
    _epilogue(value, out, *others)
    return out


def epilogue_(z: Tensor, *others: Any) -> None:
    """:func:`epilogue` in place of `z`."""
    if _checked(z, "z") is not z:
        raise RuntimeError(
            f"z of strides {z.stride()} received; needed: a contiguous or channels_last tensor"
        )
    _epilogue(z, z, *others)


def _epilogue(
    z: Tensor,
    out: Tensor,
    norm: Tensor,
    kernel_norm: Tensor,
    gain: MaybeTensor,
    radius: MaybeTensor,
    bias: MaybeTensor,
    h: MaybeTensor,
    g_parameters: MaybeTensor,
    magnitude: str,
    angle: str,
    alpha: float,
    beta: float,
) -> None:
    norm = _checked_norm(z, norm)
    columns = _columns(z, kernel_norm=kernel_norm, gain=gain, radius=radius, bias=bias)
    learned = _learned(norm, h, g_parameters, magnitude, angle)
    t = _tiles_of(z, norm.shape[1])
    given = {name.upper(): columns[name] is not None for name in ("gain", "radius", "bias")}
    with torch.cuda.device_of(z):
        kernels.epilogue[(t.programs,)](
            z, norm, *columns.values(), *learned, out, *t.sizes, t.chunks, alpha, beta,
            **_operator(magnitude, angle), **given, **t.constants,
        )  # fmt: skip


def epilogue_backward(
    grad: Tensor,
    value: Tensor,
    norm: Tensor,
    kernel_norm: Tensor,
    gain: MaybeTensor,
    radius: MaybeTensor,
    h: MaybeTensor,
    g_parameters: MaybeTensor,
    magnitude: str,
    angle: str,
    alpha: float,
    beta: float,
    from_output: bool,
) -> tuple[Tensor, ...]:
    """Gradients by z, norm, kernel_norm, gain, radius, bias, h and the parameters of a learned angle.

    `value` is z, or (`from_output`) the output without bias.
    """
    v = _checked(value, "value")
    if grad.shape != value.shape or grad.dtype != value.dtype:
        raise RuntimeError(
            f"gradient of shape {tuple(grad.shape)} received; needed: the value's shape and type"
        )
    if from_output and angle in _PARAMETERS:
        raise RuntimeError(
            f"epilogue_backward: from_output received for {angle}; needed: z, as it is learned"
        )
    own, norm = arranged(readable(grad), v), _checked_norm(v, norm)
    columns = _columns(v, kernel_norm=kernel_norm, gain=gain, radius=radius)
    learned = _learned(norm, h, g_parameters, magnitude, angle)
    count = _PARAMETERS.get(angle, 0)
    rows = 4 + count if count else 3
    t = _tiles_of(v, norm.shape[1], _SMALLEST_TILE if count else _SMALL_TILE)
    across = t.sizes[2] * t.chunks
    programs = min(t.tasks, max(1, _SHARES // across))
    by_value, each = torch.empty_like(v), [norm.new_empty(v.shape[1:2]) for _ in range(4)]
    by_norm = norm.new_empty((t.chunks, *norm.shape))
    by_h = None if h is None else torch.empty_like(by_norm)
    sums, by_parameters = norm.new_empty((programs, rows, v.shape[1])), norm.new_empty((count, v.shape[1]))
    operator, with_gain = _operator(magnitude, angle), gain is not None
    with torch.cuda.device_of(v):
        kernels.epilogue_backward[(programs * across,)](
            own, v, norm, *columns.values(), *learned, by_value, by_norm, by_h, sums,
            *t.sizes, t.chunks, t.tasks, programs, norm.numel(), alpha, beta, **operator, ROWS=rows,
            FROM_OUTPUT=from_output, GAIN=with_gain, RADIUS=radius is not None, **t.constants,
        )  # fmt: skip
        kernels.add_up[(rows * -(-v.shape[1] // 16),)](
            sums, columns["kernel_norm"], columns["gain"], *each, by_parameters, v.shape[1], programs,
            ANGLE=angle, ROWS=rows, GAIN=with_gain, AT_ONCE=128, BC=16,
        )  # fmt: skip
    groups = norm.shape[1]
    by_g = by_parameters.view(count, groups, v.shape[1] // groups).sum(2).t() if count else norm.new_empty(0)
    return (
        by_value, _over_chunks(by_norm), *each,
        norm.new_empty(0) if by_h is None else _over_chunks(by_h), by_g.contiguous(),
    )  # fmt: skip


def _over_chunks(shares: Tensor) -> Tensor:
    return shares.sum(0) if len(shares) > 1 else shares[0]
