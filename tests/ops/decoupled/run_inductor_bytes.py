"""Bytes that inductor's code for a card moves a layer, on a machine without one; for test_compiled_bytes.py.

The graphs are traced on the processor and moved to an imagined H100, inductor generates its code, and every
kernel of it states the bytes that it moves. Prints, for an operator or ``conv``, what one layer more
(convolution, BatchNorm, ReLU) costs forward and backward, in maps of its output in bfloat16. What cuDNN and
our own kernels move is not in it.
"""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Callable
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
import torch._inductor.fx_passes.joint_graph as joint_graph
import torch._inductor.fx_passes.post_grad as post_grad
import torch._inductor.scheduler as scheduler
from functorch.compile import make_boxed_func, min_cut_rematerialization_partition
from torch import nn
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.device_interface import CudaInterface
from torch._inductor import config
from torch._inductor.compile_fx import compile_fx_inner
from torch._inductor.decomposition import select_decomp_table
from torch._inductor.graph import GraphLowering
from torch.fx.passes.fake_tensor_prop import FakeTensorProp
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

import decoupled_nets as dn
from decoupled_nets.ops import backend, gpu

BATCH, CHANNELS, SIZE = 8, 128, 32
MAP = BATCH * CHANNELS * SIZE**2 * 2 / 1e9

H100 = SimpleNamespace(
    name="H100", major=9, minor=0, multi_processor_count=132, regs_per_multiprocessor=65536,
    max_threads_per_multi_processor=2048, max_threads_per_block=1024, warp_size=32, total_memory=80 << 30,
    shared_memory_per_block=49152, shared_memory_per_block_optin=232448,
    shared_memory_per_multiprocessor=233472, L2_cache_size=50 << 20,
)  # fmt: skip


class Driver:
    """Answers for a card that is not there."""

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cuda", 0)

    def is_active(self) -> bool:
        return True


ANSWERS: dict[Any, dict[str, Any]] = {
    torch.cuda: {
        "is_available": True, "device_count": 1, "current_device": 0, "get_device_properties": H100,
        "get_device_capability": (9, 0), "_lazy_init": None, "_exchange_device": 0,
        "_maybe_exchange_device": 0, "is_current_stream_capturing": False,
        "get_rng_state": torch.zeros(16, dtype=torch.uint8), "set_rng_state": None,
    },
    CudaInterface: {
        "is_available": True, "device_count": 1, "current_device": 0, "get_compute_capability": 90,
        "get_device_properties": H100, "exchange_device": 0, "maybe_exchange_device": 0,
        "is_triton_capable": True, "raise_if_triton_unavailable": None, "is_bf16_supported": True,
    },
    CudaInterface.Worker: {"current_device": 0, "get_device_properties": H100},
    # As a card's library has it; otherwise a copy of the layout appears that no card makes.
    torch._C: {
        "_conv_determine_backend_memory_format": torch.channels_last,
        "_select_conv_backend": torch._C._ConvBackend.Cudnn,
    },
    scheduler: {"has_triton": True},
    joint_graph: {"lazy_init": None},
    post_grad: {"lazy_init": None},
}  # fmt: skip


def imagined_card() -> ExitStack:
    stack = ExitStack()
    for owner, answers in ANSWERS.items():
        for name, answer in answers.items():
            own: Any = lambda *args, _answer=answer, **options: _answer  # noqa: E731
            own = staticmethod(own) if isinstance(owner, type) else own
            stack.enter_context(patch.object(owner, name, own))
    stack.enter_context(patch.object(driver, "_active", Driver()))
    return stack


def moved(graph: torch.fx.GraphModule, inputs: list[Any]) -> tuple[torch.fx.GraphModule, list[Any], Any]:
    """The graph and its inputs on the card."""
    graph, card = copy.deepcopy(graph), torch.device("cuda", 0)

    def swap(value: Any) -> Any:
        return card if isinstance(value, torch.device) and value.type == "cpu" else value

    for node in graph.graph.nodes:
        node.args = torch.fx.node.map_aggregate(node.args, swap)
        node.kwargs = torch.fx.node.map_aggregate(node.kwargs, swap)
    graph.recompile()
    mode = torch._guards.detect_fake_mode(inputs)
    with mode:
        own = [
            torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=card)
            if isinstance(x, torch.Tensor)
            else x
            for x in inputs
        ]
    with torch.no_grad():
        FakeTensorProp(graph, mode).propagate_dont_convert_inputs(*own)
    return graph, own, mode


class _Generated(Exception):
    pass


def generated(call: Callable[..., torch.Tensor], x: torch.Tensor) -> list[str]:
    """Inductor's code for the forward pass and for the backward one."""
    found: list[str] = []

    def stop(lowering: GraphLowering) -> None:
        found.append(lowering.codegen()[0].value)
        raise _Generated

    def compiler(graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        with imagined_card(), patch.object(GraphLowering, "_compile_to_module", stop), torch.no_grad():
            own, fake, mode = moved(graph, inputs)
            options = config.patch(benchmark_kernel=True, fx_graph_cache=False, compile_threads=1)
            with options, torch._guards.tracing(torch._guards.TracingContext(mode)):
                try:
                    compile_fx_inner(own, fake, is_backward=bool(found))
                except Exception as error:
                    if "_Generated" not in repr(error):
                        raise
        return make_boxed_func(graph.forward)

    torch.compiler.reset()
    whole = aot_autograd(
        fw_compiler=compiler, bw_compiler=compiler, decompositions=select_decomp_table(),
        partition_fn=lambda *a, **k: min_cut_rematerialization_partition(*a, compiler="inductor", **k),
    )  # fmt: skip
    torch.compile(call, fullgraph=True, backend=whole)(x).float().square().mean().backward()
    return found


def moves(code: str) -> float:
    """Gigabytes that the kernels of generated code move."""
    kernel = r"^(\w+) = async_compile\.triton\('\w+', '''(.*?)'''"
    each = {
        name: float(re.search(r"'kernel_num_gb': ([\d.e+-]+)", body)[1])  # type: ignore[index]
        for name, body in re.findall(kernel, code, re.S | re.M)
    }
    return sum(each.get(name, 0.0) for name in re.findall(r"^\s+(\w+)\.run\(.*stream=raw_stream", code, re.M))


def layers(operator: str, count: int) -> list[float]:
    def one() -> list[nn.Module]:
        options: dict[str, Any] = {"kernel_size": 3, "padding": 1, "bias": False}
        plain = operator == "conv"
        conv = nn.Conv2d(CHANNELS, CHANNELS, **options) if plain else dn.DecoupledConv2d(
            CHANNELS, CHANNELS, operator=operator, **options
        )  # fmt: skip
        return [conv, nn.BatchNorm2d(CHANNELS), nn.ReLU()]

    network = nn.Sequential(*(module for _ in range(count) for module in one()))
    network = network.to(memory_format=torch.channels_last)
    x = torch.randn(BATCH, CHANNELS, SIZE, SIZE).contiguous(memory_format=torch.channels_last)

    def call(x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return network(x)

    return [moves(code) / MAP for code in generated(call, x.requires_grad_())]


if __name__ == "__main__":
    torch.manual_seed(0)
    operator, path = sys.argv[1:]
    backend._OF_DEVICE["cpu"] = "triton"
    gpu.missing = lambda index: None  # type: ignore[assignment]
    with dn.use_backend(path):
        few, more = layers(operator, 2), layers(operator, 3)
    print(*(round(b - a, 2) for a, b in zip(few, more, strict=True)))
