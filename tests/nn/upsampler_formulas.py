"""Every upsampler once more, as its paper writes it: pixel by pixel, on a layer's own parameters."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from test_upsample import part_by_part


def nearest(layer, x, g):
    """Every pixel s × s times."""
    return x.repeat_interleave(layer.scale_factor, 2).repeat_interleave(layer.scale_factor, 3)


def at_points(x, rows, columns):
    """(C, H, W) between its pixels, bilinearly, at points (n,); the border is continued."""
    rows, columns = rows.clamp(0, x.shape[1] - 1), columns.clamp(0, x.shape[2] - 1)
    top, left = rows.detach().floor().long(), columns.detach().floor().long()
    bottom, right = (top + 1).clamp(max=x.shape[1] - 1), (left + 1).clamp(max=x.shape[2] - 1)
    down, along = rows - top, columns - left
    above = (1 - along) * x[:, top, left] + along * x[:, top, right]
    below = (1 - along) * x[:, bottom, left] + along * x[:, bottom, right]
    return (1 - down) * above + down * below


def sampled(layer, x, moved):
    """`moved(b, c)` gives how far each output pixel's point is moved: two maps (sH, sW), in pixels."""
    s, (batch, channels, height, width) = layer.scale_factor, x.shape
    rows = (torch.arange(s * height, dtype=x.dtype) + 0.5) / s - 0.5
    columns = (torch.arange(s * width, dtype=x.dtype) + 0.5) / s - 0.5
    out = []
    for b in range(batch):
        for c in range(channels):
            down, along = moved(b, c)
            points = (rows[:, None] + down).flatten(), (columns[None] + along).flatten()
            out.append(at_points(x[b, c : c + 1], *points))
    return torch.stack(out).view(batch, channels, s * height, s * width)


def bilinear(layer, x, g):
    """Between the centres of pixels."""
    none = x.new_zeros(layer.scale_factor * x.shape[2], layer.scale_factor * x.shape[3])
    return sampled(layer, x, lambda b, c: (none, none))


def dysample(layer, x, g):
    """Liu et al., Eq. 2 to 5: x' = 0.25 · linear(x), shuffled, moves what bilinear interpolation samples."""
    s = layer.scale_factor
    offsets = 0.25 * (
        torch.einsum("oc,bchw->bohw", layer.offset.weight[..., 0, 0], x) + layer.offset.bias[:, None, None]
    )
    offsets = offsets.unflatten(1, (2, layer.groups, s, s))  # columns first
    whole = offsets.permute(0, 1, 2, 5, 3, 6, 4).flatten(5, 6).flatten(3, 4)  # (B, 2, G, sH, sW)
    of = layer.channels // layer.groups
    return sampled(layer, x, lambda b, c: (whole[b, 1, c // of], whole[b, 0, c // of]))


def transposed(layer, x, g):
    """Every input pixel stamps its kernel; s pixels further for the next one."""
    s, (batch, channels, height, width) = layer.scale_factor, x.shape
    out = x.new_zeros(batch, channels, s * height + 3 * s, s * width + 3 * s)
    for i in range(height):
        for j in range(width):
            stamp = torch.einsum("bc,cdhw->bdhw", x[:, :, i, j], layer.conv.weight)
            out = out + F.pad(stamp, (s * j, s * width + s - s * j, s * i, s * height + s - s * i))
    first = (s + 1) // 2
    return out[..., first : first + s * height, first : first + s * width] + layer.conv.bias[:, None, None]


def pixelshuffle(layer, x, g):
    """y[c, s·i + a, s·j + b] = conv(x)[c·s² + a·s + b, i, j]."""
    s, maps = layer.scale_factor, F.conv2d(x, layer.conv.weight, layer.conv.bias, padding=1)
    out = x.new_zeros(len(x), x.shape[1], s * x.shape[2], s * x.shape[3])
    for place in range(s * s):
        out[..., place // s :: s, place % s :: s] = maps[:, place :: s * s]
    return out


def carafe(layer, x, g):
    """Wang et al., Eq. 1 to 4: W_l' = softmax(ψ(X_l)), X'_l' = Σ_n W_l'(n) X_(l+n), l = ⌊l'/s⌋."""
    s, (batch, _, height, width) = layer.scale_factor, x.shape
    small = (
        torch.einsum("oc,bchw->bohw", layer.compressor.weight[..., 0, 0], x)
        + layer.compressor.bias[:, None, None]
    )
    encoded = F.conv2d(small, layer.encoder.weight, layer.encoder.bias, padding=1)
    padded = F.pad(x, (2, 2, 2, 2))
    rows = []
    for i in range(s * height):
        row = []
        for j in range(s * width):
            place = (i % s) * s + j % s
            filters = (
                encoded[:, 25 * place : 25 * (place + 1), i // s, j // s].softmax(1).view(batch, 1, 5, 5)
            )
            row.append((filters * padded[..., i // s : i // s + 5, j // s : j // s + 5]).sum((2, 3)))
        rows.append(torch.stack(row, 2))
    return torch.stack(rows, 2)


def pac(layer, x, g):
    """Su et al., Eq. 3, on the input between zeros: Σ_j exp(−½‖f_i − f_j‖²) W[p_i − p_j] x_j + b."""
    s, (batch, channels, height, width) = layer.scale_factor, x.shape
    fine = x.new_zeros(batch, channels, s * height, s * width)
    fine[..., (s - 1) // 2 :: s, (s - 1) // 2 :: s] = x
    features = g if g.shape[1] == 16 else torch.einsum("oc,bchw->bohw", layer.features.weight[..., 0, 0], g)
    side = 2 * s + 1
    taps = F.unfold(fine, side, padding=s).view(batch, channels, side * side, -1)
    others = F.unfold(features, side, padding=s).view(batch, features.shape[1], side * side, -1)
    alike = (-0.5 * (others - features.flatten(2).unsqueeze(2)).square().sum(1)).exp()
    out = torch.einsum("dct,bctn,btn->bdn", layer.weight.flatten(2), taps, alike)
    return out.view(batch, channels, s * height, s * width) + layer.bias[:, None, None]


def ddf(layer, x, g):
    """One filtering a sub-position, from the guidance at its own place."""
    s = layer.scale_factor
    return part_by_part(layer, x, lambda row, column: g[..., row::s, column::s])


FORMULAS = {
    "nearest": nearest, "bilinear": bilinear, "transposed": transposed, "pixelshuffle": pixelshuffle,
    "carafe": carafe, "dysample": dysample, "pac": pac, "ddf": ddf, "ddf-bilinear": ddf,
}  # fmt: skip
