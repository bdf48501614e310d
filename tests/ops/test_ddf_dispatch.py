"""The dynamic filters' ops without the binary and on GPUs: schemas, what compilers see, and the way round."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from ddf_inputs import make
from torch._subclasses import FakeTensorMode

import decoupled_nets as dn
from decoupled_nets.ops import _library, ddf_dispatch

ops = torch.ops.decoupled_nets
FORM = [1, 1], [1, 1], "mul"


def test_ops_without_the_binary(tmp_path):
    """In a process of its own, whose package folder lacks it; other devices' code gives the same."""
    copy = tmp_path / "decoupled_nets"
    copy.mkdir()
    for part in Path(dn.__file__).parent.iterdir():
        if part.suffix != ".so":
            (copy / part.name).symlink_to(part)
    script = tmp_path / "run.py"
    script.write_text(
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "sys.meta_path = [f for f in sys.meta_path if 'editable' not in type(f).__module__]\n"
        "import torch, decoupled_nets\n"
        "from decoupled_nets.ops import _library\n"
        "assert not _library.status.loaded\n"
        "torch.manual_seed(0)\n"
        "own = [torch.randn(s, requires_grad=True) for s in ((2, 4, 5, 6), (2, 4, 3, 3), (2, 9, 5, 6))]\n"
        "out = torch.ops.decoupled_nets.ddf(*own, [1, 1], [1, 1], 'mul')\n"
        "torch.save([out.detach(), *torch.autograd.grad(out.square().sum(), own)], sys.argv[2])\n"
    )
    out = tmp_path / "out.pt"
    subprocess.run([sys.executable, str(script), str(tmp_path), str(out)], check=True)
    torch.manual_seed(0)
    own = [torch.randn(s, requires_grad=True) for s in ((2, 4, 5, 6), (2, 4, 3, 3), (2, 9, 5, 6))]
    expected = dn.functional.ddf(*own)
    wanted = [expected.detach(), *torch.autograd.grad(expected.square().sum(), own)]
    torch.testing.assert_close(torch.load(out, weights_only=True), wanted)


def test_both_ops_have_code_for_gpus():
    for name in ("ddf", "ddf_backward"):
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"decoupled_nets::{name}", "CUDA")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("enabled", [True, False])
def test_compiled_programs_keep_the_op_on_gpus(dtype, enabled):
    seen = []

    def record(module, inputs):
        seen.extend(str(node.target) for node in module.graph.nodes if node.op == "call_function")
        return module.forward

    torch.compiler.reset()
    with FakeTensorMode():
        shapes = (2, 16, 9, 11), (2, 16, 3, 3), (2, 9, 9, 11)
        tensors = [torch.empty(shape, device="cuda", dtype=dtype) for shape in shapes]
        compiled = torch.compile(lambda *t: dn.functional.ddf(*t), fullgraph=True, backend=record)
        if enabled:
            out = compiled(*tensors)
        else:
            with _library.without_kernels():
                out = compiled(*tensors)
    assert ("decoupled_nets.ddf" in seen) == enabled
    assert out.shape == (2, 16, 9, 11)
    assert out.device.type == "cuda"


@pytest.fixture
def untried():
    ddf_dispatch._working.cache_clear()
    yield torch.device("cuda", 0)
    ddf_dispatch._working.cache_clear()


@pytest.mark.parametrize("reason", ["an old card", "no compiler"])
def test_one_warning_where_triton_does_not_work(untried, monkeypatch, reason):
    capability = (7, 5) if reason == "an old card" else (9, 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)

    def fails(*size, device):
        raise RuntimeError("Failed to find C compiler.\nMore about it.")

    monkeypatch.setattr(torch, "ones", fails)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert ddf_dispatch._working(untried) is None
        assert ddf_dispatch._working(untried) is None
    (warning,) = caught
    said = "compute capability 7.5, 8.0 needed" if reason == "an old card" else "Failed to find C compiler."
    assert said in str(warning.message)
    assert "More about it" not in str(warning.message)


@pytest.fixture
def on_gpu():
    """The ops' code for GPUs, on the CPU."""
    from decoupled_nets.ops import _ddf_registration as registered

    return registered._on_gpu, registered._on_gpu_backward


def test_the_way_round_gives_the_same(near, on_gpu, monkeypatch):
    monkeypatch.setattr(ddf_dispatch, "kernels", lambda input: None)
    tensors, _ = make("heads", last=True)
    out = on_gpu[0](*tensors, *FORM)
    near(out, ops.ddf(*tensors, *FORM))
    for own, expected in zip(
        on_gpu[1](out, *tensors, *FORM), ops.ddf_backward(out, *tensors, *FORM), strict=True
    ):
        near(own, expected)
        assert own.stride() == expected.stride()


def test_types_without_kernels_go_round():
    assert ddf_dispatch.kernels(torch.empty(1, dtype=torch.float8_e4m3fn)) is None


@pytest.mark.parametrize("wrong", ["spatial", "type", "stride", "combine", "grad", "grad type"])
def test_what_does_not_fit_is_never_read(on_gpu, wrong):
    """A kernel would read beyond the memory."""
    x, channel, spatial = torch.randn(1, 2, 4, 4), torch.randn(1, 2, 3, 3), torch.randn(1, 9, 4, 4)
    grad, form = torch.randn(1, 2, 4, 4), list(FORM)
    if wrong == "spatial":
        spatial = spatial[:, :, :3]
    if wrong == "type":
        channel = channel.double()
    if wrong == "stride":
        form[0] = [1, 1, 1]
    if wrong == "combine":
        form[2] = "max"
    if wrong == "grad":
        grad = grad[..., :3]
    if wrong == "grad type":
        grad = grad.double()
    with pytest.raises((ValueError, TypeError), match="needed"):
        on_gpu[1](grad, x, channel, spatial, *form)
