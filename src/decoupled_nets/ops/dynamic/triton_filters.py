# ruff: noqa: RUF005, PLR0915
# mypy: disable-error-code="assignment, no-untyped-def"
"""Dynamic filters on graphics processors: the Triton kernel of the gradients by both filters.

Both are sums of the same products, of inputs and outputs' gradients: the spatial filter's over the channels
of a head, the channel filter's over pixels. A program adds up what it has of either in a fixed order
and writes it down as a share; who starts it adds the shares. Letters as in
:mod:`.triton_kernels`.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .triton_kernels import SIZES, across, replaced, steps, zeros


@triton.jit
def _times(product, factor, ADD: tl.constexpr):
    return product if ADD else product * factor


@triton.jit(do_not_specialize=(*SIZES, "BATCH", "CHUNKS", "CHUNK"))
def by_filters(
    x, grad, channel, spatial, by_channel, by_spatial, WIDTH, G, H, W, OH, OW, BATCH, CHUNKS, CHUNK,
    KH: tl.constexpr, KW: tl.constexpr, STRIDE_H: tl.constexpr, STRIDE_W: tl.constexpr,
    STEP_H: tl.constexpr, STEP_W: tl.constexpr, ADD: tl.constexpr, LAST: tl.constexpr,
    SPATIAL_LAST: tl.constexpr, ACC: tl.constexpr, INDEX: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr, ROWS: tl.constexpr, TOGETHER: tl.constexpr,
):  # fmt: skip
    """One program: `CHUNK` blocks of output pixels of some channels, each of `ROWS` pixels in a column.

    It goes through them for one column of the window after the other, of which it takes `TOGETHER` taps at a
    time. Shares: `by_channel` is (chunks, B, KH·KW, C); `by_spatial` is as the spatial filter, for every
    block of a head's channels.
    """
    TAPS: tl.constexpr = KH * KW
    ROUNDS: tl.constexpr = KW * ((KH + TOGETHER - 1) // TOGETHER)
    C, places, out_places = G.to(INDEX) * WIDTH, H.to(INDEX) * W, OH.to(INDEX) * OW
    channel_blocks, task = tl.cdiv(WIDTH, CHANNELS), tl.program_id(0)
    chunk, task = task % CHUNKS, task // CHUNKS
    block, head = task % channel_blocks, (task // channel_blocks) % G
    b = (task // channel_blocks // G).to(tl.int64)
    own = block * CHANNELS + tl.arange(0, CHANNELS)
    there, c = own < WIDTH, head * WIDTH + own
    by_pixel, x_channel = steps(C, places, LAST)
    by_place, by_tap = steps(G * TAPS, out_places, SPATIAL_LAST)
    spatial += b * G * TAPS * out_places + head * TAPS * by_tap
    by_spatial += (block.to(tl.int64) * BATCH + b) * G * TAPS * out_places + head * TAPS * by_tap
    by_channel += (chunk.to(tl.int64) * BATCH + b) * C * TAPS + c
    channel += b * C * TAPS + c
    x, grad = x + b * C * places, grad + b * C * out_places
    turn = 0
    while turn < ROUNDS:
        start, kw = turn // KW * TOGETHER, turn % KW
        aside = (kw - KW // 2) * STEP_W
        totals, of_channel = (), ()
        for t in tl.static_range(TOGETHER):
            totals = totals + (zeros(PIXELS, CHANNELS, ACC, LAST),)
            tap = channel + ((start + t) * KW + kw) * C
            of_channel = of_channel + (tl.load(tap, mask=there & (start + t < KH), other=0.0).to(ACC),)
        k = 0
        while k < CHUNK:
            lane = (chunk * CHUNK + k).to(INDEX) * PIXELS + tl.arange(0, PIXELS)
            top, column = (lane // OW).to(tl.int32) * ROWS, (lane % OW).to(tl.int32)
            place, read = top.to(INDEX) * OW + column, (top * STRIDE_H).to(INDEX) * W + column * STRIDE_W
            if not LAST:  # as in the other kernels
                place, read = tl.max_contiguous(place, 2), tl.max_contiguous(read, 2)
                place, read = tl.multiple_of(place, 1), tl.multiple_of(read, 1)
            at_pixel, at_channel = across(place * by_pixel, c.to(INDEX) * steps(C, out_places, LAST)[1], LAST)
            grad_here, of_out = grad + (at_pixel + at_channel), ()
            for i in tl.static_range(ROWS):
                here_, there_ = across(top + i < OH, there, LAST)
                value = tl.load(grad_here + i * OW * by_pixel, mask=here_ & there_, other=0.0)
                of_out = of_out + (value.to(ACC),)
            at_pixel, at_channel = across(read * by_pixel, c.to(INDEX) * x_channel, LAST)
            x_here = x + (at_pixel + at_channel)
            beside = (column * STRIDE_W + aside >= 0) & (column * STRIDE_W + aside < W)
            for j in tl.static_range(ROWS + TOGETHER - 1):
                down = (start + j - KH // 2) * STEP_H
                inside = beside & (top * STRIDE_H + down >= 0) & (top * STRIDE_H + down < H)
                inside_, there_ = across(inside, there, LAST)
                x_row = x_here + (down * W.to(INDEX) + aside) * by_pixel
                value = tl.load(x_row, mask=inside_ & there_, other=0.0).to(ACC)
                for i in tl.static_range(ROWS):
                    if j - i >= 0 and j - i < TOGETHER:
                        product = of_out[i] * value
                        needed = (top + i < OH) & (start + (j - i) < KH)
                        at = (place + i * OW) * by_place + ((start + (j - i)) * KW + kw) * by_tap
                        of_pixel = tl.load(spatial + at, mask=needed & inside).to(ACC)
                        of_pixel, channel_ = across(of_pixel, of_channel[j - i], LAST)
                        reached, there_ = across(needed & inside, there, LAST)
                        more = totals[j - i] + _times(product, of_pixel, ADD)
                        totals = replaced(totals, j - i, tl.where(reached, more, totals[j - i]), TOGETHER)
                        share = tl.sum(_times(product, channel_, ADD), axis=1 if LAST else 0)
                        share = tl.where(inside, share, 0.0).to(by_spatial.dtype.element_ty)
                        tl.store(by_spatial + at, share, mask=needed)
            k += 1
        for t in tl.static_range(TOGETHER):
            whole = tl.sum(totals[t], axis=0 if LAST else 1).to(by_channel.dtype.element_ty)
            tl.store(by_channel + ((start + t) * KW + kw) * C, whole, mask=there & (start + t < KH))
        turn += 1
