"""Whether Triton kernels run on a card, with and without one here."""

from __future__ import annotations

import warnings

import pytest
import torch
from functorch.compile import make_boxed_func
from torch._dynamo.backends.common import aot_autograd

import decoupled_nets as dn
from decoupled_nets.ops import backend, gpu
from decoupled_nets.ops.decoupled import triton


@pytest.fixture(autouse=True)
def untried():
    gpu._tried.cache_clear(), gpu._warn_once.cache_clear()
    yield
    gpu._tried.cache_clear(), gpu._warn_once.cache_clear()


@pytest.mark.parametrize("reason", ["an old card", "no compiler", "no triton"])
def test_one_warning_where_triton_does_not_work(monkeypatch, reason):
    capability = (7, 5) if reason == "an old card" else (9, 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    if reason == "no triton":
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    def fails(*size, device):
        raise RuntimeError("Failed to find C compiler.\nMore about it.")

    monkeypatch.setattr(torch, "ones", fails)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        first = gpu.missing(0)
        assert gpu.missing(0) == first
    (warning,) = caught
    said = {
        "an old card": "compute capability 7.5, 8.0 needed",
        "no compiler": "RuntimeError: Failed to find C compiler.",
        "no triton": "Triton is not installed",
    }[reason]
    assert said in first
    assert f"({first})" in str(warning.message)
    assert "More about it" not in first


@pytest.mark.parametrize("passing", ["memory", "capture"])
def test_a_reason_that_passes_is_not_remembered(monkeypatch, passing):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: passing == "capture")

    def fails(*size, device):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(torch, "ones", fails)
    said = {"memory": "no memory left", "capture": "a CUDA graph is being captured"}[passing]
    assert said in gpu.reason_against(0)
    monkeypatch.setattr(gpu, "_tried", lambda index: None)
    assert gpu.reason_against(0) is None


@pytest.mark.usefixtures("card")
def test_a_graph_break_within_a_layer_changes_nothing(monkeypatch):
    """What measured the norms for a compiler is answered by what responds for one."""
    from decoupled_nets.nn.operator import DecoupledMixin

    layer = dn.DecoupledConv2d(8, 4, 2, padding="same").eval()
    x = torch.randn(2, 8, 6, 6)
    wanted = layer(x)
    monkeypatch.setattr(DecoupledMixin, "_respond", torch.compiler.disable(DecoupledMixin._respond))
    torch.compiler.reset()
    torch.testing.assert_close(torch.compile(layer, backend="eager")(x), wanted)


@pytest.fixture
def card(monkeypatch):
    """This processor takes the part of a card whose kernels run."""
    monkeypatch.setitem(backend._OF_DEVICE, "cpu", "triton")
    monkeypatch.setattr(gpu, "missing", lambda index: None)


def conv(x, weight, radius, **options):
    return dn.functional.decoupled_conv2d(x, weight, padding=1, radius=radius, **options)


def leaves(dtype=torch.float32):
    torch.manual_seed(0)
    tensors = torch.randn(2, 8, 9, 9), torch.randn(16, 8, 3, 3) / 8, torch.rand(16) * 9 + 5
    return [t.to(dtype).requires_grad_() for t in tensors]


def seen_by_a_compiler(call, *tensors):
    """The names of our operations that a compiler is given, forward and backward, and the gradients."""
    seen = []

    def record(module, inputs):
        seen.extend(str(node.target) for node in module.graph.nodes if node.op == "call_function")
        return make_boxed_func(module.forward)

    torch.compiler.reset()
    compiler = aot_autograd(fw_compiler=record, bw_compiler=record)
    out = torch.compile(call, fullgraph=True, backend=compiler)(*tensors)
    found = [out.detach(), *torch.autograd.grad(out.float().square().sum(), tensors)]
    return [name for name in seen if name.startswith("decoupled_nets.")], found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("options", [{}, {"weighting": "linear"}, {"weighting": "product"}])
@pytest.mark.usefixtures("card")
def test_a_compiler_sees_all_but_the_gradient_of_the_epilogue(dtype, options):
    own = leaves(dtype)
    seen, found = seen_by_a_compiler(lambda *t: conv(*t, **options), *own)
    assert seen == ["decoupled_nets.epilogue_backward.default"]
    with dn.use_backend("composed"):
        out = conv(*own, **options)
    wanted = [out.detach(), *torch.autograd.grad(out.float().square().sum(), own)]
    tolerance = 1e-5 if dtype == torch.float32 else 4e-2
    for got, want in zip(found, wanted, strict=True):
        assert (got.float() - want.float()).abs().max() <= tolerance * want.float().abs().max()


