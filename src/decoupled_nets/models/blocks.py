"""What the networks are built of: convolution, BatchNorm and activation, configured in one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor, nn

from ..nn.same_pad import SamePad2d
from .layers import Convolution

Padding = Literal["symmetric", "same_tf"]
Activation = Literal["relu", "prelu"]


@dataclass(frozen=True)
class Blocks:
    """How the convolutions of a network are made, and what stands behind each of them.

    Args:
        convolution: plain or decoupled.
        width: multiplies the channel counts.
        batch_norm: BatchNorm after each convolution, which then has no bias.
        relu: an activation after the convolutions.
        padding: ``"symmetric"``, as PyTorch's networks have it, or ``"same_tf"``, TensorFlow's SAME: the two
            differ where a stride of 2 meets an even size.
        activation: ``"relu"``, or ``"prelu"`` with a slope a channel that starts at 0.
        bn_eps: epsilon of BatchNorm.

    Raises:
        ValueError: the padding or the activation is unknown.
    """

    convolution: Convolution
    width: float = 1.0
    batch_norm: bool = True
    relu: bool = True
    padding: Padding = "symmetric"
    activation: Activation = "relu"
    bn_eps: float = 1e-5

    def __post_init__(self) -> None:
        if self.padding not in get_args(Padding):
            raise ValueError(f"padding = {self.padding!r} received; needed: one of {get_args(Padding)}")
        if self.activation not in get_args(Activation):
            raise ValueError(
                f"activation = {self.activation!r} received; needed: one of {get_args(Activation)}"
            )

    def channels(self, count: int) -> int:
        """`count` times the width.

        Raises:
            ValueError: nothing would be left.
        """
        channels = round(count * self.width)
        if channels < 1:
            raise ValueError(
                f"width = {self.width} received; needed: a width that leaves at least one of {count} channels"
            )
        return channels

    def conv(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        *,
        active: bool = True,
        scaled: bool = False,
    ) -> nn.Sequential:
        """Convolution, BatchNorm, activation; (B, inputs, H, W) to (B, outputs, H/stride, W/stride).

        Args:
            inputs: channels, like `outputs` after the width was applied.
            outputs: likewise.
            kernel: odd.
            stride: 1 or more.
            active: whether an activation belongs here.
            scaled: scale a decoupled operator to responses of unit variance also without a BatchNorm: for
                what goes to a linear classifier, or is added to a shortcut (docs/decisions/0004).
        """
        layers = nn.Sequential()
        padding = kernel // 2
        if self.padding == "same_tf" and stride > 1:
            layers.append(SamePad2d(kernel, stride))
            padding = 0
        convolution = self.convolution
        if self.batch_norm or scaled:
            convolution = convolution.unit_variance(kernel * kernel * inputs)
        layers.append(convolution(inputs, outputs, kernel, stride, padding, bias=not self.batch_norm))
        if self.batch_norm:
            layers.append(nn.BatchNorm2d(outputs, eps=self.bn_eps))
        if active:
            layers.extend(self.activations(outputs))
        return layers

    def activations(self, channels: int) -> list[nn.Module]:
        """The activation, or nothing."""
        if not self.relu:
            return []
        if self.activation == "prelu":
            return [nn.PReLU(channels, init=0.0)]
        # Behind a decoupled convolution an operation in place would cost the backward pass a convolution.
        return [nn.ReLU(inplace=self.batch_norm)]

    def max_pool(self) -> nn.Module:
        """3×3 maxima at a stride of 2."""
        if self.padding == "same_tf":
            return nn.Sequential(SamePad2d(3, 2, value=float("-inf")), nn.MaxPool2d(3, 2))
        return nn.MaxPool2d(3, 2, padding=1)

    def shortcut(self, inputs: int, outputs: int, stride: int) -> nn.Module:
        """Nothing, or where the shape changes a plain 1×1 convolution with its BatchNorm."""
        if stride == 1 and inputs == outputs:
            return nn.Identity()
        layers = nn.Sequential(Convolution()(inputs, outputs, 1, stride, bias=not self.batch_norm))
        if self.batch_norm:
            layers.append(nn.BatchNorm2d(outputs, eps=self.bn_eps))
        return layers


class Unit(nn.Module):
    """Two 3×3 convolutions and a shortcut.

    Args:
        blocks: what they are.
        inputs: channels.
        outputs: channels.
        stride: of the first convolution, and of the shortcut.
        final_activation: whether the sum goes through the activation.
    """

    def __init__(
        self, blocks: Blocks, inputs: int, outputs: int, stride: int = 1, final_activation: bool = True
    ) -> None:
        super().__init__()
        self.first = blocks.conv(inputs, outputs, 3, stride)
        self.second = blocks.conv(outputs, outputs, 3, active=False, scaled=True)
        self.shortcut = blocks.shortcut(inputs, outputs, stride)
        self.activation = nn.Sequential(*(blocks.activations(outputs) if final_activation else []))
        self.drop_path = nn.Identity()  # of timm's name: where training may leave the branch out

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H/stride, W/stride)."""
        return self.activation(self.drop_path(self.second(self.first(x))) + self.shortcut(x))
