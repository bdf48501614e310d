"""The network for joint depth upsampling: where it starts, what guides it, operators, what it refuses."""

import re

import pytest
import torch
from joint_cases import inputs

import decoupled_nets as dn
from decoupled_nets.models.joint import JointUpsampler
from decoupled_nets.networks import build_joint
from decoupled_nets.nn.upsamplers import list_upsamplers, register_upsampler, unregister_upsampler
from decoupled_nets.ops.resample import interpolate_at
from decoupled_nets.training import NetworkConfig, TrainConfig

PICKED = {"scale": 4, "offset": 1.0}


@pytest.mark.parametrize("scale", [2, 3, 4, 6, 8])
def test_it_starts_as_interpolation_with_known_sample_positions(scale):
    for offset in (0.0, (scale - 1) / 2):
        network = JointUpsampler(scale, offset, width=0.125)
        x = inputs(scale)
        expected = interpolate_at(x[:, -1:, ::scale, ::scale], scale, offset, "bicubic")
        torch.testing.assert_close(network(x), expected)
    assert JointUpsampler(4).offset == 1.0
    assert len(JointUpsampler(6, width=0.125).steps) == 2


def test_mixed_precision_does_not_round_depth():
    network, x = JointUpsampler(4, width=0.125), inputs(4)
    x[:, 3] += 60_000
    with torch.autocast("cpu", torch.bfloat16):
        found = network(x)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, network(x), atol=0.1, rtol=0)


@pytest.mark.parametrize("name", list_upsamplers())
def test_every_upsampler_gets_image_and_map(name):
    network = JointUpsampler(4, upsample=name, width=0.25)
    for parameter in network.parameters():  # where upsamplers begin, some look at no guidance yet
        torch.nn.init.normal_(parameter, std=0.1)
    x = inputs(4).requires_grad_()
    found = network(x)
    assert found.shape == (2, 1, 20, 24)
    found.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
    assert x.grad[:, :3].abs().sum() > 0  # the image counts
    # Beyond what is added to the interpolation, the unit and the zero of depth change nothing.
    shifted = x.detach().clone()
    shifted[:, 3] = 3 * shifted[:, 3] + 1000
    network.double()
    torch.testing.assert_close(network(shifted.double()), 3 * network(x.detach().double()) + 1000)


@pytest.mark.parametrize("says", [False, True])
def test_an_upsampler_that_says_it_is_guided_gets_the_image(says):
    """Others get it behind them, by a convolution."""
    seen = []

    class Mine(torch.nn.Module):
        guided = says

        def __init__(self, channels, scale_factor, guidance_channels=None):
            super().__init__()
            self.own, self.scale = guidance_channels, scale_factor

        def forward(self, input, guidance=None, size=None):
            seen.append((self.own, None if guidance is None else guidance.shape[1:]))
            return input.repeat_interleave(self.scale, -1).repeat_interleave(self.scale, -2)

    register_upsampler("mine", Mine)
    try:
        network = JointUpsampler(4, upsample="mine", width=0.25)
        network(inputs(4))
    finally:
        unregister_upsampler("mine")
    sizes = [(4, 10, 12), (4, 20, 24)]
    assert seen == [(4, size) if says else (None, None) for size in sizes]
    assert [step.mix is None for step in network.steps] == [says, says]


@pytest.mark.parametrize("name", list_upsamplers())
def test_whether_an_upsampler_is_guided_is_asked_in_one_way(name):
    """By what it does with one: its attribute is no claim."""
    layer = dn.upsampler(name, 8, 2, 4)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    x, guidance = torch.rand(1, 8, 4, 4), torch.rand(1, 4, 8, 8)
    looks = not torch.equal(layer(x, guidance), layer(x, guidance.flip(2)))
    assert (JointUpsampler(2, upsample=name, width=0.25).steps[0].mix is None) == looks


def test_the_papers_counts():
    """Three and three 5×5 convolutions, two more, and two octaves of DDF-Up."""
    network = JointUpsampler(4)
    convolutions = [
        m for m in [*network.target, *network.guide, *network.tail] if isinstance(m, torch.nn.Conv2d)
    ]
    assert [(m.in_channels, m.out_channels) for m in convolutions] == [
        (1, 32), (32, 32), (32, 32), (3, 32), (32, 32), (32, 32), (32, 32), (32, 1),
    ]  # fmt: skip
    assert {m.kernel_size for m in convolutions} == {(5, 5)}
    assert [step.up.guidance_channels for step in network.steps] == [16, 16]
    counts = [
        sum(isinstance(m, torch.nn.LeakyReLU) for m in JointUpsampler(4, relu=relu).modules())
        for relu in (False, True)
    ]
    assert counts == [0, 5]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: JointUpsampler(1), "scale = 1 received; needed: a whole number from 2 on"),
        (lambda: JointUpsampler(4, in_chans=1), "in_chans = 1 received; needed: an image's channels and one"),
        (lambda: JointUpsampler(4, width=0), "width = 0 received; needed: a positive number"),
        (lambda: JointUpsampler(4, upsample="lanczos"), "unknown upsampler 'lanczos'"),
        (lambda: JointUpsampler(4)(torch.rand(1, 4, 9, 8)), "inputs of 4 channels, 9×8 received; needed: 4"),
        (lambda: build_joint(NetworkConfig(model="unet"), "conv", 4, **PICKED), "model 'unet' received"),
        (lambda: TrainConfig.of(task="classify", upsample="pac"), "upsample = pac received for the task cl"),
        (lambda: TrainConfig.of(scale=8), "scale = 8 received for the task classify; needed: 4, which only"),
        (lambda: TrainConfig.of(task="depth", label_smoothing=0.1), "label_smoothing = 0.1 received for"),
        (lambda: TrainConfig.of(task="depth", upsample="nothing"), "unknown upsampler 'nothing'"),
    ],
)  # fmt: skip
def test_what_does_not_fit(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_operators_take_the_place_of_all_convolutions_but_the_last():
    options = {"scale": 4, "offset": 1.0}
    config = NetworkConfig(model="joint", width=0.25, upsample="transposed", radius=2.0)
    network = build_joint(config, "tanh-cos", 4, **options)
    layers = {n: m for n, m in network.named_modules() if isinstance(m, dn.DecoupledConv2d)}
    assert {layer.radius for layer in layers.values()} == {2.0}
    assert {"target.0", "guide.4", "tail.0"} <= set(layers)
    assert "tail.2" not in layers
    some = build_joint(NetworkConfig(model="joint", select="target.*"), "tanh-cos", 4, **options)
    assert {n.split(".")[0] for n, m in some.named_modules() if isinstance(m, dn.DecoupledConv2d)} == {
        "target"
    }


@pytest.mark.parametrize(("scale", "operator"), [(4, "conv"), (3, "tanh-cos")])
def test_it_is_saved_and_loaded(scale, operator, tmp_path):
    config = NetworkConfig(model="joint", width=0.125, upsample="dysample")
    network = build_joint(config, operator, 4, scale=scale, offset=0.5).eval()
    torch.nn.init.normal_(network.tail[-1].weight)
    dn.save_pretrained(network, tmp_path)
    assert torch.equal(dn.from_pretrained(tmp_path)(inputs(scale)), network(inputs(scale)))
