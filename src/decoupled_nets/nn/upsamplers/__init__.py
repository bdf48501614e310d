"""Upsamplers by name, one file a kind: ``upsampler(name, channels, scale_factor, guidance_channels)``."""

from __future__ import annotations

from torch import nn

from ..._discover import modules_of
from ._base import Builder, Upsampler, Upsampling, checked, upsamplers

modules_of(__name__)

__all__ = [
    "Builder",
    "Upsampler",
    "Upsampling",
    "is_guided",
    "list_upsamplers",
    "register_upsampler",
    "unregister_upsampler",
    "upsampler",
    "upsamplers",
]


def upsampler(
    name: str | Builder, channels: int, scale_factor: int = 2, guidance_channels: int | None = None
) -> nn.Module:
    """A module that upsamples: ``module(input, guidance=None, size=None)``.

    Input (B, C, H, W) becomes (B, C, sH, sW), or `size`, within s − 1 of it along each axis. Those that look
    at no guidance take one all the same, so that one can stand in the place of another.

    Args:
        name: ``"nearest"``, ``"bilinear"``, ``"transposed"``, ``"pixelshuffle"``, ``"carafe"``,
            ``"dysample"``, ``"pac"``, ``"ddf"`` (which starts as nearest-neighbour interpolation),
            ``"ddf-bilinear"``, or one that was registered; or a function that builds one.
        channels: C.
        scale_factor: s, a whole number from 2 on.
        guidance_channels: P, of the guidance that the module will be called with; None for no guidance.

    Raises:
        ValueError: an argument is out of range, or ``"pac"`` is to do without guidance.
        TypeError: what was registered builds something else than a module.

    Example:
        >>> import torch, decoupled_nets as dn
        >>> layer = dn.upsampler("ddf", 32, 2, guidance_channels=3)
        >>> layer(torch.rand(1, 32, 10, 12), torch.rand(1, 3, 20, 24)).shape
        torch.Size([1, 32, 20, 24])
        >>> dn.upsampler("dysample", 32)(torch.rand(1, 32, 10, 12), size=(19, 25)).shape
        torch.Size([1, 32, 19, 25])
    """
    build = name if callable(name) else upsamplers[name]
    module = build(*checked(channels, scale_factor, guidance_channels))
    if not isinstance(module, nn.Module):
        raise TypeError(f"upsampler {name!r}: {type(module).__name__} received; needed: a module")
    return module


def is_guided(module: nn.Module) -> bool:
    """Whether an upsampler looks at the guidance that it is called with: its attribute `guided` says so."""
    return bool(getattr(module, "guided", False))


def list_upsamplers() -> list[str]:
    """The names that :func:`upsampler` knows, in alphabetical order.

    Example:
        >>> import decoupled_nets as dn
        >>> dn.list_upsamplers()[:3]
        ['bilinear', 'carafe', 'ddf']
    """
    return sorted(upsamplers)


def register_upsampler(name: str, builder: Builder) -> None:
    """Make an upsampler available under `name` wherever one is named.

    Args:
        name: lower-case identifier, which may have hyphens.
        builder: ``builder(channels, scale_factor, guidance_channels) -> nn.Module``, such as a class; the
            module is called as :func:`upsampler` says. Only one with the attribute ``guided = True`` gets a
            guidance.

    Raises:
        ValueError: the name is taken or malformed.
        TypeError: `builder` is not callable.

    Example:
        >>> import torch, decoupled_nets as dn
        >>> class Repeat(torch.nn.Module):
        ...     def __init__(self, channels, scale_factor, guidance_channels=None):
        ...         super().__init__()
        ...         self.scale = scale_factor
        ...     def forward(self, input, guidance=None, size=None):
        ...         size = size or [self.scale * n for n in input.shape[2:]]
        ...         return torch.nn.functional.interpolate(input, size=size)
        >>> dn.register_upsampler("repeat", Repeat)
        >>> dn.upsampler("repeat", 8, 2)(torch.rand(1, 8, 4, 4)).shape
        torch.Size([1, 8, 8, 8])
        >>> dn.unregister_upsampler("repeat")
    """
    if not callable(builder):
        raise TypeError(
            f"upsampler {name!r}: {type(builder).__name__} received; needed: a function of (channels, "
            "scale_factor, guidance_channels)"
        )
    upsamplers.add(name, builder)


def unregister_upsampler(name: str) -> None:
    """Forget a registered upsampler.

    Raises:
        ValueError: there is none of that name.
    """
    upsamplers.remove(name)
