"""The dynamic filters under hypothesis, torch.func, torch.compile, torch.export and ONNX."""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from functools import partial

import pytest
import torch
import torch._dynamo.testing
from ddf_inputs import COMBINES, leaves, make, make_of
from hypothesis import given
from hypothesis import strategies as st

import decoupled_nets as dn
from decoupled_nets.functional import ddf
from decoupled_nets.ops import backend
from decoupled_nets.ops.dynamic.reference import ddf_reference


@pytest.fixture
def calls(monkeypatch):
    """Counts what the kernels are asked for."""
    found = []
    missing = backend.missing
    monkeypatch.setattr(backend, "missing", lambda: found.append(1) or missing())
    return found


@st.composite
def geometries(draw):
    def pair(low, high):
        return draw(st.integers(low, high)), draw(st.integers(low, high))

    heads = draw(st.integers(1, 2))
    shape = draw(st.integers(1, 2)), heads * draw(st.integers(1, 6)), *pair(1, 7)
    kernel = tuple(2 * n + 1 for n in pair(0, 3))
    last, combine = draw(st.booleans()), draw(st.sampled_from(COMBINES))
    return shape, heads, kernel, pair(1, 3), pair(1, 3), combine, torch.float64, last


@given(geometries())
def test_any_geometry(case):
    tensors, options = make_of(*case)
    own, composed = leaves(tensors), leaves(tensors)
    expected = ddf_reference(*tensors, **options)
    out = ddf(*own, **options)
    with backend.use_backend("composed"):
        plain = ddf(*composed, **options)
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(plain, expected)
    cotangent = torch.randn_like(expected)
    found = torch.autograd.grad(out, own, cotangent)
    torch.testing.assert_close(found, torch.autograd.grad(plain, composed, cotangent))


def test_vmap_and_gradients_of_every_sample(near, calls):
    tensors, options = make("heads")
    each = torch.func.vmap(lambda *t: ddf(*(x.unsqueeze(0) for x in t), **options).squeeze(0))(*tensors)
    near(each, ddf_reference(*tensors, **options))
    gradient = torch.func.grad(lambda x, *t: ddf(x, *t, **options).square().sum())(*tensors)
    assert not calls
    own = leaves(tensors)
    (expected,) = torch.autograd.grad(ddf(*own, **options).square().sum(), own[:1])
    near(gradient, expected)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is not supported:FutureWarning")
@pytest.mark.parametrize("combine", COMBINES)
def test_jvp_is_the_transpose_of_the_gradient(combine, calls):
    tensors, options = make("dilated", combine=combine)
    tangents = tuple(torch.randn_like(t) for t in tensors)
    output, forward = torch.func.jvp(lambda *t: ddf(*t, **options), tensors, tangents)
    cotangent = torch.randn_like(output)
    gradients = torch.func.vjp(lambda *t: ddf(*t, **options), *tensors)[1](cotangent)
    backward = sum((g * t).sum() for g, t in zip(gradients, tangents, strict=True))
    torch.testing.assert_close((forward * cotangent).sum(), backward)
    assert not calls


class Filtering(torch.nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.options = options

    def forward(self, x, channel, spatial):
        return ddf(x, channel, spatial, **self.options)


# The recording backend is torch's own, for tests.
@pytest.mark.filterwarnings("ignore:Your compiler for AOTAutograd is returning a function that:UserWarning")
@pytest.mark.parametrize("combine", COMBINES)
def test_compile_in_one_graph(near, combine):
    """The op is in the graph, as it is, where there are kernels; else the sum that it stands for."""
    for context, expects_op in (
        (nullcontext, backend.status.loaded),
        (partial(backend.use_backend, "composed"), False),
    ):
        torch._dynamo.reset()
        tensors, options = make("heads", torch.float32, combine=combine)
        own, recorder = leaves(tensors), torch._dynamo.testing.AotEagerAndRecordGraphs()
        with context():
            out = torch.compile(Filtering(**options), backend=recorder, fullgraph=True)(*own)
        targets = {str(node.target) for graph in recorder.fw_graphs for node in graph.graph.nodes}
        assert ("decoupled_nets.ddf.default" in targets) == expects_op
        expected = ddf(*own, **options)
        near(out, expected)
        cotangent = torch.randn_like(out)
        wanted = torch.autograd.grad(expected, own, cotangent)
        for got, want in zip(torch.autograd.grad(out, own, cotangent), wanted, strict=True):
            near(got, want)


def test_compiled_once_for_every_batch(near):
    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    layer = dn.DDF2d(6, stride=2)
    compiled = torch.compile(layer, backend=counter, fullgraph=True)
    for batch in (2, 2, 3, 5, 7):
        x = torch.randn(batch, 6, 9, 8, requires_grad=True)
        out = compiled(x)
        near(out, layer(x))
        near(*(torch.autograd.grad(y.square().sum(), x)[0] for y in (out, layer(x))))
    assert counter.frame_count <= 2


def test_vmap_inside_a_compiled_function(near):
    torch._dynamo.reset()
    tensors, options = make("heads", torch.float32)

    def each(*t):
        return torch.vmap(lambda *t: ddf(*(x.unsqueeze(0) for x in t), **options).squeeze(0))(*t)

    near(
        torch.compile(each, backend="aot_eager", fullgraph=True)(*tensors), ddf_reference(*tensors, **options)
    )


def test_compile_under_autocast(near):
    torch._dynamo.reset()
    tensors, options = make("plain", torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = torch.compile(Filtering(**options), backend="eager", fullgraph=True)(*tensors)
    assert out.dtype == torch.bfloat16
    near(out, ddf_reference(*tensors, **options))


@pytest.mark.parametrize("name", ["strided", "heads"])
def test_export_is_plain_aten_with_any_batch(near, name):
    tensors, options = make(name, torch.float32)
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(Filtering(**options), tensors, dynamic_shapes=[{0: batch}] * 3)
    targets = [node.target for node in program.graph.nodes if node.op == "call_function"]
    assert all(target.namespace == "aten" for target in targets if hasattr(target, "namespace"))
    more = tuple(torch.cat([t, t.flip(0)[:1]]) for t in tensors)
    near(program.module()(*more), ddf_reference(*more, **options))


def test_onnx_in_onnxruntime(near, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    tensors, options = make("strided", torch.float32)
    path = str(tmp_path / "ddf.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        torch.onnx.export(Filtering(**options), tensors, path, dynamo=True, verbose=False)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [argument.name for argument in session.get_inputs()]
    (out,) = session.run(None, {n: t.numpy() for n, t in zip(names, tensors, strict=True)})
    near(torch.from_numpy(out), ddf_reference(*tensors, **options))


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_export_with_open_sizes(near, stride):
    layer = dn.DDF2d(4, stride=stride).eval()
    sizes = {2: torch.export.Dim("H", min=8, max=64), 3: torch.export.Dim("W", min=8, max=64)}
    program = torch.export.export(layer, (torch.rand(2, 4, 12, 13),), dynamic_shapes=(sizes,))
    for size in ((9, 14), (16, 11)):
        x = torch.rand(2, 4, *size)
        near(program.module()(x), layer(x))
