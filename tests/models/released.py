"""The released networks on their own state dict, written out layer by layer; nothing of ours is used.

The release runs on CUDA only, so its logits are those of this restatement of its arithmetic: filters
standardised with the unbiased deviation plus 1e-10, spatial ones times sqrt(2)/3, channel ones times ``std``;
the product (or sum) applied to unfolded patches; timm's ResNet around it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

WIDTHS = (64, 128, 256, 512)


def released_state(layers=(3, 4, 6, 3), sigma=0.2, classes=1000, in_chans=3) -> dict[str, torch.Tensor]:
    """Random weights under the released names, of a size that keeps activations of size one."""
    state: dict[str, torch.Tensor] = {}

    def conv(name, outputs, inputs, kernel, bias=False):
        state[f"{name}.weight"] = torch.randn(outputs, inputs, kernel, kernel) * (inputs * kernel**2) ** -0.5
        if bias:
            state[f"{name}.bias"] = 0.1 * torch.randn(outputs)

    def norm(name, channels):
        state[f"{name}.weight"] = 0.5 + torch.rand(channels)
        state[f"{name}.bias"] = 0.3 * torch.randn(channels)
        state[f"{name}.running_mean"] = 0.1 * torch.randn(channels)
        state[f"{name}.running_var"] = 0.5 + torch.rand(channels)
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    conv("conv1", 64, in_chans, 7)
    norm("bn1", 64)
    inputs = 64
    for stage, (width, blocks) in enumerate(zip(WIDTHS, layers, strict=True), 1):
        for block in range(blocks):
            at = f"layer{stage}.{block}"
            conv(f"{at}.conv1", width, inputs, 1)
            norm(f"{at}.bn1", width)
            conv(f"{at}.conv2.spatial_branch.0", 9, width, 1, bias=True)
            conv(f"{at}.conv2.channel_branch.1", int(width * sigma), width, 1, bias=True)
            conv(f"{at}.conv2.channel_branch.3", width * 9, int(width * sigma), 1, bias=True)
            state[f"{at}.conv2.channel_branch.4.std"] = torch.randn(width * 9) * 2**0.5 / 3
            norm(f"{at}.bn2", width)
            conv(f"{at}.conv3", 4 * width, width, 1)
            norm(f"{at}.bn3", 4 * width)
            if block == 0:
                conv(f"{at}.downsample.0", 4 * width, inputs, 1)
                norm(f"{at}.downsample.1", 4 * width)
            inputs = 4 * width
    state["fc.weight"] = torch.randn(classes, inputs) * inputs**-0.5
    state["fc.bias"] = torch.randn(classes)
    return state


def released_logits(x, state, layers=(3, 4, 6, 3), combine="mul"):
    """(B, in_chans, H, W) to logits, in the type of `x`; sizes divisible by 32, as the release needs them."""
    state = {name: value.to(x.dtype) for name, value in state.items()}

    def norm(x, name):
        at = lambda part: state[f"{name}.{part}"]  # noqa: E731
        return F.batch_norm(x, at("running_mean"), at("running_var"), at("weight"), at("bias"))

    x = F.conv2d(x, state["conv1.weight"], stride=2, padding=3)
    x = F.max_pool2d(norm(x, "bn1").relu(), 3, 2, 1)
    for stage, blocks in enumerate(layers, 1):
        for block in range(blocks):
            at = f"layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            shortcut = x
            x = norm(F.conv2d(x, state[f"{at}.conv1.weight"]), f"{at}.bn1").relu()
            x = _filtered(x, state, f"{at}.conv2", stride, combine)
            x = norm(x, f"{at}.bn2").relu()
            x = norm(F.conv2d(x, state[f"{at}.conv3.weight"]), f"{at}.bn3")
            if block == 0:
                shortcut = F.conv2d(shortcut, state[f"{at}.downsample.0.weight"], stride=stride)
                shortcut = norm(shortcut, f"{at}.downsample.1")
            x = (x + shortcut).relu()
    return F.linear(x.mean((2, 3)), state["fc.weight"], state["fc.bias"])


def _filtered(x, state, name, stride, combine):
    b, c, h, w = x.shape
    weights = {part: state[f"{name}.{part}.weight"] for part in _PARTS}
    biases = {part: state[f"{name}.{part}.bias"] for part in _PARTS}
    spatial = F.conv2d(x, weights["spatial_branch.0"], biases["spatial_branch.0"], stride=stride)
    spatial = spatial - spatial.mean(1, keepdim=True)
    spatial = spatial / (spatial.std(1, keepdim=True) + 1e-10) * (2**0.5 / 3)
    squeezed = x.mean((2, 3)) @ weights["channel_branch.1"].flatten(1).T + biases["channel_branch.1"]
    channel = squeezed.relu() @ weights["channel_branch.3"].flatten(1).T + biases["channel_branch.3"]
    channel = channel.view(b, c, 9)
    channel = channel - channel.mean(2, keepdim=True)
    channel = channel / (channel.std(2, keepdim=True) + 1e-10)
    channel = channel * state[f"{name}.channel_branch.4.std"].view(1, c, 9)
    patches = F.unfold(x, 3, padding=1, stride=stride).view(b, c, 9, -1)
    of_channel, of_pixel = channel.unsqueeze(-1), spatial.flatten(2).unsqueeze(1)
    filters = of_channel * of_pixel if combine == "mul" else of_channel + of_pixel
    return (filters * patches).sum(2).view(b, c, h // stride, w // stride)


_PARTS = ("spatial_branch.0", "channel_branch.1", "channel_branch.3")
