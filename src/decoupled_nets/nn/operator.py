"""What every decoupled layer holds beside its weight: an operator, a weighting and a radius."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..ops.decoupled.call import ConvCall, Operands
from ..ops.decoupled.functional import respond
from ..ops.decoupled.learned import falls_into
from ..ops.decoupled.operator import WEIGHTINGS, Operator, Value, Weighting, resolve_operator
from ..ops.norms import accumulation_dtype
from ..ops.tensors import check_devices
from .layer import Layer
from .sync import Sync, is_sync, recomputing, shared_mean

RADIUS_FLOOR = 1e-4
KAPPA_START = 0.7
KAPPA_FLOOR = 0.05


@dataclass(frozen=True)
class RelativeRadius:
    """A learned radius in units of the layer's mean patch norm; ``radius="relative"`` is this with defaults.

    In training the mean is the batch's, and its gradient flows. In evaluation it is an exponential moving
    average, the buffer ``mean_norm``. A batch whose mean is no finite number does not enter the average: its
    outputs show it, and the average outlives a step that is left out. A forward pass that gradient
    checkpointing repeats does not enter either.

    Args:
        decay: decay of the moving average.
        zero_start: start the average at 0, with `decay` from the first step on and no correction, as the
            released code does: evaluation is off for the first few thousand steps. By default it starts at
            the norm of a patch of unit variance, and the decay of step t is ``min(decay, (1 + t)/(10 + t))``.
        sync: the processes over whose batches the mean is taken. ``"auto"``: those of the
            ``DistributedDataParallel`` whose forward pass is running, otherwise this one alone (with one
            warning if there are others: FSDP is not seen). True: all of the default group. False: this one
            alone. Or a process group. Every process of a group has to run the forward pass.

    Raises:
        ValueError: `decay` is outside [0, 1), or `sync` is none of these.
    """

    decay: float = 0.999
    zero_start: bool = False
    sync: Sync = "auto"

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay = {self.decay} received; needed: a number in [0, 1)")
        object.__setattr__(self, "decay", float(self.decay))  # of NumPy's, perhaps, like the next
        object.__setattr__(self, "zero_start", bool(self.zero_start))
        if not is_sync(self.sync):
            raise ValueError(f"sync = {self.sync!r} received; needed: 'auto', True, False or a process group")

    def __deepcopy__(self, memo: Any) -> RelativeRadius:
        return self  # it never changes, and a process group cannot be copied


#: The parameters of learned halves.
LEARNED = ("h_parameters", "g_parameters")
Radius = float | Literal["relative", "learned"] | RelativeRadius


class DecoupledMixin(Layer):
    """Parameters and state of a decoupled layer; the concrete layers add the convolution.

    Attributes:
        operator: the :class:`Operator`.
        weighting: None, ``"linear"``, ``"product"`` or ``"separate"``.
        radius: parameter of shape (out_channels,), a number, or None for a magnitude without a radius and
            for a learned one, which is a function of the norm in units of a number or of the mean norm.
        kappa: parameter of shape (out_channels,), or None when the angle's sharpness is not learned.
        h_parameters: parameter of shape (N, P) for a learned magnitude, a row for each group of channels.
        g_parameters: likewise for a learned angle.
        mean_norm: buffer, the moving average of patch norms, only with a relative radius.
        scale: buffer of shape (out_channels,) that multiplies the response before the bias, or None;
            :func:`decoupled_nets.calibrate` makes it.
    """

    weight: Tensor
    radius: nn.Parameter | float | None
    kappa: nn.Parameter | None
    h_parameters: nn.Parameter | None
    g_parameters: nn.Parameter | None
    mean_norm: Tensor
    num_updates: Tensor
    scale: Tensor | None

    def _init_operator(
        self, operator: Operator | str, radius: Radius, weighting: Weighting | None, eps: float
    ) -> None:
        """Create parameters and buffers on the device and with the type of ``self.weight``."""
        if weighting is not None and weighting not in WEIGHTINGS:
            raise ValueError(f"weighting = {weighting!r} received; needed: None or one of {WEIGHTINGS}")
        if not eps > 0:
            raise ValueError(
                f"eps = {eps} received; needed: a positive number, which keeps norms away from zero"
            )
        self.operator = resolve_operator(operator)
        self.weighting = weighting
        self.eps = float(eps)
        self.relative = RelativeRadius() if radius == "relative" else None
        if isinstance(radius, RelativeRadius):
            self.relative = radius
        per_channel = self.weight.new_empty(self.weight.shape[0])
        number = self._check_radius(radius)
        if not self.operator.uses_radius:
            self.relative = None
            self.register_parameter("radius", None)
            if radius != "relative":
                text = f"radius = {radius!r} is ignored: the magnitude {self.operator.magnitude!r} has none"
                warnings.warn(text, stacklevel=3)
        elif self.operator.learned[0] is not None:
            if radius == "learned":
                self.relative = RelativeRadius()
                text = f"{self.operator.magnitude!r} learns its own function of the norm in units of the mean"
                warnings.warn(f"radius = 'learned' is ignored: {text}", stacklevel=3)
            self.radius = number
        else:
            self.radius = nn.Parameter(per_channel) if number is None else number
        if self.relative is not None:
            # At least float32: a bf16 number cannot hold an average that moves by a thousandth.
            empty = self.weight.new_empty((), dtype=accumulation_dtype(self.weight.dtype))
            self.register_buffer("mean_norm", empty)
            self.register_buffer("num_updates", torch.zeros((), dtype=torch.long, device=empty.device))
        kappa = nn.Parameter(per_channel.clone()) if self.operator.learns_k else None
        self.register_parameter("kappa", kappa)
        self._make_learned()
        self.register_buffer("scale", None)
        self._reset_operator()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for name in LEARNED:  # of a layer that was pickled before there were any
            self._parameters.setdefault(name, None)

    def _make_learned(self) -> None:
        """The parameters of learned halves, still to be filled."""
        rows, channels, groups = self.operator.channel_groups, len(self.weight), getattr(self, "groups", 1)
        halves = self.operator.learned
        if halves != (None, None) and not falls_into(rows, channels, groups):
            raise ValueError(
                f"channel_groups = {rows} received; needed: a divisor of the {channels} output channels that "
                f"divides the {groups} groups of the convolution or is divided by them"
            )
        for name, half in zip(LEARNED, halves, strict=True):
            made = None if half is None else nn.Parameter(self.weight.new_empty(rows, half.count))
            self.register_parameter(name, made)

    def _check_radius(self, radius: Any) -> float | None:
        if radius == "learned" or self.relative is not None:
            return None
        if isinstance(radius, Real) and radius is not True and 0 < float(radius) < math.inf:
            return float(radius)
        raise ValueError(
            f"radius = {radius!r} received; needed: a positive number, 'learned', 'relative' "
            "or a RelativeRadius"
        )

    @torch.no_grad()
    def _reset_operator(self) -> None:
        if isinstance(self.radius, nn.Parameter):
            self.radius.fill_(1.0)
        if self.relative is not None:
            self.mean_norm.fill_(0.0 if self.relative.zero_start else math.sqrt(self.weight[0].numel()))
            self.num_updates.zero_()
        if self.kappa is not None:
            self.kappa.fill_(KAPPA_START)
        if self.scale is not None:
            self.scale.fill_(1.0)
        for name, start in zip(LEARNED, self.operator.start_parameters(), strict=True):
            if start is not None:
                getattr(self, name).copy_(start)

    def _apply(self, fn: Any, recurse: bool = True) -> DecoupledMixin:
        unwritten = _is_meta(self)
        kept = {name: self._buffers.get(name) for name in ("mean_norm", "scale")}
        super()._apply(fn, recurse)
        for name, buffer in kept.items():
            if buffer is None:
                continue
            now = getattr(self, name)
            wide = accumulation_dtype(now.dtype)
            if now.dtype != wide:  # layer.bfloat16() narrows every buffer; these stay as they were
                setattr(self, name, buffer.to(device=now.device, dtype=wide))
        if unwritten and not _is_meta(self):
            # to_empty() leaves what the memory held, and a plain layer's state dict writes to none of it.
            self._reset_operator()
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        if self.scale is None and prefix + "scale" in state_dict:  # of a calibrated layer
            wide = accumulation_dtype(self.weight.dtype)
            self.scale = self.weight.new_ones(self.weight.shape[0], dtype=wide)
        # A plain layer's state dict knows nothing of operators: what it lacks stays as it is. What is on the
        # meta device still, when the weight no longer is (assign=True), starts as in a new layer.
        names = ("radius", "mean_norm", "num_updates", "kappa", "scale", *LEARNED)
        own = [n for n in names if getattr(self, n, None) is not None]
        own = [prefix + name for name in own if not isinstance(getattr(self, name), float)]
        missing_keys = args[2]
        known = len(missing_keys)
        super()._load_from_state_dict(state_dict, prefix, *args)
        if not any(name in state_dict for name in own):
            missing_keys[known:] = [key for key in missing_keys[known:] if key not in own]
            self._leave_meta([name[len(prefix) :] for name in own])

    def _leave_meta(self, names: list[str]) -> None:
        """Make these parameters and buffers anew beside the weight if they are on the meta device."""
        device = self.weight.device
        if device.type == "meta" or not any(getattr(self, name).is_meta for name in names):
            return
        for name in names:
            before = getattr(self, name)
            made = torch.empty_like(before, device=device)
            setattr(
                self, name, nn.Parameter(made, before.requires_grad) if name in self._parameters else made
            )
        self._reset_operator()

    def effective_radius(self, norm: Tensor) -> Value:
        """ρ for patches of the given norms: a number, or a tensor of shape (out_channels,) or ().

        In training mode a relative radius also moves its average.

        Raises:
            ValueError: radius or average are on another device than the norms.
        """
        if not isinstance(self.radius, Tensor):
            if self.relative is not None:
                return self._mean_norm(norm, self.relative)
            return 1.0 if self.radius is None else self.radius
        check_devices(input=norm, radius=self.radius)
        radius = self.radius.to(norm.dtype).square() + RADIUS_FLOOR
        return radius if self.relative is None else radius * self._mean_norm(norm, self.relative)

    def _mean_norm(self, norm: Tensor, relative: RelativeRadius) -> Tensor:
        if self.mean_norm.device != norm.device:
            raise ValueError(f"mean_norm on device {self.mean_norm.device} received; needed: {norm.device}")
        mean = shared_mean(self, norm, relative.sync) if self.training else None
        if mean is None:
            # With a zero start there is nothing to divide by until the first batch was seen.
            return self.mean_norm.to(norm.dtype).clamp(min=RADIUS_FLOOR)
        if recomputing():
            return mean
        if torch.compiler.is_compiling():
            self._move_average(mean, relative)
            return mean
        try:
            self._move_average(mean, relative)
        except RuntimeError as error:
            if not torch._C._are_functorch_transforms_active():
                raise
            raise RuntimeError(
                f"{type(self).__name__}({self.extra_repr()}) in training mode moves the average of its "
                "relative radius, which torch.func's transforms do not allow; needed: evaluation mode, "
                "radius='learned' or a number"
            ) from error
        return mean

    @torch.no_grad()
    def _move_average(self, mean: Tensor, relative: RelativeRadius) -> None:
        weight: Any = 1 - relative.decay
        if not relative.zero_start:
            step = self.num_updates.to(self.mean_norm.dtype)
            weight = (9 / (10 + step)).clamp(min=weight)
        fresh = mean.detach().to(self.mean_norm.dtype)
        counts = fresh < math.inf  # a mean of norms is positive where it is a number
        self.mean_norm.lerp_(torch.where(counts, fresh, self.mean_norm), weight)
        self.num_updates.add_(counts)

    def effective_k(self) -> Tensor | None:
        """The learned sharpness (out_channels,), or None where the operator's own counts."""
        return None if self.kappa is None else self.kappa.abs() + KAPPA_FLOOR

    def h(self, norm: Tensor, radius: Value | None = None) -> Tensor:
        """The magnitude function of every channel at norms (..., 1): (..., 1) or (..., out_channels).

        A radius as :meth:`effective_radius` gives it takes the place of the layer's own.
        """
        radius = self.effective_radius(norm) if radius is None else radius
        parameters: Tensor | None = self.h_parameters
        if parameters is not None and len(parameters) > 1:
            parameters = parameters.repeat_interleave(len(self.weight) // len(parameters), 0)
        return self.operator.h(norm, radius, parameters=parameters)

    def _operands(self, input: Tensor, bias: Tensor | None) -> Operands:
        """What the layer computes with."""
        layer: Any = self
        weight = layer.effective_weight()
        return Operands(
            input, weight, bias=bias, k=self.effective_k(), scale=self.scale,
            h_parameters=self.h_parameters, g_parameters=self.g_parameters,
        )  # fmt: skip

    def _respond(self, call: ConvCall, operands: Operands) -> Tensor:
        """The response of a call whose norms have been measured, by the radius that follows from them."""
        assert operands.norm is not None
        return respond(call, operands._replace(radius=self.effective_radius(operands.norm)))

    def options(self) -> dict[str, Any]:
        """The constructor's arguments beyond the plain layer's, as they are now."""
        radius = self.relative or ("learned" if isinstance(self.radius, nn.Parameter) else self.radius)
        known = {} if radius is None else {"radius": radius}
        return {"operator": self.operator, **known, "weighting": self.weighting, "eps": self.eps}

    def _operator_repr(self) -> str:
        options = self.options()
        short = str(self.operator)
        operator = repr(short) if resolve_operator(short) == self.operator else repr(self.operator)
        parts = [f"operator={operator}"]
        usual = {"weighting": None, "eps": 1e-4}
        for name in ("radius", "weighting", "eps"):
            if name in options and options[name] != usual.get(name, ...):
                parts.append(f"{name}={options[name]!r}")
        return ", ".join(parts)


def _is_meta(layer: nn.Module) -> bool:
    """Whether the layer's weight has no memory; one that is made for every use is not made for that."""
    return any(p.is_meta for name, p in layer.named_parameters() if name.startswith(("weight", "parametriz")))
