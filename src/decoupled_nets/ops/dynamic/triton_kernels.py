# ruff: noqa: RUF005, PLR0915
# mypy: disable-error-code="assignment"
"""Dynamic filters on graphics processors: the Triton kernels of the sum and of its gradient by the input.

A program owns what it writes and adds in a fixed order, so the same input gives the same bits. A tap outside
the image adds nothing at all, not a zero times a filter, so that infinities and NaN stay in the windows that
they belong to. An image is found by 64 bits, an element in it by as many as `INDEX` has. How far a tap is
from its window's centre in memory is one number for all pixels.

Shapes: B batch, C = G·WIDTH channels, G heads, (H, W) read, (OH, OW) written, (KH, KW) window.
Maps are (B, C, H, W) in memory, or (B, H, W, C) if `LAST`; the channel filter is (B, KH·KW, C).
"""

from __future__ import annotations

import triton
import triton.language as tl

#: Numbers whose value makes no code of its own; one kernel serves all sizes.
SIZES = ("G", "H", "W", "OH", "OW")


@triton.jit
def across(of_pixel, of_channel, LAST: tl.constexpr):
    """Vectors over the pixels and the channels of a tile, so that they combine; neighbours in memory last."""
    pixel_axis: tl.constexpr = 1 if LAST else 0
    return tl.expand_dims(of_pixel, pixel_axis), tl.expand_dims(of_channel, 1 - pixel_axis)


@triton.jit
def steps(channels, places, LAST: tl.constexpr):
    """From one pixel to the next and from one channel to the next."""
    return (channels, 1) if LAST else (1, places)


@triton.jit
def zeros(PIXELS: tl.constexpr, CHANNELS: tl.constexpr, ACC: tl.constexpr, LAST: tl.constexpr):
    """An empty tile."""
    return tl.zeros((PIXELS, CHANNELS) if LAST else (CHANNELS, PIXELS), dtype=ACC)


@triton.jit
def replaced(values, place: tl.constexpr, value, COUNT: tl.constexpr):
    """The tuple with another value in one place."""
    out = ()
    for i in tl.static_range(COUNT):
        out = out + (value if i == place else values[i],)
    return out


@triton.jit
def _combined(of_pixel, of_channel, ADD: tl.constexpr):
    return of_pixel + of_channel if ADD else of_pixel * of_channel


