"""Parts of an image, put together."""

import pytest
import torch
import torch.nn.functional as F

from decoupled_nets.ops.tiles import in_tiles


@pytest.mark.parametrize("tile", [3, 5, 16, 100])
def test_a_margin_makes_the_parts_the_whole(tile):
    x, seen = torch.rand(2, 1, 16, 23, dtype=torch.float64), []

    def blurred(rows, columns):
        part = x[..., rows, columns]
        seen.append(part.shape[-2:])
        return F.avg_pool2d(part, 3, 1, 1)

    found = in_tiles(blurred, (16, 23), tile, 1)
    torch.testing.assert_close(found, F.avg_pool2d(x, 3, 1, 1))
    assert len(seen) == -(-16 // tile) * -(-23 // tile)
    assert max(max(size) for size in seen) <= min(tile + 2, 23)
    if tile < 16:  # without it, what lies beyond a part is missing
        assert not torch.allclose(in_tiles(blurred, (16, 23), tile, 0), found)
