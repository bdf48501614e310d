"""Which code an operation runs on: by choice, by name, and with a reason that can be asked for."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor

import decoupled_nets as dn
from decoupled_nets import functional
from decoupled_nets.ops import backend

needs_binary = pytest.mark.skipif(not backend.status.loaded, reason="the binary was not built")


def conv(operator="tanh-cos", x=None, **options):
    x = torch.rand(1, 3, 5, 5) if x is None else x
    return functional.decoupled_conv2d(x, torch.rand(4, 3, 3, 3).to(x.dtype), operator=operator, **options)


def ddf(dtype=torch.float32):
    sizes = (1, 2, 5, 5), (1, 2, 3, 3), (1, 9, 5, 5)
    return functional.ddf(*(torch.rand(size).to(dtype) for size in sizes))


@needs_binary
def test_kernels_are_the_first_choice():
    conv()
    assert dn.last_backend() == ("decoupled_conv", "cpu", "its kernels take this call")
    ddf()
    assert dn.last_backend() == ("ddf", "cpu", "its kernels take this call")


def conv_of(x):
    return functional.decoupled_conv2d(x, torch.ones(4, 3, 3, 3))


class Other(Tensor):
    """A tensor of another kind."""


@needs_binary
@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda: conv("tanh-test_cubic"), "angle 'test_cubic' has none"),
        (lambda: conv("test_root-cos"), "magnitude 'test_root' has none"),
        (lambda: conv("log-cos", weighting="product"), "does not follow from h(‖x‖) for magnitude 'log'"),
        (lambda: conv("seg-cos", alpha=torch.rand(4)), "magnitude 'seg' is not proportional to alpha"),
        (lambda: conv("seg-cos", beta=torch.rand(4)), "alpha or beta is a tensor"),
        (lambda: conv(x=torch.rand(0, 3, 5, 5)), "the batch is empty"),
        (lambda: conv(x=torch.rand(1, 3, 5, 5).half()), "of types torch.float16 and torch.float16"),
        (lambda: conv(x=torch.rand(1, 3, 5, 5).as_subclass(Other)), "not all tensors are plain ones on cpu"),
        (
            lambda: torch.func.vmap(conv_of)(torch.rand(2, 1, 3, 5, 5)),
            "a transform of torch.func",
        ),
        (lambda: ddf(torch.float16), "of type torch.float16"),
    ],
)
def test_what_kernels_do_not_take_says_why(call, why):
    call()
    last = dn.last_backend()
    assert last.backend == "composed"
    assert last.reason.startswith("not on kernels: ")
    assert why in last.reason
    with dn.use_backend("cpu"), pytest.raises(ValueError, match="backend 'cpu' was asked for") as error:
        call()
    assert why in str(error.value)


@pytest.mark.parametrize("call", [conv, ddf])
def test_by_name(call):
    with dn.use_backend("composed"):
        call()
        assert dn.last_backend()[1:] == ("composed", "it was asked for")
        if backend.status.loaded:
            with dn.use_backend("auto"):
                call()
            assert dn.last_backend().backend == "cpu"
        call()
        assert dn.last_backend().backend == "composed"
    with dn.use_backend("triton"), pytest.raises(ValueError, match=r"'triton' .*: the tensors are on cpu;"):
        call()


def test_a_device_without_kernels():
    out = functional.decoupled_conv2d(*(torch.rand(s, device="meta") for s in ((1, 3, 5, 5), (4, 3, 3, 3))))
    assert out.is_meta
    assert dn.last_backend().reason == "not on kernels: there are none for meta"


def test_a_name_that_is_none():
    with pytest.raises(
        ValueError, match=r"backend 'cuda' received; needed: 'auto' or one of \('cpu', 'triton'"
    ):
        dn.use_backend("cuda")


def test_the_choice_ends_with_the_context_also_by_an_error():
    with pytest.raises(ZeroDivisionError), dn.use_backend("composed"):
        raise ZeroDivisionError
    conv()
    assert dn.last_backend().reason != "it was asked for"


@needs_binary
def test_as_a_statement_it_holds_until_another():
    own = dn.use_backend("composed")
    try:
        conv()
        assert dn.last_backend().backend == "composed"
        with dn.use_backend("auto"):
            conv()
            assert dn.last_backend().backend == "cpu"
        conv()
        assert dn.last_backend().backend == "composed"
    finally:
        own.__exit__()
    conv()
    assert dn.last_backend().backend == "cpu"


def test_contexts_that_overlap_leave_nothing_behind():
    """As in two threads: what was opened first ends first, and the other goes on until its own end."""
    first, second = dn.use_backend("composed"), dn.use_backend("auto")
    first.__exit__()
    assert backend._State.wanted is None
    third = dn.use_backend("composed")
    second.__exit__()
    assert backend._State.wanted == "composed"
    third.__exit__()
    assert backend._State.wanted == backend._State.by_environment
    assert not backend._State.contexts


@needs_binary
@pytest.mark.parametrize("made", ["compiled", "exported", "traced", "on meta"])
def test_what_compilers_make_is_not_bound_by_a_name(made):
    layer, x = dn.DecoupledConv2d(3, 4, 3).eval(), torch.rand(1, 3, 5, 5)
    with dn.use_backend("cpu"), torch.no_grad():
        if made == "compiled":
            out = torch.compile(layer, backend="eager", fullgraph=True)(x)
        elif made == "exported":
            out = torch.export.export(layer, (x,)).module()(x)
        elif made == "traced":
            out = torch.fx.experimental.proxy_tensor.make_fx(layer)(x)(x)
        else:
            assert layer.to("meta")(x.to("meta")).is_meta
            return
        torch.testing.assert_close(out, layer(x))


@needs_binary
def test_linear_layers_have_kernels_on_the_processor_alone():
    layer = dn.DecoupledLinear(3, 4)
    with dn.use_backend("cpu"):
        assert layer(torch.rand(2, 3)).shape == (2, 4)
    assert dn.last_backend() == ("decoupled_linear", "cpu", "its kernels take this call")
    with dn.use_backend("triton"), pytest.raises(ValueError, match="take this decoupled_linear"):
        layer(torch.rand(2, 3))
    assert layer.to("meta")(torch.rand(2, 3, device="meta")).is_meta


@needs_binary
def test_a_compiled_program_is_not_seen_and_keeps_the_record():
    layer = torch.compile(dn.DecoupledConv2d(3, 4, 3).eval(), backend="eager", fullgraph=True)
    conv()
    with torch.no_grad():
        layer(torch.rand(1, 3, 5, 5))
    assert dn.last_backend().backend == "cpu"


@pytest.mark.parametrize("name", ["composed", "auto", "", "gpu"])
def test_by_the_environment(name):
    script = (
        "import torch, decoupled_nets as dn\n"
        "dn.DecoupledConv2d(3, 4, 3)(torch.rand(1, 3, 5, 5)); print(dn.last_backend().backend)\n"
    )
    env = {**os.environ, "DECOUPLED_NETS_BACKEND": name, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True)
    if name == "gpu":
        assert (
            "environment variable DECOUPLED_NETS_BACKEND = 'gpu' received; needed: 'auto' or one of"
            in done.stderr
        )
    else:
        wanted = "composed" if name == "composed" or not backend.status.loaded else "cpu"
        assert done.stdout.strip() == wanted, done.stderr
