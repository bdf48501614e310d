"""``decoupled_nets.convert`` and ``decoupled_nets.revert``."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from ..nn.dynamic import DDF_VARIANTS
from ..nn.operator import DecoupledMixin
from ..ops.decoupled.operator import Operator
from .answers import is_answering, take_answers
from .classes import plain_class_of, to_plain
from .copies import cloned, is_out_of_memory, to_run, unnoticed
from .dynamic import REPLACES, DynamicFilters
from .outputs import Outputs, find_outputs
from .plan import Replacement, plan, refuse_wrapped
from .report import Conversion
from .select import Select, Selection, selector
from .twins import Decoupled

#: Replacements by name; any other operator makes decoupled twins.
REPLACEMENTS: dict[str, tuple[Callable[..., Replacement], Select]] = {
    variant: (functools.partial(DynamicFilters, variant), Select(kernel_size=3)) for variant in DDF_VARIANTS
}


def convert(
    model: nn.Module,
    operator: Operator | str = "tanh-cos",
    *,
    select: Selection = None,
    linear: bool = False,
    example_input: Any = None,
    dry_run: bool = False,
    **options: Any,
) -> Conversion:
    """Turn the convolutions of any network into decoupled ones, in place.

    Every selected ``nn.Conv1d``, ``2d`` and ``3d`` becomes its decoupled twin. The layer stays the object it
    was and keeps weight, bias, device, type, mode, hooks and parametrisations; shared layers stay shared;
    only the learned radius is new, so convert before you hand parameters to an optimizer. A subclass is
    converted if what it adds does not matter to what it computes, or if one of the twins, tried on random
    numbers, gives what it gives: convolutions with TensorFlow's padding, weight-standardised ones, and those
    of :func:`register_twin`. Others are left and reported, like everything else that is not selected.

    Layers that give the network's outputs stay plain, as a decoupled layer's response is bounded: logits,
    the maps of a dense network, a detector's scores and boxes. They are found by a run of the network on
    tensors without memory or, where its code wants numbers, on a copy; the input is guessed if there is no
    example. A detector takes some seconds. ``Select(outputs=True)`` takes them, too.

    A network that was trained answers as it did only after :func:`calibrate`: magnitudes have another scale,
    and BatchNorms have averaged the old one. Code that uses a layer's weight without calling the layer (as
    networks that merge their branches for inference do) goes on computing with it as it did. Adapters such
    as LoRA add to a kernel what they add to the output, which is the same for a plain layer only: merge them
    before you convert; on a converted layer leave them unmerged (``merge_and_unload`` of peft would not give
    the same network). To fold a BatchNorm into a converted layer take :func:`fuse`: torch's
    ``fuse_conv_bn_eval`` would scale the kernel, and raises.

    Args:
        model: any module.
        operator: an :class:`Operator`, its shorthand, or ``"ddf"`` or a variant of it, such as
            ``"ddf-add"``: 3×3 convolutions give way to :class:`DDF2d`, where channels and padding allow.
            Selected depth-wise ones keep their weights, so that the network answers as before until it is
            trained. Dense kernels lose what no depth-wise and 1×1 convolution can hold: where one is put
            behind the DDF, the two start as the nearest separable kernels; otherwise the weights are
            dropped, as those of all are with ``init="random"`` and in variants that start so.
        select: which layers: a :class:`Select`; a glob or several, which narrow the default, as in
            ``"layer3.*"``; or a function of name and module, which alone decides. By default convolutions
            larger than 1×1, but not on shortcuts, not depth-wise ones and not those that give the outputs.
        linear: ask about ``nn.Linear`` layers, too.
        example_input: an input, or a tuple of inputs, with which to find the outputs and to count flops.
        dry_run: report what would become of the layers, and leave them.
        **options: radius, weighting and eps as :class:`DecoupledConv2d` has them; for ``"ddf"`` the options
            of :class:`DDF2d` and ``mix_channels``: a 1×1 convolution behind the DDF where channels change,
            or with ``"dense"`` behind every DDF in the place of a dense convolution.

    Returns:
        What became what, what was left and why, parameters and flops; it prints as a table.

    Raises:
        ValueError: an option is out of range, a glob, a stage or a kernel size matches nothing, a selected
            layer is lazy, the model is wrapped for distributed training, or it fails on `example_input`. The
            model is left as it was.
        TypeError: `select` or an option is of a kind that is not known.

    Example:
        >>> import torch, torchvision, decoupled_nets as dn
        >>> model = torchvision.models.resnet18().eval()
        >>> print(dn.convert(model, "tanh-cos", select=["layer3", "layer4"]))
        8 layers converted, 12 left
        layers  was         became                     for example
        ------  ----------  -------------------------  ---------------------
        8       Conv2d 3×3  DecoupledConv2d tanh-cos   layer3.0.conv1
        1       Conv2d 7×7  left: not among the names  conv1
        8       Conv2d 3×3  left: not among the names  layer1.0.conv1
        1       Conv2d 1×1  left: not among the names  layer2.0.downsample.0
        2       Conv2d 1×1  left: 1×1                  layer3.0.downsample.0
        parameters: 11,689,512 before, 11,692,584 after (+0.03 %)
        >>> model(torch.rand(1, 3, 64, 64)).shape
        torch.Size([1, 1000])
        >>> dn.revert(model)
        8
        >>> report = dn.convert(model, select=lambda name, module: module.stride == (2, 2), dry_run=True)
        >>> [fate.name for fate in report.converted][:2]
        ['conv1', 'layer2.0.conv1']
    """
    model = getattr(model, "_orig_mod", model)  # of torch.compile: names are those of the network inside
    replacement, default = _replacement(operator, options)
    traced: list[Outputs] = []

    def outputs() -> Outputs:
        """Found when they are first asked for: a run of the network has its price."""
        if not traced:
            traced.append(find_outputs(model, example_input))
        return traced[0]

    chosen_by = selector(model, select, outputs, default=default, linear=linear)
    fates = plan(model, replacement, chosen_by, linear)
    chosen = [module for module, fate in fates if fate.became is not None]
    if isinstance(replacement, DynamicFilters) and model in chosen:
        raise ValueError(
            "a convolution received; needed: a network that contains it, because a DDF cannot take the "
            "network's own place"
        )
    try:
        sizes = [model_size(model, example_input)]
    except Exception as error:  # whatever a network's code does with an input that is not its own
        if is_out_of_memory(error):
            raise
        raise ValueError(
            f"example_input received, on which the network fails ({type(error).__name__}: {error}); needed: "
            "an input that it takes, or a tuple of all its inputs"
        ) from error
    with _converted(model, replacement, chosen, keep=not dry_run):
        sizes.append(model_size(model, example_input))
    parameters, flops = zip(*sizes, strict=True)
    layers = tuple(fate for _, fate in fates)
    notes = tuple(found.note for found in traced if found.note)
    return Conversion(layers, parameters, None if example_input is None else flops, dry_run, notes)


def revert(model: nn.Module) -> int:
    """Make every decoupled layer plain again, in place, with the weight and bias it has now.

    What :func:`convert` changed gives the outputs it gave before, to the bit, if it was not trained or
    calibrated since. Layers built as decoupled ones become plain ones, too. Modules whose upsampling
    :func:`convert_upsampling` changed interpolate again; their upsamplers are dropped.

    Args:
        model: any module.

    Returns:
        The number of layers and modules that were changed.

    Raises:
        ValueError: layers gave way to dynamic filters, which have no kernels to go back to (keep a copy of
            the plain network), or the model is wrapped for distributed training. It is left as it is.

    Example:
        >>> import torch, decoupled_nets as dn
        >>> layer = dn.DecoupledConv2d(3, 8, 3)
        >>> dn.revert(layer), layer
        (1, Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1)))
    """
    refuse_wrapped(model, "revert")
    return revert_layers(model) + revert_upsampling(model)


def revert_layers(model: nn.Module) -> int:
    """Make every decoupled layer plain again, and leave the upsampling; how many they were.

    Raises:
        ValueError: as of :func:`revert`.
    """
    gone = [name for name, module in model.named_modules() if REPLACES in module.__dict__]
    if gone:
        raise ValueError(
            f"{len(gone)} convolutions ({gone[0]} first) were replaced by dynamic filters, which keep no "
            "kernels to restore; needed: a copy of the network from before, copy.deepcopy(model)"
        )
    layers = [module for module in model.modules() if isinstance(module, DecoupledMixin)]
    for layer in layers:
        plain_class_of(layer)  # raises before anything is changed
    for layer in layers:
        to_plain(layer)
    return len(layers)


def revert_upsampling(model: nn.Module) -> int:
    """Let every module interpolate again, and leave the layers; how many were changed."""
    answering = [module for module in model.modules() if is_answering(module)]
    for module in answering:
        take_answers(module)
    return len(answering)


def _replacement(operator: Operator | str, options: dict[str, Any]) -> tuple[Replacement, Select]:
    """What takes the layers' place, and its default selection."""
    make: Callable[..., Replacement]
    if isinstance(operator, str) and operator in REPLACEMENTS:
        make, default = REPLACEMENTS[operator]
    else:
        make, default = functools.partial(Decoupled, operator), Select()
    try:
        inspect.signature(make).bind(**options)
    except TypeError as error:
        raise TypeError(f"convert(operator={str(operator)!r}): {error}") from None
    return make(**options), default


