"""What a layer of this package is to torch's own tools: to tracers, the script compiler, and folding."""

from __future__ import annotations

import functools
import sys
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NoReturn

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

_FOLDING = (fuse_conv_bn_eval.__code__, fuse_linear_bn_eval.__code__)


class Layer(nn.Module):
    """A layer that ``torch.fx`` takes as a whole, as it does ``torch.nn``'s own, whichever tracer is at work.

    A tracer asks for the module a class was written in to tell layers from networks, and each library has a
    list of its own beside. So the layer looks itself: called with a stand-in, it notes one call of itself.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "forward" in vars(cls):
            cls.forward = _traced_alone(vars(cls)["forward"])

    def _call_impl(self, *args: Any, **kwargs: Any) -> Any:
        """What a call does, hooks included: noted before any of it runs, and where the tracer knows of it."""
        if (tracer := _tracer(args, kwargs)) is not None:
            return tracer.create_proxy("call_module", tracer.path_of_module(self), args, kwargs)
        kind: Any = type(self)
        if not issubclass(kind, Layer):  # compiled with ``layer.compile()``, and made plain since
            return kind._call_impl(self, *args, **kwargs)
        return super()._call_impl(*args, **kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "weight" and sys._getframe(1).f_code in _FOLDING:
            caller = sys._getframe(1).f_code.co_name
            raise TypeError(
                f"{type(self).__name__} received by torch.nn.utils.{caller}; needed: a plain layer, "
                "because scaled kernels do not scale a decoupled response; use decoupled_nets.fuse(model)"
            )
        super().__setattr__(name, value)

    def __prepare_scriptable__(self) -> NoReturn:
        """Asked by ``torch.jit.script``, which cannot compile what a decoupled layer does."""
        raise TypeError(
            f"{type(self).__name__} received by torch.jit.script, which cannot compile it; "
            "needed: torch.jit.trace(model, example) or torch.export.export(model, (example,))"
        )


def _tracer(args: tuple[Any, ...], kwargs: dict[str, Any]) -> fx.Tracer | None:
    """The tracer whose stand-ins are among the arguments."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, fx.Proxy) and isinstance(value.tracer, fx.Tracer):
            return value.tracer
    return None


def _traced_alone(forward: Callable[..., Any]) -> Callable[..., Any]:
    """A layer's ``forward`` that can be traced although the layer is all there is: as the part of a network.

    Only a network's own ``forward`` sees stand-ins: parts are called, and note that.
    """

    @functools.wraps(forward)
    def forward_or_note(self: Any, *args: Any, **kwargs: Any) -> Any:
        tracer = _tracer(args, kwargs)
        if tracer is None:
            return forward(self, *args, **kwargs)
        if tracer.root is self:
            tracer.root = nn.Sequential(OrderedDict(layer=self))
            tracer.root.training = self.training
            return tracer.create_proxy("call_module", "layer", args, kwargs)
        return self(*args, **kwargs)

    return forward_or_note
