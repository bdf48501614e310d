"""Our networks under their names in timm's registry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from .ddf_resnet import VARIANTS
from .network import CFG
from .registry import builder_of, list_models

#: timm looks here for what it is to know of a network's input.
default_cfgs: dict[str, dict[str, Any]] = {}


def register_timm() -> list[str]:
    """Register our networks with timm, so that ``timm.create_model`` and timm's scripts know them.

    Calling it again registers what has been added since. The residual networks take timm's own options
    (``features_only``, ``drop_path_rate``, ``output_stride``, ...). timm has no weights for any of them:
    released ones are loaded by :func:`decoupled_nets.load_official`.

    Returns:
        The names of our networks.

    Raises:
        ImportError: timm is not installed.

    Example:
        >>> import decoupled_nets as dn
        >>> "ddf_mul_resnet50" in dn.register_timm()
        True
        >>> import timm
        >>> model = timm.create_model("ddf_mul_resnet50", features_only=True, output_stride=16)
        >>> model.feature_info.reduction()
        [2, 4, 8, 16, 16]
    """
    from timm.models import is_model, model_entrypoint, register_model

    names = list_models()
    for name in names:
        if is_model(name) and model_entrypoint(name).__module__ == __name__:
            continue
        default_cfgs[name] = _cfg(name)
        register_model(_entrypoint(name))
    return names


def _entrypoint(name: str) -> Callable[..., nn.Module]:
    builder = builder_of(name)

    def entrypoint(
        pretrained: bool = False,
        pretrained_cfg: Any = None,
        pretrained_cfg_overlay: Any = None,
        cache_dir: Any = None,
        **options: Any,
    ) -> nn.Module:
        if pretrained:
            raise ValueError(
                f"pretrained = True received; needed: False; timm has no weights for {name}; "
                "released ones are loaded by decoupled_nets.load_official"
            )
        known = {"pretrained_cfg": pretrained_cfg, "pretrained_cfg_overlay": pretrained_cfg_overlay}
        return builder(**options, **{key: value for key, value in known.items() if value})

    entrypoint.__name__ = entrypoint.__qualname__ = name
    entrypoint.__doc__ = builder.__doc__
    return entrypoint


def _cfg(name: str) -> dict[str, Any]:
    if name in VARIANTS:
        return {**VARIANTS[name].default_cfg, "architecture": name}
    size = 224 if name.startswith(("imagenet_", "modified_")) else 32
    return {**CFG, "input_size": (3, size, size), "architecture": name}
