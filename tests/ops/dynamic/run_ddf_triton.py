"""The Triton kernels of the dynamic filters in Triton's interpreter, on the CPU; run by test_ddf_triton.py.

The interpreter has to be chosen before Triton is imported, so this is a process of its own.
"""

from __future__ import annotations

import torch
from ddf_inputs import leaves, make_of

from decoupled_nets.ops.dynamic import triton_launch
from decoupled_nets.ops.dynamic.call import DynamicForm
from decoupled_nets.ops.dynamic.reference import ddf_reference

TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 8e-3}
INF, NAN = float("inf"), float("nan")

#: (B, C, H, W), heads, kernel, stride, dilation, combine, dtype, channels last
CASES = [
    ((2, 6, 5, 4), 2, (3, 3), (2, 1), (1, 2), "mul", torch.float32, False),
    ((2, 6, 5, 7), 2, (3, 1), (1, 3), (1, 1), "add", torch.float64, True),
    ((1, 70, 9, 5), 1, (3, 3), (1, 1), (1, 1), "mul", torch.bfloat16, True),  # two blocks of channels
    ((1, 66, 6, 3), 1, (3, 3), (1, 1), (1, 1), "add", torch.float16, False),
    ((1, 19, 9, 8), 1, (1, 3), (1, 1), (1, 2), "mul", torch.float16, False),
    ((1, 17, 9, 18), 1, (1, 3), (1, 1), (1, 2), "add", torch.bfloat16, True),
    ((1, 1, 2, 3), 1, (5, 3), (1, 2), (1, 1), "mul", torch.float32, False),  # larger than the image
    ((1, 5, 7, 8), 5, (5, 3), (3, 2), (2, 1), "mul", torch.float32, True),  # one channel a head
    ((1, 3, 6, 90), 1, (3, 3), (1, 1), (1, 1), "mul", torch.float32, False),  # two blocks of pixels
    ((0, 2, 3, 3), 1, (3, 3), (1, 1), (1, 1), "mul", torch.float32, False),
]


def run(tensors, grad, case):
    form = DynamicForm.of(*case[2:6])
    return triton_launch.forward(*tensors, form), *triton_launch.backward(grad, *tensors, form)


def check(case):
    tensors, options = make_of(*case)
    exact = leaves(tensors, torch.float64)
    expected = ddf_reference(*exact, **options)
    grad = torch.randn_like(expected).to(case[-2])
    found = run(tensors, grad, case)
    wanted = expected, *torch.autograd.grad(expected, exact, grad.double())
    for got, want, like in zip(found, wanted, (tensors[0], *tensors), strict=True):
        assert got.dtype == case[-2]
        if like is tensors[0]:
            format = torch.channels_last if case[-1] else torch.contiguous_format
            assert got.is_contiguous(memory_format=format)
        tolerance = TOLERANCE[got.dtype]
        scale = want.abs().max().item() if want.numel() else 0.0
        torch.testing.assert_close(got.double(), want, rtol=tolerance, atol=tolerance * scale)


def check_windows(case, place, value, reached=True):
    """Who meets an infinity or a NaN in the window; the reference leaves out what is outside."""
    tensors, options = make_of(*case)
    which, *at = place
    tensors[which][tuple(at)] = value
    exact = leaves(tensors, torch.float64)
    expected = ddf_reference(*exact, **options)
    grad = torch.randn_like(expected).to(case[-2])
    wanted = expected, *torch.autograd.grad(expected, exact, grad.double())
    for got, want in zip(run(tensors, grad, case), wanted, strict=True):
        assert torch.equal(got.isfinite(), want.isfinite())
    assert expected.isfinite().all() != reached


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True)  # memory that is not written is NaN
    for case in CASES:
        check(case)
    for combine in ("mul", "add"):
        for stride, last in (((1, 1), combine == "add"), ((2, 1), combine == "mul")):
            case = (1, 3, 5, 4), 1, (3, 3), stride, (1, 1), combine, torch.float32, last
            check_windows(case, (0, 0, 1, 0, 3), INF)
            check_windows(case, (1, 0, 0, 0, 0), INF)
            check_windows(case, (2, 0, 4, 0, 0), NAN)
            check_windows(case, (2, 0, 0, 0, 0), NAN, reached=False)  # a tap outside the image
    # Offsets of more bits give the same.
    triton_launch._FEW = 0
    triton_launch._sum.cache_clear(), triton_launch._by_filters.cache_clear()
    for case in CASES[:2]:
        check(case)
    print("checked")