@pytest.mark.parametrize(
    ("magnitude", "angle", "alpha", "beta"),
    [
        ("seg", "cos", 1.0, 0.5),
        ("seg", "sqcos", 1.3, 0.4),
        ("seg", "cos", 1.3, -0.4),
        ("seg", "sqcos", 1.3, 0.0),
        ("mix", "sqcos", 1.3, 0.4),
        ("tanh", "cos", 1.3, None),
        ("ball", "sqcos", -1.3, None),
        ("linear", "cos", 1e6, None),
    ],
)
@pytest.mark.parametrize("weighting", [None, "separate"])
@pytest.mark.usefixtures("card")
def test_constants_that_kernels_bring_in_change_nothing(magnitude, angle, alpha, beta, weighting):
    own = leaves()
    options = {"operator": dn.Operator(magnitude, angle, alpha, beta), "weighting": weighting}
    if magnitude in ("linear", "mix"):
        own = own[:2]
        options["radius"] = 1.0
    seen, found = seen_by_a_compiler(lambda *t: conv_of(*t, **options), *own)
    assert seen == ["decoupled_nets.epilogue_backward.default"]
    with dn.use_backend("composed"):
        out = conv_of(*own, **options)
    wanted = [out.detach(), *torch.autograd.grad(out.square().sum(), own)]
    for got, want in zip(found, wanted, strict=True):
        assert (got - want).abs().max() <= 1e-5 * want.abs().max()


def conv_of(x, weight, radius=1.0, **options):
    options = {"radius": radius, **options}
    return dn.functional.decoupled_conv2d(x, weight, padding=1, **options)


@pytest.mark.parametrize("operator", ["power", "spline-spline", "tanh-power"])
@pytest.mark.usefixtures("card")
def test_a_compiler_sees_learned_halves(operator):
    """Their parameters' gradients come through the one op, too."""
    torch.manual_seed(0)
    layer = dn.DecoupledConv2d(8, 16, 3, operator=operator)
    x, tensors = torch.randn(2, 8, 9, 9), list(layer.parameters())

    def call(x, *parameters):
        names = [name for name, _ in layer.named_parameters()]
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))

    layer(x)  # the mean norm is known before
    layer.eval()
    seen, found = seen_by_a_compiler(call, x.requires_grad_(), *tensors)
    assert seen == ["decoupled_nets.epilogue_backward.default"]
    with dn.use_backend("composed"):
        out = layer(x)
    wanted = [out.detach(), *torch.autograd.grad(out.square().sum(), [x, *tensors])]
    for got, want in zip(found, wanted, strict=True):
        assert want.abs().max() > 0
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5 * want.abs().max().item())


@pytest.mark.parametrize("why", ["asked", "no triton", "exported"])
def test_otherwise_a_compiler_sees_all_of_it(card, monkeypatch, why):
    if why == "no triton":
        monkeypatch.setattr(gpu, "missing", lambda index: "Triton is not installed")
    if why == "exported":
        program = torch.export.export(dn.DecoupledConv2d(8, 16, 3).eval(), (torch.rand(2, 8, 9, 9),))
        seen = [str(node.target) for node in program.graph.nodes if "decoupled_nets." in str(node.target)]
    else:
        with dn.use_backend("composed" if why == "asked" else "auto"):
            seen, _ = seen_by_a_compiler(conv, *leaves())
    assert not seen


def test_every_op_has_code_for_cards():
    names = "patch_norm", "epilogue_", "epilogue_backward", "radial", "radial_backward", "ddf", "ddf_backward"
    for name in names:
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"decoupled_nets::{name}", "CUDA")


@pytest.mark.parametrize(
    ("shape", "weight", "why"),
    [
        ((1, 2**20, 64, 64), (1, 2**20, 1, 1), "more numbers than 32 bits count"),
        ((1, 1, 2**12, 2**12), (2**8, 1, 1, 1), "more numbers than 32 bits count"),
        ((2, 3, 8, 8), (0, 3, 1, 1), "the output is empty"),
        ((2, 3, 8, 8), (4, 3, 1, 1), None),
    ],
)
def test_sizes_that_kernels_do_not_take(shape, weight, why, monkeypatch):
    from decoupled_nets.ops.decoupled.call import Operands, conv_call

    monkeypatch.setattr(gpu, "missing", lambda index: None)
    operands = Operands(torch.empty(shape, device="meta"), torch.empty(weight, device="meta"))
    call, operands = conv_call(operands, 1, 0, 1, 1, "tanh-cos", None, 1e-4)
    found = triton.missing(call, operands)
    assert (why is None and found is None) or why in found
