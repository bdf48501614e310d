"""Decoupled convolution on graphics processors: the Triton kernels.

Every program owns what it writes and adds in a fixed order, so the same input gives the same bits; which
program adds what depends on shapes alone. Sizes are ordinary arguments, never constants of the code, so that
another size needs no other code; ``ALIGN`` is what is known of them: that rows begin at multiples of it.

A tile is BP positions by BC channels of one group of one image. The start of a tile counts in 64 bits, what
lies within it in 32.

Shapes: B images, G groups of `width` channels, S positions. With the channels last and one group all images
are one long one. Norms and the values of a learned magnitude are (B, G, S), everything per channel (C,), the
P parameters of a learned angle (G, P).
"""

from __future__ import annotations

import triton
import triton.language as tl

from .triton_response import ROUNDED, between, respond, turned

#: Below this h·gain no digit of g is left in a product with it, and none of g's share in any gradient.
LEAST_RESPONSE = tl.constexpr(1e-30)


@triton.jit
def _aligned(S, width, LAST: tl.constexpr, ALIGN: tl.constexpr):
    """S and width, the one that rows are made of known to be a multiple of ALIGN."""
    if LAST:
        return S, width // ALIGN * ALIGN
    return S // ALIGN * ALIGN, width


@triton.jit
def _tile(task, group, c, S, width, G, blocks, LAST: tl.constexpr, BP: tl.constexpr):
    """A tile: its start in memory, its elements behind that, its positions, where its norms start."""
    image = task // blocks
    first = (task - image * blocks).to(tl.int64) * BP
    own = tl.arange(0, BP)
    image = image.to(tl.int64)
    if LAST:
        start = (image * S + first) * (width * G) + group * width
        within = own[:, None] * (width * G) + c[None, :]
    else:
        start = (image * G + group) * width * S + first
        within = own[:, None] + c[None, :] * S
    return start, within, first + own < S, (image * G + group) * S + first


_SIZES = ["S", "width", "G", "blocks"]


