"""Dynamic filters on graphics processors: Triton kernels for the sum and for its three gradients.

A program owns what it writes and adds in a fixed order, so the same input gives the same bits. Behind the
tensors come their steps in memory, then the sizes, then what the code is made for.

Shapes: B batch, C channels, G heads, (H, W) input, (H', W') output, (kh, kw) window.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _pixels(block, count, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """Rows and columns of a block of pixels, in 64 bits, and which of them there are."""
    at = block * BLOCK + tl.arange(0, BLOCK).to(tl.int64)
    return at // WIDTH, at % WIDTH, at < count


@triton.jit
def _combined(of_channel, of_pixel, ADD: tl.constexpr):
    """(channels) and (pixels) to (channels, pixels)."""
    if ADD:
        return of_channel[:, None] + of_pixel[None, :]
    return of_channel[:, None] * of_pixel[None, :]


@triton.jit
def _forward(
    x, channel, spatial, out, xb, xc, xh, xw, sb, st, sh, sw, ob, oc, oh, ow,
    C, G, H, W, OH, OW: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, STRIDE_H, STRIDE_W, STEP_H, STEP_W,
    ADD: tl.constexpr, ACC: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """One program: some output pixels of some channels of a head."""
    TAPS: tl.constexpr = KH * KW
    width = C // G
    pixel_blocks, channel_blocks = tl.cdiv(OH * OW, PIXELS), tl.cdiv(width, CHANNELS)
    task = tl.program_id(0)
    rows, columns, here = _pixels(task % pixel_blocks, OH * OW, OW, PIXELS)
    task = task // pixel_blocks
    own = (task % channel_blocks) * CHANNELS + tl.arange(0, CHANNELS)
    head = (task // channel_blocks) % G
    b = (task // (channel_blocks * G)).to(tl.int64)
    there, c = own < width, (head * width + own).to(tl.int64)
    total = tl.zeros((CHANNELS, PIXELS), dtype=ACC)
    for tap in range(TAPS):
        row = rows * STRIDE_H + (tap // KW - KH // 2) * STEP_H
        column = columns * STRIDE_W + (tap % KW - KW // 2) * STEP_W
        inside = here & (row >= 0) & (row < H) & (column >= 0) & (column < W)
        value = tl.load(
            x + b * xb + c[:, None] * xc + (row * xh + column * xw)[None, :],
            mask=there[:, None] & inside[None, :], other=0.0,
        ).to(ACC)  # fmt: skip
        of_channel = tl.load(channel + (b * C + c) * TAPS + tap, mask=there, other=0.0).to(ACC)
        at = spatial + b * sb + (head * TAPS + tap).to(tl.int64) * st + rows * sh + columns * sw
        of_pixel = tl.load(at, mask=here, other=0.0).to(ACC)
        total += _combined(of_channel, of_pixel, ADD) * value
    at = out + b * ob + c[:, None] * oc + (rows * oh + columns * ow)[None, :]
    tl.store(at, total, mask=there[:, None] & here[None, :])


@triton.jit
def _by_input(
    grad, channel, spatial, out, gb, gc, gh, gw, sb, st, sh, sw, ob, oc, oh, ow,
    C, G, H, W: tl.constexpr, OH, OW, KH: tl.constexpr, KW: tl.constexpr, STRIDE_H, STRIDE_W, STEP_H, STEP_W,
    ADD: tl.constexpr, ACC: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """One program: some input pixels of some channels of a head, from the outputs that read them."""
    TAPS: tl.constexpr = KH * KW
    width = C // G
    pixel_blocks, channel_blocks = tl.cdiv(H * W, PIXELS), tl.cdiv(width, CHANNELS)
    task = tl.program_id(0)
    rows, columns, here = _pixels(task % pixel_blocks, H * W, W, PIXELS)
    task = task // pixel_blocks
    own = (task % channel_blocks) * CHANNELS + tl.arange(0, CHANNELS)
    head = (task // channel_blocks) % G
    b = (task // (channel_blocks * G)).to(tl.int64)
    there, c = own < width, (head * width + own).to(tl.int64)
    total = tl.zeros((CHANNELS, PIXELS), dtype=ACC)
    for tap in range(TAPS):
        down = rows - (tap // KW - KH // 2) * STEP_H
        along = columns - (tap % KW - KW // 2) * STEP_W
        row, column = down // STRIDE_H, along // STRIDE_W
        read = here & (down >= 0) & (along >= 0) & (row < OH) & (column < OW)
        read = read & (row * STRIDE_H == down) & (column * STRIDE_W == along)
        value = tl.load(
            grad + b * gb + c[:, None] * gc + (row * gh + column * gw)[None, :],
            mask=there[:, None] & read[None, :], other=0.0,
        ).to(ACC)  # fmt: skip
        of_channel = tl.load(channel + (b * C + c) * TAPS + tap, mask=there, other=0.0).to(ACC)
        at = spatial + b * sb + (head * TAPS + tap).to(tl.int64) * st + row * sh + column * sw
        of_pixel = tl.load(at, mask=read, other=0.0).to(ACC)
        total += _combined(of_channel, of_pixel, ADD) * value
    at = out + b * ob + c[:, None] * oc + (rows * oh + columns * ow)[None, :]
    tl.store(at, total, mask=there[:, None] & here[None, :])


@triton.jit
def _products(
    x, grad, xb, xc, xh, xw, gb, gc, gh, gw, b, c, there, rows, columns, here, tap,
    H, W, KH: tl.constexpr, KW: tl.constexpr, STRIDE_H, STRIDE_W, STEP_H, STEP_W, ACC: tl.constexpr,
):  # fmt: skip
    """``x · grad`` of one tap, (channels, pixels), zero where there is nothing."""
    row = rows * STRIDE_H + (tap // KW - KH // 2) * STEP_H
    column = columns * STRIDE_W + (tap % KW - KW // 2) * STEP_W
    inside = here & (row >= 0) & (row < H) & (column >= 0) & (column < W)
    both = there[:, None] & inside[None, :]
    value = tl.load(x + b * xb + c[:, None] * xc + (row * xh + column * xw)[None, :], mask=both, other=0.0)
    at = grad + b * gb + c[:, None] * gc + (rows * gh + columns * gw)[None, :]
    return value.to(ACC) * tl.load(at, mask=both, other=0.0).to(ACC)


@triton.jit
def _by_spatial(
    x, grad, channel, out, xb, xc, xh, xw, gb, gc, gh, gw, ob, ot, oh, ow,
    C, G, H, W, OH, OW: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, STRIDE_H, STRIDE_W, STEP_H, STEP_W,
    ADD: tl.constexpr, ACC: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """One program: one tap of some output pixels of a head, summed over the head's channels."""
    TAPS: tl.constexpr = KH * KW
    width, pixel_blocks = C // G, tl.cdiv(OH * OW, PIXELS)
    task = tl.program_id(0)
    rows, columns, here = _pixels(task % pixel_blocks, OH * OW, OW, PIXELS)
    tap, head = (task // pixel_blocks) % TAPS, (task // (pixel_blocks * TAPS)) % G
    b = (task // (pixel_blocks * TAPS * G)).to(tl.int64)
    total = tl.zeros((PIXELS,), dtype=ACC)
    for first in range(0, width, CHANNELS):
        own = first + tl.arange(0, CHANNELS)
        there, c = own < width, (head * width + own).to(tl.int64)
        product = _products(
            x, grad, xb, xc, xh, xw, gb, gc, gh, gw, b, c, there, rows, columns, here, tap,
            H, W, KH, KW, STRIDE_H, STRIDE_W, STEP_H, STEP_W, ACC,
        )  # fmt: skip
        if not ADD:
            at = channel + (b * C + c) * TAPS + tap
            product = product * tl.load(at, mask=there, other=0.0).to(ACC)[:, None]
        total += tl.sum(product, axis=0)
    at = out + b * ob + (head * TAPS + tap).to(tl.int64) * ot + rows * oh + columns * ow
    tl.store(at, total, mask=here)


@triton.jit
def _by_channel(
    x, grad, spatial, out, xb, xc, xh, xw, gb, gc, gh, gw, sb, st, sh, sw,
    C, G, H, W, OH, OW: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, STRIDE_H, STRIDE_W, STEP_H, STEP_W,
    ADD: tl.constexpr, ACC: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """One program: one tap of some channels of a head, summed over the output pixels."""
    TAPS: tl.constexpr = KH * KW
    width = C // G
    channel_blocks = tl.cdiv(width, CHANNELS)
    task = tl.program_id(0)
    own = (task % channel_blocks) * CHANNELS + tl.arange(0, CHANNELS)
    tap, head = (task // channel_blocks) % TAPS, (task // (channel_blocks * TAPS)) % G
    b = (task // (channel_blocks * TAPS * G)).to(tl.int64)
    there, c = own < width, (head * width + own).to(tl.int64)
    total = tl.zeros((CHANNELS,), dtype=ACC)
    for block in range(tl.cdiv(OH * OW, PIXELS)):
        rows, columns, here = _pixels(block, OH * OW, OW, PIXELS)
        product = _products(
            x, grad, xb, xc, xh, xw, gb, gc, gh, gw, b, c, there, rows, columns, here, tap,
            H, W, KH, KW, STRIDE_H, STRIDE_W, STEP_H, STEP_W, ACC,
        )  # fmt: skip
        if not ADD:
            at = spatial + b * sb + (head * TAPS + tap).to(tl.int64) * st + rows * sh + columns * sw
            product = product * tl.load(at, mask=here, other=0.0).to(ACC)[None, :]
        total += tl.sum(product, axis=1)
    tl.store(out + (b * C + c) * TAPS + tap, total, mask=there)
