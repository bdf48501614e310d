"""The dynamic filters against the oracle, on every path; errors, types, layouts."""

from __future__ import annotations

import itertools
from contextlib import nullcontext
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from ddf_inputs import COMBINES, DTYPES, GEOMETRIES, leaves, make, make_of

from decoupled_nets.functional import ddf
from decoupled_nets.ops import backend
from decoupled_nets.ops.dynamic.reference import ddf_reference

PATHS = {"kernels": nullcontext, "composed": partial(backend.use_backend, "composed")}


@pytest.fixture(autouse=True)
def unwritten_memory_is_nan():
    """What an op forgets to write shows up as NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
@pytest.mark.parametrize("combine", COMBINES)
@pytest.mark.parametrize("name", GEOMETRIES)
def test_values_and_gradients(near, name, combine, last):
    """On both paths and in every type; the numbers are such that all types hold them exactly."""
    tensors, options = make(name, torch.float64, last, combine)
    exact = leaves(tensors)
    expected = ddf_reference(*exact, **options)
    cotangent = torch.randn(expected.shape).bfloat16()
    wanted = torch.autograd.grad(expected, exact, cotangent.double())
    for dtype, (path, context) in itertools.product(DTYPES, PATHS.items()):
        own = leaves(tensors, dtype)
        with context():
            out = ddf(*own, **options)
            found = torch.autograd.grad(out, own, cotangent.to(dtype))
        assert out.dtype == dtype
        near(out, expected, dtype, path)
        for what, got, want in zip(("input", "channel", "spatial"), found, wanted, strict=True):
            assert got.dtype == dtype
            near(got, want, dtype, f"{path}, {dtype}, gradient of {what}")


@pytest.mark.parametrize("path", PATHS)
def test_a_window_far_larger_than_the_image(near, path):
    x, spatial = torch.randn(1, 2, 3, 4), torch.randn(1, 31 * 31, 2, 4)
    own = leaves((x, torch.randn(1, 2, 31, 31), spatial))
    expected = ddf_reference(*own, stride=(2, 1))
    wanted = torch.autograd.grad(expected.sum(), own)
    with PATHS[path]():
        out = ddf(*own, stride=(2, 1))
        found = torch.autograd.grad(out.sum(), own)
    near(out, expected)
    for got, want in zip(found, wanted, strict=True):
        near(got, want, torch.float32)


@pytest.mark.parametrize("size", [(1, 3), (3, 5), (4, 4), (7, 7), (11, 3), (9, 16), (17, 31)])
@pytest.mark.parametrize("combine", COMBINES)
def test_planes_of_every_length(near, size, combine):
    """Shorter than a vector, as long, longer; the first and the last ones end where the memory does."""
    tensors, options = make_of((2, 9, *size), 1, (3, 5), (1, 1), (1, 2), combine, torch.float64, False)
    exact = leaves(tensors)
    expected = ddf_reference(*exact, **options)
    cotangent = torch.randn(expected.shape).bfloat16()
    wanted = torch.autograd.grad(expected, exact, cotangent.double())
    for dtype in DTYPES:
        own = leaves(tensors, dtype)
        out = ddf(*own, **options)
        near(out, expected, dtype)
        for got, want in zip(torch.autograd.grad(out, own, cotangent.to(dtype)), wanted, strict=True):
            near(got, want, dtype)


@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
@pytest.mark.parametrize("number", [torch.inf, torch.nan])
@pytest.mark.parametrize("place", [(0, 0), (2, 6), (6, 0)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_not_finite_reaches_its_windows_only(number, place, last, stride, dtype):
    """Nor does it reach the next image or channels, which may be worked on in the same memory."""
    tensors, options = make_of((3, 5, 7, 7), 1, (3, 3), stride, (1, 1), "mul", dtype, last)
    tensors[0][1, 0, place[0], place[1]] = number
    results = []
    for context in PATHS.values():
        own = leaves(tensors)
        with context():
            out = ddf(*own, **options)
            grads = torch.autograd.grad(out, own, torch.ones_like(out))
        results.append([t.isfinite() for t in (out.detach(), *grads)])
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))
    assert not results[0][0].all()


@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
@pytest.mark.parametrize("stride", [1, 2])
def test_factors_meet_in_one_order(last, stride):
    """The channel filter first: its product with the input may overflow, in every layout or in none."""
    x, channel = torch.full((1, 20, 6, 6), 1e30), torch.full((1, 20, 3, 3), 1e30)
    spatial = torch.full((1, 9, 6 // stride, 6 // stride), 1e-30)
    memory_format = torch.channels_last if last else torch.contiguous_format
    x, spatial = (t.contiguous(memory_format=memory_format) for t in (x, spatial))
    assert ddf(x, channel, spatial, stride=stride).isinf().all()
    assert ddf(x, channel * 1e-30 * 1e-30, spatial * 1e30 * 1e30, stride=stride).isfinite().all()


@pytest.mark.parametrize("path", PATHS)
def test_spatial_ones_make_it_a_depthwise_convolution_of_each_image(near, path):
    x, own = torch.randn(3, 8, 9, 7), torch.randn(3, 8, 3, 5)
    with PATHS[path]():
        actual = ddf(x, own, torch.ones(3, 15, 5, 3), stride=(2, 3), dilation=(2, 1))
    for image in range(3):
        expected = F.conv2d(
            x[image], own[image].unsqueeze(1), None, (2, 3), (2, 2), (2, 1), groups=8
        )  # fmt: skip
        near(actual[image], expected)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("heads", [1, 2])
def test_memory_format_is_kept(path, heads, stride):
    for memory_format in (torch.contiguous_format, torch.channels_last):
        x = torch.randn(2, 8, 6, 6).contiguous(memory_format=memory_format).requires_grad_()
        spatial = torch.randn(2, 9 * heads, 6 // stride, 6 // stride)
        with PATHS[path]():
            out = ddf(x, torch.randn(2, 8, 3, 3), spatial, stride=stride)
            out.sum().backward()
        assert out.is_contiguous(memory_format=memory_format)
        assert x.grad.is_contiguous(memory_format=memory_format)


def test_tensors_that_are_neither_contiguous_nor_channels_last(near):
    x, channel = torch.randn(2, 8, 7, 12)[:, ::2, :, 1::2], torch.randn(2, 4, 6, 3)[:, :, ::2]
    spatial, options = torch.randn(2, 6, 7, 9).movedim(3, 1), {"dilation": (2, 1)}
    own = leaves((x, channel, spatial.movedim(3, 2)))
    expected = ddf_reference(*own, **options)
    out = ddf(*own, **options)
    near(out, expected)
    cotangent = torch.randn(6, 4, 7, 2).permute(3, 1, 2, 0)
    wanted = torch.autograd.grad(expected, own, cotangent.double())
    for got, want in zip(torch.autograd.grad(out, own, cotangent), wanted, strict=True):
        near(got, want)


@pytest.mark.parametrize("path", PATHS)
def test_autocast(near, path):
    tensors, options = make("heads", torch.float32)
    own = leaves(tensors)
    exact = leaves(tensors, torch.float64)
    with PATHS[path](), torch.autocast("cpu", dtype=torch.bfloat16):
        out = ddf(own[0], own[1].bfloat16(), own[2], **options)
        assert ddf(*exact, **options).dtype == torch.float64
    assert out.dtype == torch.bfloat16
    expected = ddf_reference(*exact, **options)
    near(out, expected)
    cotangent = torch.randn(out.shape).bfloat16()
    wanted = torch.autograd.grad(expected, exact, cotangent.double())
    for got, want in zip(torch.autograd.grad(out, own, cotangent), wanted, strict=True):
        assert got.dtype == torch.float32
        near(got, want, torch.bfloat16)


def test_half_precision_takes_the_composed_path(near):
    tensors, options = make("heads", torch.float16)
    near(ddf(*tensors, **options), ddf_reference(*tensors, **options))


def test_shapes_on_the_meta_device():
    tensors, options = make("strided")
    assert ddf(*(t.to("meta") for t in tensors), **options).shape == ddf(*tensors, **options).shape


@pytest.mark.parametrize("path", PATHS)
def test_empty_batch_has_zero_gradients(path):
    shapes = (0, 4, 5, 5), (0, 4, 3, 3), (0, 18, 5, 5)
    own = leaves(tuple(torch.zeros(s) for s in shapes))
    with PATHS[path]():
        out = ddf(*own)
        out.sum().backward()
    assert out.shape == (0, 4, 5, 5)
    assert [t.grad.shape for t in own] == list(shapes)


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        (((8, 7, 7), (2, 8, 3, 3), (2, 9, 7, 7)), {}, r"\(8, 7, 7\) received; needed: \(B, C, H, W\)"),
        (((2, 0, 7, 7), (2, 0, 3, 3), (2, 9, 7, 7)), {}, r"\(2, 0, 7, 7\) received"),
        (
            ((2, 8, 7, 7), (2, 8, 3, 4), (2, 12, 7, 7)),
            {},
            r"\(2, 8, 3, 4\) received; needed: .*odd kh and kw",
        ),
        (
            ((2, 8, 7, 7), (2, 9, 3, 3), (2, 9, 7, 7)),
            {},
            r"\(2, 9, 3, 3\) received; needed: \(2, 8, kh, kw\)",
        ),
        (((2, 8, 7, 7), (2, 8, 9), (2, 9, 7, 7)), {}, r"\(2, 8, 9\) received"),
        (((2, 8, 7, 7), (2, 8, 3, 3), (2, 9, 3, 4)), {"stride": 2}, r"\(2, 9, 3, 4\) rec.* \(2, G·9, 4, 4\)"),
        (((2, 8, 7, 7), (2, 8, 3, 3), (2, 10, 7, 7)), {}, r"needed: \(2, G·9, 7, 7\)"),
        (((2, 8, 7, 7), (2, 8, 3, 3), (2, 27, 7, 7)), {}, r"heads G divide 8 channels"),
        (((2, 8, 7, 7), (2, 8, 3, 3), (1, 9, 7, 7)), {}, r"\(1, 9, 7, 7\) received"),
        (((2, 8, 7, 7), (2, 8, 3, 3), (2, 9, 7, 7)), {"combine": "max"}, r"combine = 'max' received"),
        (((2, 8, 7, 7), (2, 8, 3, 3), (2, 9, 7, 7)), {"stride": 0}, r"stride 0 received; needed: at least 1"),
        (
            ((2, 8, 7, 7), (2, 8, 3, 3), (2, 9, 7, 7)),
            {"dilation": (1, 1, 1)},
            r"3 entries received; needed: 2",
        ),
    ],
)
def test_errors_name_what_was_received_and_what_is_needed(shapes, options, message):
    with pytest.raises(ValueError, match=message):
        ddf(*(torch.zeros(s) for s in shapes), **options)


def test_single_entries_and_whole_numbers(near):
    tensors, _ = make_of((1, 2, 5, 5), 1, (3, 3), (2, 2), (1, 1), "mul", torch.float32, False)
    near(ddf(*tensors, stride=(2,)), ddf(*tensors, stride=2))
    for path in PATHS.values():
        with path(), pytest.raises(TypeError, match=r"stride = 1\.5 received; needed: whole numbers"):
            ddf(*tensors, stride=1.5)


@pytest.mark.parametrize("dtypes", [(torch.float64, torch.float32), (torch.int64, torch.int64)])
def test_types_that_do_not_fit(dtypes):
    x, others = torch.zeros(1, 2, 3, 3, dtype=dtypes[0]), dtypes[1]
    with pytest.raises(TypeError, match=f"{dtypes[0]}, {others} and {others} received; needed: one floating"):
        ddf(x, torch.zeros(1, 2, 3, 3, dtype=others), torch.zeros(1, 9, 3, 3, dtype=others))
