"""``convert_upsampling`` with every upsampler, and with one's own."""

from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F
from pyramids import Calls, Pyramid, X
from torch import nn

import decoupled_nets as dn
from decoupled_nets.nn.upsamplers import unregister_upsampler


class Larger(nn.Module):
    """Gives twice the size, whatever is asked for."""

    def __init__(self, channels, scale, guidance=None):
        super().__init__()

    def forward(self, input, guidance=None, size=None):
        return input.repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_an_upsampler_that_gives_another_size_is_named():
    def sizes(m, x):
        return F.interpolate(x, size=(2 * x.shape[2] - x.shape[2] % 2, 16))

    model, x = Calls(sizes).eval(), torch.rand(1, 3, 8, 8)
    dn.convert_upsampling(model, x, Larger)
    said = "(1, 8, 14, 16) received from the upsampler 'Larger'; needed: (1, 8, 13, 16)"
    with pytest.raises(ValueError, match=f"^the network: {re.escape(said)}"):
        model(x[:, :, 1:])
    up = Calls(lambda m, x: m.up(x), up=nn.ConvTranspose2d(8, 8, 3, 3)).eval()
    dn.register_upsampler("larger", Larger)
    try:
        said = "(1, 8, 16, 16) received from the upsampler 'larger'; needed: (1, 8, 24, 24)"
        with pytest.raises(ValueError, match=f"^up: {re.escape(said)}"):
            dn.convert_upsampling(up, x, "larger", transposed=True)
    finally:
        unregister_upsampler("larger")


@pytest.mark.parametrize("name", dn.list_upsamplers())
def test_every_upsampler(name):
    model = Pyramid()
    report = dn.convert_upsampling(model, X, name)
    assert len(report.converted) == 2
    guided = name in ("ddf", "ddf-bilinear", "pac")
    assert all(("guided" in fate.became) == guided for fate in report.converted)
    sum(y.mean() for y in model(X).values()).backward()
    assert "guided" not in str(dn.convert_upsampling(Pyramid(), X, "ddf", guided=False))


@pytest.mark.parametrize("says", [False, True])
def test_an_upsampler_of_ones_own_is_guided_if_it_says_so(says):
    class Mine(nn.Upsample):
        guided = says

        def __init__(self, channels, scale, guidance):
            super().__init__(scale_factor=scale)

        def forward(self, input, guidance=None, size=None):
            assert (guidance is not None) == says
            return F.interpolate(input, size)

    report = dn.convert_upsampling(Pyramid(), X, Mine)
    assert ["guided" in fate.became for fate in report.converted] == [says, says]
    layers = dn.convert_upsampling(
        Pyramid(), X, lambda channels, scale, p: dn.DDFUpsample(channels, scale, guidance_channels=p)
    )
    assert ["guided" in fate.became for fate in layers.converted] == [True, True]


def test_upsamplers_that_cannot_be_built():
    model = Calls(lambda m, x: m.up(x), up=nn.Upsample(scale_factor=2))
    x = torch.rand(1, 3, 8, 8)
    (fate,) = dn.convert_upsampling(model, x, "pac").fates
    assert fate.reason == "there is no map to guide it"
    with pytest.raises(ValueError, match="unknown upsampler 'dff'"):
        dn.convert_upsampling(model, x, "dff")
    assert type(model.up) is nn.Upsample
    built = []

    class Mine(nn.Upsample):
        def __init__(self, channels, scale, guidance):
            super().__init__(scale_factor=scale)
            built.append((channels, scale, guidance))

        def forward(self, input, guidance=None, size=None):
            return 2 * super().forward(input)

    before = model(x) - model.last.bias.view(-1, 1, 1)
    report = dn.convert_upsampling(model, x, Mine)
    assert report.converted[0].became == "Mine 2×"
    assert set(built) == {(8, 2, None)}
    torch.testing.assert_close(model(x) - model.last.bias.view(-1, 1, 1), 2 * before)
