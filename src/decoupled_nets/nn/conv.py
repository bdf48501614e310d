"""Decoupled convolution and linear layers: drop-in twins of ``torch.nn``'s."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..ops.decoupled.functional import measure_conv, measure_linear
from ..ops.decoupled.operator import Operator, Weighting
from ..ops.geometry import plain_ints
from .operator import DecoupledMixin, Radius

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class _DecoupledConv(DecoupledMixin):
    """What the three convolutions share; stands before an ``nn.ConvNd`` in the order of their bases.

    A subclass that pads in another way, or computes with another kernel than ``weight``, overrides
    :meth:`padded_input` or :meth:`effective_weight`; all the rest follows from these two. If the plain layer
    has attributes of names that a decoupled one needs, ``set_aside`` lists them: they are in ``plain_state``.
    """

    set_aside: ClassVar[tuple[str, ...]] = ()
    plain_state: Mapping[str, Any] = MappingProxyType({})

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        operator: Operator | str = "tanh-cos",
        radius: Radius = "relative",
        weighting: Weighting | None = None,
        eps: float = 1e-4,
    ) -> None:
        sizes = plain_ints((in_channels, out_channels, kernel_size, stride, padding, dilation, groups))
        super().__init__(*sizes, bias, padding_mode, device=device, dtype=dtype)
        self._init_operator(operator, radius, weighting, eps)

    def reset_parameters(self) -> None:
        """Initialise weight and bias as ``torch.nn`` does, and the operator's parameters and buffers."""
        super().reset_parameters()  # type: ignore[misc]
        if "operator" in self.__dict__:  # not yet, when the base class calls this from its constructor
            self._reset_operator()

    def padded_input(self, input: Tensor) -> tuple[Tensor, Any]:
        """The input with what the layer puts around it, and the padding with zeros that is still to be done.

        It may use what describes a convolution (kernel_size, stride, padding, dilation, padding_mode) and
        modules inside the layer: a fused layer has these, too.
        """
        conv: Any = self
        if conv.padding_mode == "zeros":
            return input, conv.padding
        return F.pad(input, conv._reversed_padding_repeated_twice, mode=conv.padding_mode), 0

    def effective_weight(self) -> Tensor:
        """The kernels that the layer computes with."""
        return self.weight

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, *spatial) or (C, *spatial) to (B, O, *S) or (O, *S)."""
        conv: Any = self
        input, padding = self.padded_input(input)
        call, operands = measure_conv(
            self._operands(input, conv.bias),
            conv.stride, padding, conv.dilation, conv.groups,
            operator=self.operator, weighting=self.weighting, eps=self.eps,
        )  # fmt: skip
        return self._respond(call, operands)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        conv: Any = self
        input, padding = self.padded_input(input)
        return _CONV[weight.dim() - 2](input, weight, bias, conv.stride, padding, conv.dilation, conv.groups)

    def extra_repr(self) -> str:
        """The plain layer's arguments, then the operator's."""
        return f"{super().extra_repr()}, {self._operator_repr()}"


class DecoupledConv1d(_DecoupledConv, nn.Conv1d):
    """Decoupled convolution over (B, C, L); see :class:`DecoupledConv2d`."""


class DecoupledConv2d(_DecoupledConv, nn.Conv2d):
    """Decoupled convolution over (B, C, H, W): ``h(‖x‖) · g(θ)`` in place of ``‖w‖ ‖x‖ cos θ``.

    An ``nn.Conv2d`` in everything but its response: same weight, bias, initialisation and arguments, and it
    loads an ``nn.Conv2d``'s state dict (radius and running mean, which that lacks, stay as they are, or start
    anew in a layer made on the meta device).

    Args:
        in_channels: C.
        out_channels: O.
        kernel_size: as in ``nn.Conv2d``, like stride, padding, dilation, groups, padding_mode, device, dtype.
        stride: see ``nn.Conv2d``.
        padding: a number, one a dimension, ``"same"`` or ``"valid"``.
        dilation: see ``nn.Conv2d``.
        groups: each group has its own patch norm.
        bias: add a learned bias after the operator.
        padding_mode: ``"zeros"``, ``"reflect"``, ``"replicate"`` or ``"circular"``.
        device: see ``nn.Conv2d``.
        dtype: see ``nn.Conv2d``.
        operator: an :class:`Operator` or its shorthand ``"<magnitude>-<angle>"``.
        radius: ρ: ``"relative"`` (learned, in units of the mean patch norm), ``"learned"`` (learned,
            absolute), a positive number, or a :class:`RelativeRadius`.
        weighting: how ``‖w‖`` counts: None (not at all), ``"linear"``, ``"product"`` (Eq. 15) or
            ``"separate"`` (Eq. 16).
        eps: added to the squared norms under the root, so that the least norm is ``sqrt(eps)``.

    Raises:
        ValueError: an argument is out of range; the message gives what was received and what is needed.

    Source: W. Liu et al., "Decoupled Networks", CVPR 2018, section 3.

    Example:
        >>> import torch, decoupled_nets as dn
        >>> layer = dn.DecoupledConv2d(3, 16, 3, padding=1, operator="seg-sqcos", radius="learned")
        >>> layer(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 16, 32, 32])
        >>> layer.radius.shape
        torch.Size([16])
    """


class DecoupledConv3d(_DecoupledConv, nn.Conv3d):
    """Decoupled convolution over (B, C, D, H, W); see :class:`DecoupledConv2d`."""


class DecoupledLinear(DecoupledMixin, nn.Linear):
    """Decoupled linear layer: every input vector (..., C) is one patch; see :class:`DecoupledConv2d`.

    Args:
        in_features: C.
        out_features: O.
        bias: add a learned bias after the operator.
        device: see ``nn.Linear``.
        dtype: see ``nn.Linear``.
        operator: as in :class:`DecoupledConv2d`, like the remaining arguments.
        radius: ρ.
        weighting: how ``‖w‖`` counts.
        eps: added to the squared norms under the root.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        operator: Operator | str = "tanh-cos",
        radius: Radius = "relative",
        weighting: Weighting | None = None,
        eps: float = 1e-4,
    ) -> None:
        in_features, out_features = plain_ints((in_features, out_features))
        super().__init__(in_features, out_features, bias, device=device, dtype=dtype)
        self._init_operator(operator, radius, weighting, eps)

    def reset_parameters(self) -> None:
        """Initialise weight and bias as ``torch.nn`` does, and the operator's parameters and buffers."""
        super().reset_parameters()
        if "operator" in self.__dict__:
            self._reset_operator()

    def effective_weight(self) -> Tensor:
        """The kernels that the layer computes with."""
        return self.weight

    def forward(self, input: Tensor) -> Tensor:
        """(..., C) to (..., O)."""
        given = self._operands(input, self.bias)
        call, operands = measure_linear(given, operator=self.operator, weighting=self.weighting, eps=self.eps)
        return self._respond(call, operands)

    def extra_repr(self) -> str:
        """The plain layer's arguments, then the operator's."""
        return f"{super().extra_repr()}, {self._operator_repr()}"
