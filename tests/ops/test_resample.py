"""Maps made smaller and larger: against loops in float64."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from decoupled_nets.ops.bilateral import REACH, joint_bilateral
from decoupled_nets.ops.resample import degrade, hold, interpolate_at, sample_offset

SCALES = (2, 3, 4, 8)


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(len(shape)))


@pytest.mark.parametrize("scale", SCALES)
def test_a_pixel_is_picked_or_the_mean_is_taken(scale):
    maps = noise(2, 1, 5 * scale, 4 * scale)
    picked, means = (degrade(maps, scale, how) for how in ("pick", "area"))
    for y in range(5):
        for x in range(4):
            block = maps[:, 0, y * scale : (y + 1) * scale, x * scale : (x + 1) * scale]
            o = (scale - 1) // 2
            assert torch.equal(picked[:, 0, y, x], block[:, o, o])
            torch.testing.assert_close(means[:, 0, y, x], block.mean((1, 2)))


def test_bicubic_reduction_is_pillows():
    maps = noise(1, 1, 32, 48).float()
    pillow = Image.fromarray(maps[0, 0].numpy()).resize((12, 8), Image.Resampling.BICUBIC)
    found = degrade(maps, 4, "bicubic")[0, 0]
    torch.testing.assert_close(found, torch.from_numpy(np.array(pillow)), atol=1e-5, rtol=0)


def cubic(d: float) -> float:
    a, d = -0.75, abs(d)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0.0


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("how", ["bilinear", "bicubic"])
def test_interpolation_knows_where_samples_lie(scale, how):
    maps = noise(1, 1, 4, 5)
    offset = sample_offset(scale, "pick")
    weight = cubic if how == "bicubic" else (lambda d: max(0.0, 1 - abs(d)))
    found = interpolate_at(maps, scale, offset, how)
    for y in range(4 * scale):
        for x in range(5 * scale):
            v, u = (y - offset) / scale, (x - offset) / scale
            value = 0.0
            for j in range(math.floor(v) - 2, math.floor(v) + 4):
                for i in range(math.floor(u) - 2, math.floor(u) + 4):
                    sample = float(maps[0, 0, min(max(j, 0), 3), min(max(i, 0), 4)])
                    value += weight(v - j) * weight(u - i) * sample
            assert float(found[0, 0, y, x]) == pytest.approx(value, abs=1e-12)
    # Samples stay what they are.
    picked = degrade(found, scale, "pick")
    torch.testing.assert_close(picked, maps)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("how", ["nearest", "bilinear", "bicubic"])
def test_samples_in_the_middle_are_torchs(scale, how):
    maps = noise(2, 1, 6, 7)
    options = {} if how == "nearest" else {"align_corners": False}
    expected = F.interpolate(maps, scale_factor=scale, mode=how, **options)
    torch.testing.assert_close(interpolate_at(maps, scale, (scale - 1) / 2, how), expected)


@pytest.mark.parametrize(("how", "scale"), [("pick", 2), ("pick", 4), ("area", 3), ("area", 4)])
def test_joint_bilateral_upsampling_is_the_formula(how, scale):
    maps, guidance = noise(1, 1, 4, 5), noise(1, 3, 4 * scale, 5 * scale)
    spatial, range_ = 0.7, 0.3
    offset, low = sample_offset(scale, how), degrade(guidance, scale, how)
    found = joint_bilateral(maps, guidance, scale, how, spatial=spatial, range_=range_)
    for y in range(4 * scale):
        for x in range(5 * scale):
            v, u = (y - offset) / scale, (x - offset) / scale
            total = weights = 0.0
            for j in range(4):
                for i in range(5):
                    if max(abs(j - math.floor(v + 0.5)), abs(i - math.floor(u + 0.5))) > REACH:
                        continue
                    near = math.exp(-((v - j) ** 2 + (u - i) ** 2) / (2 * spatial**2))
                    unlike = float((guidance[0, :, y, x] - low[0, :, j, i]).square().sum())
                    weight = near * math.exp(-unlike / (2 * range_**2))
                    total, weights = total + weight * float(maps[0, 0, j, i]), weights + weight
            assert float(found[0, 0, y, x]) == pytest.approx(total / weights, abs=1e-9)


def test_a_pixel_that_is_like_no_sample_has_a_value():
    guidance = torch.zeros(1, 3, 8, 8)
    guidance[..., 3, 3] = 1.0
    found = joint_bilateral(torch.rand(1, 1, 2, 2), guidance, 4, range_=0.001)
    assert torch.isfinite(found).all()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="a map of 9×8 received; needed: multiples of the scale 4"):
        degrade(torch.rand(1, 1, 9, 8), 4, "pick")
    with pytest.raises(ValueError, match="degradation = 'nothing' received; needed: one of pick, bicubic"):
        degrade(torch.rand(1, 1, 8, 8), 4, "nothing")
    with pytest.raises(ValueError, match="guidance of 8×9 received for a map of 2×2; needed: 8×8, 4 times"):
        joint_bilateral(torch.rand(1, 1, 2, 2), torch.rand(1, 3, 8, 9), 4)
    assert hold(torch.tensor([[1, 2]]), 2).tolist() == [[1, 1, 2, 2]] * 2
