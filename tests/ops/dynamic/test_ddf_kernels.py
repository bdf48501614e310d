"""The compiled ops of the dynamic filters: threads, memory, instruction sets, what torch knows of them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from ddf_inputs import COMBINES, DTYPES, leaves, make, make_of
from torch.autograd import gradcheck, gradgradcheck
from torch.profiler import profile
from torch.utils.flop_counter import FlopCounterMode

from decoupled_nets.functional import ddf
from decoupled_nets.ops import backend

pytestmark = pytest.mark.skipif(not backend.status.loaded, reason="the binary was not built")
ops = torch.ops.decoupled_nets
CHECKS = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")


# One image is cut into slabs and chunks of channels, whose shares are added up; many images are not.
@pytest.mark.parametrize("shape", [(1, 40, 24, 30), (9, 8, 24, 30)], ids=["one image", "many images"])
@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_number_of_threads_does_not_change_a_bit(dtype, last, shape):
    tensors, _ = make_of(shape, 2, (3, 3), (1, 1), (1, 1), "mul", dtype, last)
    form = ([1, 1], [1, 1], "mul")
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        out = ops.ddf(*tensors, *form)
        results.append((out, *ops.ddf_backward(out, *tensors, *form)))
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=0, atol=0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
def test_one_image_in_parts(near, dtype, last):
    tensors, options = make_of((1, 40, 20, 9), 1, (3, 5), (1, 2), (2, 1), "add", dtype, last)
    own, exact = leaves(tensors), leaves(tensors, torch.float64)
    out = ddf(*own, **options)
    with backend.use_backend("composed"):
        expected = ddf(*exact, **options)
    near(out, expected)
    cotangent = torch.randn_like(out)
    wanted = torch.autograd.grad(expected, exact, cotangent.double())
    for got, want in zip(torch.autograd.grad(out, own, cotangent), wanted, strict=True):
        near(got, want)


@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
def test_nothing_but_the_results_is_allocated(last):
    tensors, _ = make_of((8, 16, 14, 14), 1, (3, 3), (1, 1), (1, 1), "mul", torch.float32, last)
    form = ([1, 1], [1, 1], "mul")
    out = ops.ddf(*tensors, *form)

    def allocated(fn, *arguments):
        with profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as prof:
            results = fn(*arguments, *form)
        del results
        return sum(max(event.self_cpu_memory_usage, 0) for event in prof.events())

    assert allocated(ops.ddf, *tensors) == out.nbytes
    assert allocated(ops.ddf_backward, out, *tensors) == sum(t.nbytes for t in tensors)


# opcheck itself looks at the gradients of copies that are no leaves.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize(("last", "combine"), [(False, "mul"), (True, "add")])
def test_opcheck(last, combine):
    tensors, _ = make_of((2, 4, 5, 3), 2, (1, 3), (2, 1), (1, 2), combine, torch.float32, last)
    own, form = leaves(tensors), ([2, 1], [1, 2], combine)
    torch.library.opcheck(ops.ddf.default, (*own, *form), test_utils=CHECKS)
    grad = torch.randn(2, 4, 3, 3, requires_grad=True)
    torch.library.opcheck(ops.ddf_backward.default, (grad, *own, *form), test_utils=CHECKS[:3])


@pytest.mark.parametrize("path", ["kernels", "composed"])
@pytest.mark.parametrize("combine", COMBINES)
def test_first_and_second_derivatives(combine, path):
    tensors, options = make_of((1, 2, 3, 4), 2, (3, 1), (2, 1), (1, 1), combine, torch.float64, False)
    own = leaves(tensors)

    def fn(*tensors):
        if path == "kernels":
            return ddf(*tensors, **options)
        with backend.use_backend("composed"):
            return ddf(*tensors, **options)

    assert gradcheck(fn, own)
    assert gradgradcheck(fn, own)


@pytest.mark.parametrize("combine", COMBINES)
def test_derivative_of_the_backward_op(combine):
    tensors, _ = make_of((1, 2, 3, 2), 1, (3, 3), (1, 1), (1, 1), combine, torch.float64, False)
    grad = torch.randn(1, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda *t: ops.ddf_backward(*t, [1, 1], [1, 1], combine), (grad, *leaves(tensors)))


@pytest.mark.parametrize("wanted", [0, 1, 2])
def test_what_needs_no_gradient_gets_none(near, wanted):
    tensors, options = make("heads")
    every = leaves(tensors)
    expected = torch.autograd.grad(ddf(*every, **options).square().sum(), every)[wanted]
    own = [t.detach().requires_grad_(i == wanted) for i, t in enumerate(tensors)]
    ddf(*own, **options).square().sum().backward()
    near(own[wanted].grad, expected)
    assert all(t.grad is None for i, t in enumerate(own) if i != wanted)


def test_flops_are_counted():
    tensors, options = make("strided")
    own = leaves(tensors)
    with FlopCounterMode(display=False) as counter:
        out = ddf(*own, **options)
    assert counter.get_total_flops() == 3 * out.numel() * 15
    with FlopCounterMode(display=False) as counter:
        out.sum().backward()
    assert counter.get_total_flops() == 8 * out.numel() * 15


@pytest.mark.parametrize("wrong", ["dtype", "type", "channel", "spatial", "grad", "stride", "combine"])
def test_arguments_that_do_not_fit_are_refused(wrong):
    x, channel, spatial = torch.randn(1, 2, 4, 4), torch.randn(1, 2, 3, 3), torch.randn(1, 9, 4, 4)
    grad, stride, combine = torch.randn(1, 2, 4, 4), [1, 1], "mul"
    if wrong == "dtype":
        x, channel, spatial, grad = (t.half() for t in (x, channel, spatial, grad))
    if wrong == "type":
        channel = channel.double()
    if wrong == "channel":
        channel = torch.randn(1, 2, 2, 3)
    if wrong == "spatial":
        spatial = torch.randn(1, 9, 4, 3)
    if wrong == "grad":
        grad = torch.randn(1, 2, 4, 3)
    if wrong == "stride":
        stride = [1]
    if wrong == "combine":
        combine = "max"
    with pytest.raises(RuntimeError, match=r"needed|unknown"):
        ops.ddf_backward(grad, x, channel, spatial, stride, [1, 1], combine)


def test_older_instruction_sets(tmp_path):
    """One binary: the code for older machines gives the same results on this one."""
    script = tmp_path / "run.py"
    script.write_text(
        "import sys, torch, decoupled_nets as dn\n"
        "torch.manual_seed(0)\n"
        "results = []\n"
        "for last in (torch.contiguous_format, torch.channels_last):\n"
        "    shapes = (2, 21, 9, 11), (2, 21, 3, 3), (2, 9, 5, 11)\n"
        "    own = [torch.randn(s).contiguous(memory_format=last).requires_grad_() for s in shapes]\n"
        "    out = dn.functional.ddf(*own, stride=(2, 1))\n"
        "    results += [out.detach(), *torch.autograd.grad(out.square().sum(), own)]\n"
        "torch.save(results, sys.argv[1])\n"
    )

    def run(name, **extra):
        command = [sys.executable, str(script), str(tmp_path / name)]
        subprocess.run(command, env={**os.environ, **extra}, check=True)
        return torch.load(tmp_path / name, weights_only=True)

    best = run("newest")
    for capability in ("default", "avx2"):
        older = run(capability, ATEN_CPU_CAPABILITY=capability)
        torch.testing.assert_close(older, best, rtol=1e-4, atol=1e-4)
