"""What the report of ``convert_upsampling`` says beside what became what."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from pyramids import Calls, Pyramid

import decoupled_nets as dn

CUT = "cuts off or continues rows where it rescaled"
#: mode, whether the size is s times the map's, upsampler, note, and whether the answers stay inside the map.
CASES = [
    ("nearest", False, "ddf", None, True),
    ("nearest-exact", True, "ddf", None, True),
    ("nearest-exact", False, "ddf", "repeats other pixels at such a size", False),
    ("nearest-exact", False, "nearest", "repeats other pixels at such a size", False),
    ("bilinear", True, "ddf", None, True),
    ("bilinear", False, "ddf", CUT, False),
    ("bilinear", False, "bilinear", None, True),
    ("bilinear", False, "dysample", CUT, False),
    ("bilinear", True, "transposed", "starts nearest", False),
    ("bicubic", True, "ddf", "starts bilinear", False),
    ("bicubic", False, "carafe", "starts bilinear", False),
    ("nearest", True, "bilinear", "starts bilinear", False),
]


@pytest.mark.parametrize(("mode", "whole", "name", "note", "same"), CASES)
def test_answers_that_change_are_told(mode, whole, name, note, same):
    """And those that stay, as they do without a note, are not."""
    size = (24, 24) if whole else (23, 25)
    model = Calls(lambda m, x: F.interpolate(x, size, mode=mode)).eval()
    x = torch.rand(1, 3, 12, 12)
    before = model(x)
    (fate,) = dn.convert_upsampling(model, x, name).fates
    assert (fate.became is not None, fate.note) == (True, note)
    change = (model(x) - before)[..., 4:-4, 4:-4].abs().max() / before.std()
    assert change < 0.02 if same else change > 0.05


def test_what_starts_otherwise_is_told():
    model = Pyramid()
    notes = {fate.note for fate in dn.convert_upsampling(model, torch.rand(1, 3, 32, 32), "pac").fates}
    assert notes == {"starts bilinear, weighed by the guidance"}


def test_every_note_is_told():
    model = Calls(lambda m, x: F.interpolate(x, (23, 23), mode="bicubic", align_corners=True)).eval()
    (fate,) = dn.convert_upsampling(model, torch.rand(1, 3, 12, 12)).fates
    assert fate.note == "no longer aligned at the corners, starts bilinear"
