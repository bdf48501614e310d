"""The Triton kernels of the dynamic filters in Triton's interpreter, on the CPU; run by test_ddf_triton.py.

The interpreter has to be chosen before Triton is imported, so this is a process of its own.
"""

from __future__ import annotations

import torch
from ddf_inputs import leaves, make_of
from torch.autograd import gradcheck, gradgradcheck

from decoupled_nets.functional import ddf
from decoupled_nets.ops import backend
from decoupled_nets.ops.dynamic.reference import ddf_reference

TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}

#: (B, C, H, W), heads, kernel, stride, dilation, combine, dtype, channels last
CASES = [
    ((2, 6, 5, 4), 2, (3, 3), (2, 1), (1, 2), "mul", torch.float32, False),
    ((2, 6, 5, 4), 2, (3, 1), (1, 3), (1, 1), "add", torch.float64, True),
    ((1, 19, 9, 8), 1, (1, 3), (1, 1), (1, 1), "mul", torch.float16, False),  # several blocks of each kind
    ((1, 17, 9, 8), 1, (1, 3), (1, 1), (1, 2), "add", torch.bfloat16, True),
    ((1, 1, 2, 3), 1, (5, 3), (1, 2), (1, 1), "mul", torch.float32, False),  # larger than the image
    ((0, 2, 3, 3), 1, (3, 3), (1, 1), (1, 1), "mul", torch.float32, False),
]


def check(case):
    tensors, options = make_of(*case)
    own, exact = leaves(tensors), leaves(tensors, torch.float64)
    out, expected = ddf(*own, **options), ddf_reference(*exact, **options)
    assert out.is_contiguous(memory_format=torch.channels_last if case[-1] else torch.contiguous_format)
    cotangent = torch.randn_like(out)
    found = out, *torch.autograd.grad(out, own, cotangent)
    wanted = expected, *torch.autograd.grad(expected, exact, cotangent.double())
    for got, want in zip(found, wanted, strict=True):
        assert got.dtype == case[-2]
        tolerance = TOLERANCE[got.dtype]
        scale = want.abs().max().item() if want.numel() else 0.0
        torch.testing.assert_close(got.double(), want, rtol=tolerance, atol=tolerance * scale)


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True)  # memory that is not written is NaN
    backend._OF_DEVICE["cpu"], backend.watched = "triton", lambda *given: None
    for case in CASES:
        check(case)
        assert backend.last_backend().backend == "triton"
    tensors, options = make_of((1, 2, 2, 3), 1, (1, 3), (1, 2), (1, 1), "mul", torch.float64, False)
    assert gradcheck(lambda *t: ddf(*t, **options), leaves(tensors), fast_mode=True)
    assert gradgradcheck(lambda *t: ddf(*t, **options), leaves(tensors), fast_mode=True)
    print("checked")