@triton.jit(do_not_specialize=_SIZES)
def square_sums(
    x, out, S, width, G, blocks, eps,
    LAST: tl.constexpr, ALIGN: tl.constexpr, ROOT: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Σ x² over a group's channels; ``sqrt(Σ x² + eps)`` if ROOT."""
    S, width = _aligned(S, width, LAST, ALIGN)
    group, task = tl.program_id(0) % G, tl.program_id(0) // G
    c = tl.arange(0, BC)
    start, within, here, norms = _tile(task, group, c, S, width, G, blocks, LAST, BP)
    total = tl.zeros((BP, BC), dtype=tl.float32)
    step = BC if LAST else BC * S
    for first in range(0, width, BC):
        there = here[:, None] & (first + c < width)[None, :]
        value = tl.load(x + start + within, mask=there, other=0.0).to(tl.float32)
        total += value * value
        start += step
    found = tl.sum(total, axis=1)
    if ROOT:
        found = tl.sqrt(found + eps)
    tl.store(out + norms + tl.arange(0, BP), found, mask=here)


@triton.jit(do_not_specialize=[*_SIZES, "chunks"])
def epilogue(
    z, norm, kernel_norm, gain, radius, bias, given, parameters, out,
    S, width, G, blocks, chunks, alpha, beta,
    LAST: tl.constexpr, ALIGN: tl.constexpr, MAGNITUDE: tl.constexpr, ANGLE: tl.constexpr,
    GAIN: tl.constexpr, RADIUS: tl.constexpr, BIAS: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """``gain · h(‖x‖) · g(z / (‖x‖‖w‖)) + bias``; `out` may be z."""
    S, width = _aligned(S, width, LAST, ALIGN)
    column, task = tl.program_id(0) % (G * chunks), tl.program_id(0) // (G * chunks)
    group = column // chunks
    c = (column - group * chunks) * BC + tl.arange(0, BC)
    of = group * width + c
    there = c < width
    start, within, here, norms = _tile(task, group, c, S, width, G, blocks, LAST, BP)
    n = tl.load(norm + norms + tl.arange(0, BP), mask=here, other=1.0)
    inverse = (1.0 / n)[:, None]
    inverse_w = (1.0 / tl.load(kernel_norm + of, mask=there, other=1.0))[None, :]
    r = tl.full((BC,), 1.0, tl.float32)
    if RADIUS:
        r = tl.load(radius + of, mask=there, other=1.0)
    own = n[:, None]
    if MAGNITUDE == "given":
        own = tl.load(given + norms + tl.arange(0, BP), mask=here, other=0.0)[:, None]
    h, _, scale = respond(own, r[None, :], (1.0 / r)[None, :], alpha, beta, MAGNITUDE)
    if GAIN:
        h = h * tl.load(gain + of, mask=there, other=1.0)[None, :]
    h = h * scale
    both = here[:, None] & there[None, :]
    cosine = tl.load(z + start + within, mask=both, other=0.0).to(tl.float32) * inverse * inverse_w
    g, _ = turned(cosine, parameters, group, ANGLE)
    result = g * h
    if BIAS:
        result += tl.load(bias + of, mask=there, other=0.0)[None, :]
    tl.store(out + start + within, result.to(out.dtype.element_ty), mask=both)


@triton.jit(do_not_specialize=[*_SIZES, "chunks", "tasks", "programs", "norms_in_all"])
def epilogue_backward(  # noqa: C901, PLR0915 (its branches are constants of the code; parts would pass tiles)
    grad, value, norm, kernel_norm, gain, radius, given, parameters, by_value, by_norm, by_given, sums,
    S, width, G, blocks, chunks, tasks, programs, norms_in_all, alpha, beta,
    LAST: tl.constexpr, ALIGN: tl.constexpr, MAGNITUDE: tl.constexpr, ANGLE: tl.constexpr, ROWS: tl.constexpr,
    FROM_OUTPUT: tl.constexpr, GAIN: tl.constexpr, RADIUS: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """One program: some channels of every `programs`-th tile.

    `by_norm` and `by_given` (chunks, B, G, S) and `sums` (programs, ROWS, C) hold shares of gradients: what
    remains is to add them up. The rows are those of gain, radius and bias; of a learned angle also that of
    the kernel norms, which otherwise follows from the first, and its parameters'.
    """
    LEARNED: tl.constexpr = ANGLE == "power" or ANGLE == "spline"
    S, width = _aligned(S, width, LAST, ALIGN)
    column, mine = tl.program_id(0) % (G * chunks), tl.program_id(0) // (G * chunks)
    group = column // chunks
    chunk = column - group * chunks
    c = chunk * BC + tl.arange(0, BC)
    of = group * width + c
    there = c < width
    inverse_w = (1.0 / tl.load(kernel_norm + of, mask=there, other=1.0))[None, :]
    r = tl.full((1, BC), 1.0, tl.float32)
    if RADIUS:
        r = tl.load(radius + of, mask=there, other=1.0)[None, :]
    factor = tl.full((1, BC), 1.0, tl.float32)
    if GAIN:
        factor = tl.load(gain + of, mask=there, other=1.0)[None, :]
    inverse_r = 1.0 / r
    # Added up over positions when all are there: within the loop that would take the threads' cooperation.
    by_gain = tl.zeros((BP, BC), dtype=tl.float32)
    by_radius = tl.zeros((BP, BC), dtype=tl.float32)
    by_bias = tl.zeros((BP, BC), dtype=tl.float32)
    by_turn = tl.zeros((BP, BC), dtype=tl.float32)
    by_first = tl.zeros((BP, BC), dtype=tl.float32)
    by_second = tl.zeros((BP, BC), dtype=tl.float32)
    by_third = tl.zeros((BP, BC), dtype=tl.float32)
    by_fourth = tl.zeros((BP, BC), dtype=tl.float32)
    scale = alpha * 0.0 + 1.0
    for task in range(mine, tasks, programs):
        start, within, here, norms = _tile(task, group, c, S, width, G, blocks, LAST, BP)
        both = here[:, None] & there[None, :]
        n = tl.load(norm + norms + tl.arange(0, BP), mask=here, other=1.0)[:, None]
        inverse = 1.0 / n
        own = tl.load(grad + start + within, mask=both, other=0.0).to(tl.float32)
        v = tl.load(value + start + within, mask=both, other=0.0).to(tl.float32)
        of_h = n
        if MAGNITUDE == "given":
            of_h = tl.load(given + norms + tl.arange(0, BP), mask=here, other=0.0)[:, None]
        h, slope, scale = respond(of_h, r, inverse_r, alpha, beta, MAGNITUDE)
        if FROM_OUTPUT:
            size = h * (factor * scale)
            g = tl.where(tl.abs(size) > LEAST_RESPONSE, v / size, 0.0)
            if ANGLE == "sqcos":
                g_slope = 2.0 * tl.sqrt(tl.abs(g))
        else:
            t = v * inverse * inverse_w
            g, g_slope = turned(t, parameters, group, ANGLE)
        ratio = h * inverse
        by_v = own * (ratio * (inverse_w * factor * scale))
        if ANGLE != "cos":
            by_v = by_v * g_slope
        tl.store(by_value + start + within, by_v.to(by_value.dtype.element_ty), mask=both)
        share = own * g
        by_gain += share * h
        if LEARNED:
            turn = own * g_slope * t
            by_turn += turn * h
            respect = own * (h * factor)
            if ANGLE == "power":
                by_first += respect * g * tl.log(t * t + ROUNDED)
            else:
                size = tl.abs(t)
                signed = tl.where(t < 0.0, -respect, respect)
                by_first += signed * tl.where(size >= 1.0, 1.0, size)
                by_second += signed * between(size, 1.0)
                by_third += signed * between(size, 2.0)
                by_fourth += signed * tl.where(size >= 3.0, size - 3.0, 0.0)
        by_bias += own
        if GAIN:
            share = share * factor
        if LEARNED:
            by_ratio = turn * factor * ratio
        elif ANGLE == "sqcos":
            by_ratio = share * (ratio * 2.0)
        else:
            by_ratio = share * ratio
        at = chunk.to(tl.int64) * norms_in_all + norms + tl.arange(0, BP)
        if MAGNITUDE == "given":  # its slope is no part of this
            by_slope = -by_ratio
            tl.store(by_given + at, tl.sum(share, axis=1) * scale, mask=here)
            tl.store(by_norm + at, tl.sum(by_slope, axis=1) * scale, mask=here)
        else:
            by_slope = share * slope
            tl.store(by_norm + at, tl.sum(by_slope - by_ratio, axis=1) * scale, mask=here)
        # Of ball and tanh, dh/dρ = -dh/dn · n/ρ. The slope vanishes before n is cut, which keeps 0·∞ away.
        if MAGNITUDE == "ball":
            by_radius += by_slope * tl.where(n > r, 1.0, n)
        if MAGNITUDE == "tanh":
            by_radius += by_slope * tl.minimum(n, 1e30)
        if MAGNITUDE == "seg":
            # Behind the product: what the comparison did not choose has no gradient, whatever comes in.
            by_radius += tl.where(n < r, 0.0, share)
    if MAGNITUDE == "ball" or MAGNITUDE == "tanh":
        by_radius = by_radius * (-inverse_r * scale)
    if MAGNITUDE == "seg":
        by_radius = by_radius * (alpha - beta)
    at, C = sums + mine.to(tl.int64) * (ROWS * width * G) + of, width * G
    tl.store(at, tl.sum(by_gain * scale, axis=0), mask=there)
    tl.store(at + C, tl.sum(by_radius, axis=0), mask=there)
    tl.store(at + 2 * C, tl.sum(by_bias, axis=0), mask=there)
    if LEARNED:
        tl.store(at + 3 * C, tl.sum(by_turn * scale, axis=0), mask=there)
        share_of_p = by_first * scale
        if ANGLE == "power":
            share_of_p = share_of_p * 0.5
        tl.store(at + 4 * C, tl.sum(share_of_p, axis=0), mask=there)
    if ANGLE == "spline":
        tl.store(at + 5 * C, tl.sum(by_second * scale, axis=0), mask=there)
        tl.store(at + 6 * C, tl.sum(by_third * scale, axis=0), mask=there)
        tl.store(at + 7 * C, tl.sum(by_fourth * scale, axis=0), mask=there)


@triton.jit(do_not_specialize=["C", "programs"])
def add_up(
    sums, kernel_norm, gain, by_kernel_norm, by_gain, by_radius, by_bias, by_parameters, C, programs,
    ANGLE: tl.constexpr, ROWS: tl.constexpr, GAIN: tl.constexpr, AT_ONCE: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """The gradients per channel from the shares (programs, ROWS, C) of :func:`epilogue_backward`.

    `by_parameters` (ROWS - 4, C) has those of a learned angle's parameters.
    """
    which, c = tl.program_id(0) % ROWS, tl.program_id(0) // ROWS * BC + tl.arange(0, BC)
    there = c < C
    total = tl.zeros((AT_ONCE, BC), dtype=tl.float32)
    for first in range(0, programs, AT_ONCE):
        row = first + tl.arange(0, AT_ONCE)
        at = (row.to(tl.int64) * ROWS + which)[:, None] * C + c[None, :]
        total += tl.load(sums + at, mask=(row < programs)[:, None] & there[None, :], other=0.0)
    found = tl.sum(total, axis=0)
    if which == 0:
        tl.store(by_gain + c, found, mask=there)
    elif which == 1:
        tl.store(by_radius + c, found, mask=there)
    elif which == 2:
        tl.store(by_bias + c, found, mask=there)
    if which == (3 if ROWS > 3 else 0):
        found = found * (-2.0 if ANGLE == "sqcos" else -1.0) / tl.load(kernel_norm + c, mask=there, other=1.0)
        if GAIN:
            found = found * tl.load(gain + c, mask=there, other=1.0)
        tl.store(by_kernel_norm + c, found, mask=there)
    elif which > 3:
        tl.store(by_parameters + (which - 4) * C + c, found, mask=there)


_WINDOWS = [
    "D", "H", "W", "OD", "OH", "OW", "KD", "KH", "KW", "STRIDE_D", "STRIDE_H", "STRIDE_W",
    "PAD_D", "PAD_H", "PAD_W", "STEP_D", "STEP_H", "STEP_W",
]  # fmt: skip


@triton.jit(do_not_specialize=_WINDOWS)
def window_norms(
    plane, out, D, H, W, OD, OH, OW, KD, KH, KW, STRIDE_D, STRIDE_H, STRIDE_W,
    PAD_D, PAD_H, PAD_W, STEP_D, STEP_H, STEP_W, eps, BLOCK: tl.constexpr,
):  # fmt: skip
    """``sqrt(Σ + eps)`` over the windows of planes (…, D, H, W): (…, OD, OH, OW)."""
    blocks = tl.cdiv(OD * OH * OW, BLOCK)
    image = tl.program_id(0) // blocks
    at = (tl.program_id(0) - image * blocks) * BLOCK + tl.arange(0, BLOCK)
    here = at < OD * OH * OW
    image = image.to(tl.int64)
    plane += image * D * H * W
    row, w = at // OW, at % OW * STRIDE_W - PAD_W
    d, h = row // OH * STRIDE_D - PAD_D, row % OH * STRIDE_H - PAD_H
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for kd in range(KD):
        deep = d + kd * STEP_D
        for kh in range(KH):
            high = h + kh * STEP_H
            inside = here & (deep >= 0) & (deep < D) & (high >= 0) & (high < H)
            line = (deep * H + high) * W
            for kw in range(KW):
                wide = w + kw * STEP_W
                total += tl.load(plane + line + wide, mask=inside & (wide >= 0) & (wide < W), other=0.0)
    tl.store(out + image * OD * OH * OW + at, tl.sqrt(total + eps), mask=here)


@triton.jit(do_not_specialize=_WINDOWS)
def window_shares(
    grad, norm, out, D, H, W, OD, OH, OW, KD, KH, KW, STRIDE_D, STRIDE_H, STRIDE_W,
    PAD_D, PAD_H, PAD_W, STEP_D, STEP_H, STEP_W, BLOCK: tl.constexpr,
):  # fmt: skip
    """At every position (…, D, H, W), Σ grad / norm of the windows (…, OD, OH, OW) that it is in."""
    blocks = tl.cdiv(D * H * W, BLOCK)
    image = tl.program_id(0) // blocks
    at = (tl.program_id(0) - image * blocks) * BLOCK + tl.arange(0, BLOCK)
    here = at < D * H * W
    image = image.to(tl.int64)
    grad += image * OD * OH * OW
    norm += image * OD * OH * OW
    row, w = at // W, at % W + PAD_W
    d, h = row // H + PAD_D, row % H + PAD_H
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for kd in range(KD):
        from_d = d - kd * STEP_D
        deep = from_d // STRIDE_D
        for kh in range(KH):
            from_h = h - kh * STEP_H
            high = from_h // STRIDE_H
            inside = here & (from_d >= 0) & (deep * STRIDE_D == from_d) & (deep < OD)
            inside = inside & (from_h >= 0) & (high * STRIDE_H == from_h) & (high < OH)
            line = (deep * OH + high) * OW
            for kw in range(KW):
                from_w = w - kw * STEP_W
                wide = from_w // STRIDE_W
                read = inside & (from_w >= 0) & (wide * STRIDE_W == from_w) & (wide < OW)
                share = tl.load(grad + line + wide, mask=read, other=0.0)
                total += share / tl.load(norm + line + wide, mask=read, other=1.0)
    tl.store(out + image * D * H * W + at, total, mask=here)


@triton.jit(do_not_specialize=[*_SIZES, "chunks"])
def scale_input(
    x, share, norm, out, S, width, G, blocks, chunks,
    LAST: tl.constexpr, ALIGN: tl.constexpr, DIVIDE: tl.constexpr, ADD: tl.constexpr,
    BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """``x · share``, where DIVIDE ``x · share / norm``, into `out`; where ADD, added to it, rounded once."""
    S, width = _aligned(S, width, LAST, ALIGN)
    column, task = tl.program_id(0) % (G * chunks), tl.program_id(0) // (G * chunks)
    group = column // chunks
    c = (column - group * chunks) * BC + tl.arange(0, BC)
    start, within, here, norms = _tile(task, group, c, S, width, G, blocks, LAST, BP)
    factor = tl.load(share + norms + tl.arange(0, BP), mask=here, other=0.0)
    if DIVIDE:
        factor = factor / tl.load(norm + norms + tl.arange(0, BP), mask=here, other=1.0)
    both = here[:, None] & (c < width)[None, :]
    result = tl.load(x + start + within, mask=both, other=0.0).to(tl.float32) * factor[:, None]
    if ADD:
        result += tl.load(out + start + within, mask=both, other=0.0).to(tl.float32)
    tl.store(out + start + within, result.to(out.dtype.element_ty), mask=both)
