"""Dynamic filters on graphics processors: what starts the Triton kernels."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..norms import accumulation_dtype
from ..tensors import readable
from . import triton_filters, triton_kernels
from .call import DynamicForm

_ACCUMULATION = {torch.float32: tl.float32, torch.float64: tl.float64}
_WARPS, _TILE = 4, 1024  # eight elements of a tile a thread
_THIRD_OF_REGISTERS = 168  # a thread: three programs run on a processor at a time
_ROWS = 4  # whose windows share what is read
_UNROLLED = 9  # taps at most: their channel filters are kept in registers
_TOGETHER = 3  # taps whose sums over pixels are kept in registers
_FEW = 2**30  # elements of an image that 32 bits count, and what lies around it
_PROGRAMS, _BLOCKS = 512, 16  # enough to fill a GPU; the most blocks of pixels that one adds up


@dataclass(frozen=True)
class _Problem:
    """What decides which code runs, and how the work is cut: shapes, types and memory formats."""

    batch: int
    channels: int
    heads: int
    size: tuple[int, int]
    out_size: tuple[int, int]
    form: DynamicForm
    dtype: torch.dtype
    last: bool
    spatial_last: bool

    @classmethod
    def of(cls, x: Tensor, spatial: Tensor, form: DynamicForm) -> _Problem:
        taps = form.geometry.kernel[0] * form.geometry.kernel[1]
        batch, channels, height, width = x.shape
        maps, rows, columns = spatial.shape[1:]
        return cls(
            batch, channels, maps // taps, (height, width), (rows, columns), form, x.dtype,
            not x.is_contiguous(), not spatial.is_contiguous(),
        )  # fmt: skip

    @property
    def width(self) -> int:
        """Channels of a head."""
        return self.channels // self.heads

    @property
    def format(self) -> torch.memory_format:
        """The input's, and so the output's."""
        return torch.channels_last if self.last else torch.contiguous_format

    @property
    def plain(self) -> bool:
        """Whether windows below each other are a row apart and so share rows."""
        return self.form.geometry.stride == (1, 1) and self.form.geometry.dilation[0] == 1

    def code(self) -> dict[str, Any]:
        """What every kernel is compiled for."""
        geometry = self.form.geometry
        (height, width), (rows, columns) = self.size, self.out_size
        taps = geometry.kernel[0] * geometry.kernel[1]
        most = max(height * width * self.channels, rows * columns * max(self.channels, self.heads * taps))
        return {
            "KH": geometry.kernel[0], "KW": geometry.kernel[1], "STEP_W": geometry.dilation[1],
            "ADD": self.form.combine == "add", "LAST": self.last, "SPATIAL_LAST": self.spatial_last,
            "ACC": _ACCUMULATION[accumulation_dtype(self.dtype)],
            "INDEX": tl.int32 if most < _FEW else tl.int64, "num_warps": _WARPS,
        }  # fmt: skip

    def any_code(self) -> dict[str, Any]:
        """The same for the kernels that take any stride and dilation."""
        geometry = self.form.geometry
        strides = {"STRIDE_H": geometry.stride[0], "STRIDE_W": geometry.stride[1]}
        return {**self.code(), **strides, "STEP_H": geometry.dilation[0]}

    def tile(self, pixels: int) -> tuple[int, int]:
        """Pixels and channels of a tile for so many pixels: not many more channels than a head has."""
        width = int(triton.next_power_of_2(self.width))
        if self.last:
            channels = min(64, width)
            return min(128, _TILE // channels), channels
        own = min(128, max(16, int(triton.next_power_of_2(pixels))))
        return own, min(_TILE // own, width)


@dataclass(frozen=True)
class _Launch:
    """A kernel, the number of programs, the sizes and what it is compiled for."""

    kernel: Any
    tasks: int
    sizes: tuple[int, ...]
    code: dict[str, Any]

    def __call__(self, *tensors: Tensor) -> None:
        if self.tasks:
            with torch.cuda.device_of(tensors[0]):
                self.kernel[(self.tasks,)](*tensors, *self.sizes, **self.code)


def forward(input: Tensor, channel_filter: Tensor, spatial_filter: Tensor, form: DynamicForm) -> Tensor:
    """The sum over taps, in the memory format of the input."""
    x, spatial = readable(input), readable(spatial_filter)
    problem = _Problem.of(x, spatial, form)
    size = *x.shape[:2], *problem.out_size
    out = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=problem.format)
    _sum(problem, False)(x, _turned(channel_filter), spatial, out)
    return out


def backward(
    grad: Tensor, input: Tensor, channel_filter: Tensor, spatial_filter: Tensor, form: DynamicForm
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of the input and of both filters."""
    x, spatial, channel = readable(input), readable(spatial_filter), _turned(channel_filter)
    problem = _Problem.of(x, spatial, form)
    grad = grad.contiguous(memory_format=problem.format)
    by_input, by_spatial = torch.empty_like(x), torch.empty_like(spatial)
    _sum(problem, True)(grad, channel, spatial, by_input)
    launch, chunks, blocks = _by_filters(problem)
    channel_shares = channel.new_empty(chunks, *channel.shape)
    spatial_shares = channel.new_empty(blocks, spatial.numel()) if blocks > 1 else by_spatial
    launch(x, grad, channel, spatial, channel_shares, spatial_shares)
    if blocks > 1:
        flat = by_spatial.permute(0, 2, 3, 1) if problem.spatial_last else by_spatial
        flat.copy_(spatial_shares.sum(0).view(flat.shape))
    own = torch.empty_like(channel_filter, memory_format=torch.contiguous_format)
    own.flatten(2).copy_(channel_shares.sum(0).transpose(1, 2))
    return by_input, own, by_spatial