@contextmanager
def _converted(
    model: nn.Module, replacement: Replacement, chosen: list[nn.Module], *, keep: bool
) -> Iterator[None]:
    """Convert layers; undo it afterwards, if they are not to be kept or something failed."""
    done: list[tuple[nn.Module, nn.Module]] = []
    try:
        # A dry run must not advance the random generator.
        with torch.random.fork_rng(enabled=not keep), torch.inference_mode(False):
            for module in chosen:
                done.append((module, replacement.apply(module)))
                _put(model, *done[-1])
        yield
        if keep:
            done.clear()
    finally:
        for old, new in reversed(done):
            to_plain(old) if old is new else _put(model, new, old)


def _put(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Let a module stand in every place of another."""
    if old is new:
        return
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if child is old:
                parent._modules[name] = new


def model_size(model: nn.Module, example_input: Any) -> tuple[int, int]:
    """The number of parameters, and the flops of a forward pass (0 without an example)."""
    parameters = sum(p.numel() for p in model.parameters())
    if example_input is None:
        return parameters, 0
    from torch.utils.flop_counter import FlopCounterMode

    inputs = example_input if isinstance(example_input, tuple) else (example_input,)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    # Somebody else's code may count its calls, change its input, have hooks.
    with (
        to_run(model) as (running, _), unnoticed(device), evaluating(running), torch.no_grad(),
        FlopCounterMode(display=False) as counter,
    ):  # fmt: skip
        running(*tree_map_only(Tensor, cloned, inputs))
    return parameters, counter.get_total_flops()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; every module gets its own mode back."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, mode in modes:
            module.training = mode