@triton.jit(do_not_specialize=SIZES)
def sum_of_rows(
    x, channel, spatial, out, WIDTH, G, H, W, OH, OW,
    KH: tl.constexpr, KW: tl.constexpr, STEP_W: tl.constexpr, ADD: tl.constexpr, TRANSPOSED: tl.constexpr,
    LAST: tl.constexpr, SPATIAL_LAST: tl.constexpr, ACC: tl.constexpr, INDEX: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """One program: `ROWS` pixels below each other in some columns of some channels, with a stride of 1.

    A value that is read serves all the rows whose windows it is in. `TRANSPOSED` is the gradient by the
    input: what an output has goes to the inputs in its window, by the output's own filter.
    """
    TAPS: tl.constexpr = KH * KW
    SIGN: tl.constexpr = -1 if TRANSPOSED else 1
    FIRST: tl.constexpr = TAPS - 1 if TRANSPOSED else 0
    C, places = G.to(INDEX) * WIDTH, H.to(INDEX) * W
    bands, task = tl.cdiv(OH, ROWS), tl.program_id(0)
    pixel_blocks = tl.cdiv(bands.to(INDEX) * OW, PIXELS).to(tl.int32)
    channel_blocks = tl.cdiv(WIDTH, CHANNELS)
    lane = (task % pixel_blocks).to(INDEX) * PIXELS + tl.arange(0, PIXELS)
    top, column = (lane // OW).to(tl.int32) * ROWS, (lane % OW).to(tl.int32)
    task = task // pixel_blocks
    own = (task % channel_blocks) * CHANNELS + tl.arange(0, CHANNELS)
    head = (task // channel_blocks) % G
    b = (task // channel_blocks // G).to(tl.int64)
    there, c = own < WIDTH, head * WIDTH + own
    by_pixel, by_channel = steps(C, places, LAST)
    by_place, by_tap = steps(G * TAPS, places, SPATIAL_LAST)
    pixel = top.to(INDEX) * W + column
    if not LAST:
        # Neighbouring threads are to read neighbouring pixels, which the compiler cannot know. With a divisor
        # of 1 every element is still read by itself, as it has to be where a row ends.
        pixel = tl.multiple_of(tl.max_contiguous(pixel, 2), 1)
    at_pixel, at_channel = across(pixel * by_pixel, c.to(INDEX) * by_channel, LAST)
    x_here, out_here = (
        x + b * C * places + (at_pixel + at_channel),
        out + b * C * places + (at_pixel + at_channel),
    )
    spatial_here = spatial + b * G * TAPS * places + head * TAPS * by_tap + pixel * by_place
    total, of_channel = (), ()
    for _ in tl.static_range(ROWS):
        total = total + (zeros(PIXELS, CHANNELS, ACC, LAST),)
    for tap in tl.static_range(TAPS):
        of_channel = of_channel + (tl.load(channel + b * C * TAPS + tap * C + c, mask=there).to(ACC),)
    for j in tl.static_range(ROWS + KH - 1):
        row, x_row = top + (j - KH // 2), x_here + (j - KH // 2) * W * by_pixel
        for kw in tl.static_range(KW):
            aside = (kw - KW // 2) * STEP_W
            inside = (row >= 0) & (row < H) & (column + aside >= 0) & (column + aside < W)
            inside_, there_ = across(inside, there, LAST)
            value = tl.load(x_row + aside * by_pixel, mask=inside_ & there_).to(ACC)
            for i in tl.static_range(ROWS):
                if j - i >= 0 and j - i < KH:
                    tap = FIRST + SIGN * ((j - i) * KW + kw)
                    away = (j - KH // 2) * W.to(INDEX) + aside if TRANSPOSED else i * W.to(INDEX)
                    at = spatial_here + away * by_place + tap * by_tap
                    of_pixel = tl.load(at, mask=inside & (top + i < OH)).to(ACC)
                    of_pixel, channel_ = across(
                        of_pixel, of_channel[FIRST + SIGN * ((j - i) * KW + kw)], LAST
                    )
                    more = total[i] + _combined(of_pixel, channel_, ADD) * value
                    total = replaced(total, i, tl.where(inside_, more, total[i]), ROWS)
    for i in tl.static_range(ROWS):
        here, there_ = across(top + i < OH, there, LAST)
        tl.store(out_here + i * W * by_pixel, total[i].to(out.dtype.element_ty), mask=here & there_)


@triton.jit(do_not_specialize=SIZES)
def sum_of_windows(
    x, channel, spatial, out, WIDTH, G, H, W, OH, OW,
    KH: tl.constexpr, KW: tl.constexpr, STRIDE_H: tl.constexpr, STRIDE_W: tl.constexpr,
    STEP_H: tl.constexpr, STEP_W: tl.constexpr, ADD: tl.constexpr, TRANSPOSED: tl.constexpr,
    LAST: tl.constexpr, SPATIAL_LAST: tl.constexpr, ACC: tl.constexpr, INDEX: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """One program: some pixels of some channels, tap by tap; any stride, dilation and window.

    `TRANSPOSED` writes inputs, every `STRIDE`-th in a program: the same taps reach all of them.
    """
    TAPS: tl.constexpr = KH * KW
    OWN_H: tl.constexpr = STRIDE_H if TRANSPOSED else 1
    OWN_W: tl.constexpr = STRIDE_W if TRANSPOSED else 1
    READ_H: tl.constexpr = 1 if TRANSPOSED else STRIDE_H
    READ_W: tl.constexpr = 1 if TRANSPOSED else STRIDE_W
    C, places = G.to(INDEX) * WIDTH, H.to(INDEX) * W
    rows, columns = tl.cdiv(OH, OWN_H), tl.cdiv(OW, OWN_W)
    pixel_blocks = tl.cdiv(rows.to(INDEX) * columns, PIXELS).to(tl.int32)
    channel_blocks, task = tl.cdiv(WIDTH, CHANNELS), tl.program_id(0)
    lane = (task % pixel_blocks).to(INDEX) * PIXELS + tl.arange(0, PIXELS)
    row, column = (lane // columns).to(tl.int32), (lane % columns).to(tl.int32)
    task = task // pixel_blocks
    left, up = task % OWN_W, (task // OWN_W) % OWN_H
    task = task // (OWN_H * OWN_W)
    own = (task % channel_blocks) * CHANNELS + tl.arange(0, CHANNELS)
    head = (task // channel_blocks) % G
    b = (task // channel_blocks // G).to(tl.int64)
    there, c = own < WIDTH, head * WIDTH + own
    own_row, own_column = up + row * OWN_H, left + column * OWN_W
    here = (own_row < OH) & (own_column < OW)
    by_pixel, by_channel = steps(C, places, LAST)
    read_row, read_column = row * READ_H, column * READ_W
    read, write = read_row.to(INDEX) * W + read_column, own_row.to(INDEX) * OW + own_column
    if not LAST:  # as above
        read, write = tl.max_contiguous(read, 2), tl.max_contiguous(write, 2)
        read, write = tl.multiple_of(read, 1), tl.multiple_of(write, 1)
    at_pixel, at_channel = across(read * by_pixel, c.to(INDEX) * by_channel, LAST)
    x_here, channel_here = x + b * C * places + (at_pixel + at_channel), channel + b * C * TAPS + c
    if TRANSPOSED:
        by_place, by_tap = steps(G * TAPS, places, SPATIAL_LAST)
        spatial_here = spatial + b * G * TAPS * places + read * by_place
    else:
        by_place, by_tap = steps(G * TAPS, OH.to(INDEX) * OW, SPATIAL_LAST)
        spatial_here = spatial + b * G * TAPS * OH * OW + write * by_place
    spatial_here += head * TAPS * by_tap
    total = zeros(PIXELS, CHANNELS, ACC, LAST)
    for tap in range(TAPS):
        down, aside = (tap // KW - KH // 2) * STEP_H, (tap % KW - KW // 2) * STEP_W
        if TRANSPOSED:
            down, aside = up - down, left - aside
            reached = (down % STRIDE_H == 0) & (aside % STRIDE_W == 0)
            down, aside = down // STRIDE_H, aside // STRIDE_W
        else:
            reached = tap >= 0
        if reached:
            inside = here & (read_row + down >= 0) & (read_row + down < H)
            inside = inside & (read_column + aside >= 0) & (read_column + aside < W)
            inside_, there_ = across(inside, there, LAST)
            away = (down * W.to(INDEX) + aside) * by_pixel
            value = tl.load(x_here + away, mask=inside_ & there_).to(ACC)
            of_channel = tl.load(channel_here + tap * C, mask=there).to(ACC)
            if TRANSPOSED:
                at = spatial_here + (down * W.to(INDEX) + aside) * by_place + tap * by_tap
            else:
                at = spatial_here + tap * by_tap
            of_pixel, of_channel = across(tl.load(at, mask=inside).to(ACC), of_channel, LAST)
            total = tl.where(inside_, total + _combined(of_pixel, of_channel, ADD) * value, total)
    by_channel = steps(C, OH.to(INDEX) * OW, LAST)[1]
    at_pixel, at_channel = across(write * by_pixel, c.to(INDEX) * by_channel, LAST)
    here_, there_ = across(here, there, LAST)
    out_here = out + b * C * OH * OW + (at_pixel + at_channel)
    tl.store(out_here, total.to(out.dtype.element_ty), mask=here_ & there_)