def _turned(channel_filter: Tensor) -> Tensor:
    """(B, kh·kw, C) in the type of sums: a tap's channels are neighbours."""
    turned = channel_filter.flatten(2).transpose(1, 2)
    wide = accumulation_dtype(channel_filter.dtype)
    return torch.empty(turned.shape, dtype=wide, device=turned.device).copy_(turned)


@functools.lru_cache(1024)
def _sum(problem: _Problem, transposed: bool) -> _Launch:
    """The sum, or the gradient by the input, as ``launch(read, channel, spatial, out)``."""
    read, out = (problem.out_size, problem.size) if transposed else (problem.size, problem.out_size)
    geometry = problem.form.geometry
    in_rows = problem.plain and geometry.kernel[0] * geometry.kernel[1] <= _UNROLLED
    every = geometry.stride if transposed else (1, 1)
    rows = _rows(out) if in_rows else every[0]
    lanes = _blocks(out[0], rows) * _blocks(out[1], every[1])
    pixels, channels = problem.tile(lanes)
    tasks = problem.batch * problem.heads * _blocks(lanes, pixels) * _blocks(problem.width, channels)
    sizes = problem.width, problem.heads, *read, *out
    code = {"TRANSPOSED": transposed, "PIXELS": pixels, "CHANNELS": channels}
    if in_rows:
        code |= {**problem.code(), "ROWS": rows, "maxnreg": _THIRD_OF_REGISTERS}
        return _Launch(triton_kernels.sum_of_rows, tasks, sizes, code)
    # A program of the gradient writes every `stride`-th pixel, counted from one of the first ones.
    tasks *= every[0] * every[1]
    return _Launch(triton_kernels.sum_of_windows, tasks, sizes, code | problem.any_code())


@functools.lru_cache(1024)
def _by_filters(problem: _Problem) -> tuple[_Launch, int, int]:
    """The filters' gradients: ``launch(x, grad, channel, spatial, shares, shares)``, and how many shares."""
    rows = _rows(problem.out_size) if problem.plain else 1
    lanes = _blocks(problem.out_size[0], rows) * problem.out_size[1]
    pixels, channels = problem.tile(lanes)
    blocks, pixel_blocks = _blocks(problem.width, channels), _blocks(lanes, pixels)
    own = problem.batch * problem.heads * blocks
    chunk = max(1, min(_BLOCKS, own * pixel_blocks // _PROGRAMS))
    chunks = _blocks(pixel_blocks, chunk)
    sizes = problem.width, problem.heads, *problem.size, *problem.out_size, problem.batch, chunks, chunk
    together = min(_TOGETHER, problem.form.geometry.kernel[0])
    code = {"PIXELS": pixels, "CHANNELS": channels, "ROWS": rows, "TOGETHER": together}
    code |= {**problem.any_code(), "maxnreg": _THIRD_OF_REGISTERS}
    return _Launch(triton_filters.by_filters, own * chunks, sizes, code), chunks, blocks


def _rows(size: tuple[int, int]) -> int:
    return _ROWS if size[0] > _ROWS // 2 else 1


def _blocks(count: int, block: int) -> int:
    return -(-count // block)
