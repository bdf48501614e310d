"""Dynamic filters on the GPU of this machine: whether they are right, and how fast they are.

    python scripts/_gpu_dynamic.py              # a table; about a minute
    python scripts/_gpu_dynamic.py --dry-run    # small, on the CPU, in Triton's interpreter: no figures

Kernels are compiled by several processes at once, which check them, too; networks are compiled meanwhile.
Operations are timed as CUDA graphs over several sets of tensors, so that launches and the cache do not count.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

import torch
import torchvision
from torch import Tensor, nn

import decoupled_nets as dn
from decoupled_nets.ops import gpu
from decoupled_nets.ops.dynamic.call import DynamicForm
from decoupled_nets.ops.dynamic.composed import composed_ddf

Report = Callable[..., None]
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
TOLERANCE = {"float32": 2e-5, "bfloat16": 2e-2, "float16": 4e-3}
LAYOUTS = {"first": torch.contiguous_format, "last": torch.channels_last}

#: (B, C, H, W), heads, kernel, stride, dilation, combine
SHAPES: list[tuple[Any, ...]] = [
    ((2, 64, 57, 55), 1, (3, 3), (1, 1), (1, 1), "mul"),
    ((3, 130, 7, 9), 1, (3, 3), (1, 1), (1, 1), "add"),
    ((2, 96, 30, 41), 3, (3, 3), (2, 2), (1, 1), "mul"),
    ((1, 48, 33, 18), 2, (5, 3), (1, 1), (1, 2), "mul"),
    ((2, 20, 19, 23), 1, (3, 5), (2, 3), (3, 1), "add"),
    ((1, 8, 66, 70), 8, (7, 7), (1, 1), (1, 1), "mul"),
]
SPEEDS = [(32, 64, 56, 56), (32, 128, 28, 28), (32, 256, 14, 14), (32, 512, 7, 7), (1, 64, 224, 224)]
NETS = [(name, mode) for mode in ("compiled", "eager") for name in ("ddf_mul_resnet50", "resnet50")]


def tensors_of(case: tuple[Any, ...], dtype: torch.dtype, layout: str, device: str) -> list[Tensor]:
    """Input, channel filter and spatial filter as leaves."""
    shape, heads, kernel, stride, *_ = case
    out = [-(-n // s) for n, s in zip(shape[2:], stride, strict=True)]
    shapes = shape, (*shape[:2], *kernel), (shape[0], heads * kernel[0] * kernel[1], *out)
    made = [torch.randn(s, device=device).to(dtype) for s in shapes]
    made = [t.contiguous(memory_format=LAYOUTS[layout]) if i != 1 else t for i, t in enumerate(made)]
    return [t.requires_grad_() for t in made]


# Correctness, in processes of their own.


@contextmanager
def poisoned() -> Iterator[None]:
    """New memory holds NaN, so that what a kernel leaves out is seen."""
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def run_kernels(tensors: list[Tensor], grad: Tensor, case: tuple[Any, ...]) -> list[Tensor]:
    """Values and the three gradients: by the library, or in the interpreter by the kernels themselves."""
    *_, stride, dilation, combine = case
    with poisoned():
        if tensors[0].device.type == "cuda":
            out = dn.functional.ddf(*tensors, stride=stride, dilation=dilation, combine=combine)
            return [out.detach(), *torch.autograd.grad(out, tensors, grad)]
        from decoupled_nets.ops.dynamic import triton_launch

        form, plain = DynamicForm.of(case[2], stride, dilation, combine), [t.detach() for t in tensors]
        return [triton_launch.forward(*plain, form), *triton_launch.backward(grad, *plain, form)]


def check(case: tuple[Any, ...], dtype: str, layout: str, device: str) -> dict[str, Any]:
    """Largest errors against float64, relative to the largest value; the same bits twice; infinities."""
    torch.manual_seed(0)
    tensors = tensors_of(case, TYPES[dtype], layout, device)
    exact = [t.detach().double().requires_grad_() for t in tensors]
    wanted = composed_ddf(*exact, DynamicForm.of(case[2], *case[3:]))
    grad = torch.randn_like(wanted).to(TYPES[dtype])
    every = [wanted.detach(), *torch.autograd.grad(wanted, exact, grad.double())]
    found, again = run_kernels(tensors, grad, case), run_kernels(tensors, grad, case)
    errors = [
        ((f.double() - w).abs().max() / w.abs().max()).item() for f, w in zip(found, every, strict=True)
    ]
    same = all(torch.equal(f, a) for f, a in zip(found, again, strict=True))
    with torch.no_grad():
        tensors[1][0, 0, 0, 0] = float("inf")
        tensors[2][:, 0, -1, -1] = float("nan")
    touched = [(~t.isfinite()).sum().item() for t in run_kernels(tensors, grad, case)]
    alike = _touched(tensors, grad, case)
    worst = max(errors)
    if device == "cuda" and gpu.missing(grad.device.index) is not None:
        return {"ok": False, "error": "no Triton kernels here"}
    good = same and touched == alike and worst <= TOLERANCE[dtype]  # also false for a NaN
    return {
        "ok": good, "worst": worst, "errors": errors, "same_bits": same, "not_finite": [touched, alike],
    }  # fmt: skip


def _touched(tensors: list[Tensor], grad: Tensor, case: tuple[Any, ...]) -> list[int]:
    """How many values and gradients infinities and NaN may reach, counted with marks instead."""
    shape, heads, (kh, kw), (sh, sw), (dh, dw), combine = case
    bad_c, bad_s = (~t.isfinite() for t in (tensors[1].detach(), tensors[2].detach()))
    rows, columns = tensors[2].shape[2:]
    at_row = torch.arange(rows, device=grad.device)[:, None] * sh
    at_column = torch.arange(columns, device=grad.device)[None, :] * sw
    out = torch.zeros_like(grad, dtype=torch.bool)
    by_x = torch.zeros(shape, dtype=torch.bool, device=grad.device)
    by_c, by_s = torch.zeros_like(bad_c), torch.zeros_like(bad_s)
    for tap in range(kh * kw):
        i, j = divmod(tap, kw)
        row, column = at_row + (i - kh // 2) * dh, at_column + (j - kw // 2) * dw
        inside = (row >= 0) & (row < shape[2]) & (column >= 0) & (column < shape[3])
        per_pixel = bad_s[:, tap :: kh * kw].repeat_interleave(shape[1] // heads, 1)
        hit = (bad_c[:, :, i, j, None, None] | per_pixel) & inside
        out |= hit
        b, c, r, q = hit.nonzero(as_tuple=True)
        by_x[b, c, row[r, 0], column[0, q]] = True
        if combine == "mul":
            by_c[:, :, i, j] = (per_pixel & inside).any(-1).any(-1)
            of_channel = bad_c[:, :, i, j, None, None] & inside
            by_s[:, tap :: kh * kw] = of_channel.unflatten(1, (heads, -1)).any(2)
    return [int(t.sum()) for t in (out, by_x, by_c, by_s)]


def check_kept(device: str) -> dict[str, Any]:
    """A compiled layer keeps the ops, forward and backward, in one graph."""
    from functorch.compile import make_boxed_func
    from torch._dynamo.backends.common import aot_autograd

    called: list[str] = []

    def record(module: torch.fx.GraphModule, inputs: Any) -> Any:
        called.extend(str(node.target) for node in module.graph.nodes if node.op == "call_function")
        return make_boxed_func(module.forward)

    case = ((2, 16, 9, 11), 1, (3, 3), (1, 1), (1, 1), "mul")
    tensors = tensors_of(case, torch.float32, "last", device)
    compiled = torch.compile(
        lambda *t: dn.functional.ddf(*t).relu(), fullgraph=True, backend=aot_autograd(fw_compiler=record)
    )
    out = compiled(*tensors)
    found = [out, *torch.autograd.grad(out.sum(), tensors)]
    out = dn.functional.ddf(*tensors).relu()
    wanted = [out, *torch.autograd.grad(out.sum(), tensors)]
    close = all(torch.allclose(f, w, atol=1e-5) for f, w in zip(found, wanted, strict=True))
    kept = [
        any(name.startswith(f"decoupled_nets.{op}.") for name in called) for op in ("ddf", "ddf_backward")
    ]
    return {"ok": close and all(kept), "close": close, "kept": kept}


def tasks_of(tiny: bool) -> list[tuple[Any, ...]]:
    """What the processes do: compilers' part, cases, and kernels that only speeds need."""
    tasks: list[tuple[Any, ...]] = [("kept",)]
    if tiny:
        small = (
            ((2, 6, 5, 4), 2, (3, 3), (1, 1), (1, 1), "mul"),
            ((1, 3, 5, 4), 1, (3, 3), (2, 1), (1, 2), "add"),
        )
        return tasks + [("case", case, "bfloat16", layout) for case in small for layout in LAYOUTS]
    tasks += [("case", case, dtype, layout) for case in SHAPES for dtype in TYPES for layout in LAYOUTS]
    return tasks + [("warm", dtype, layout) for dtype in ("bfloat16", "float32") for layout in LAYOUTS]


def work(task: tuple[Any, ...], device: str) -> dict[str, Any]:
    """One task's results."""
    if task[0] == "kept":
        return {"name": "compiled", **check_kept(device)}
    if task[0] == "case":
        case = tuple(tuple(x) if isinstance(x, list) else x for x in task[1])
        name = f"{case[0]} g{case[1]} k{case[2]} s{case[3]} d{case[4]} {case[5]} {task[2]} {task[3]}"
        return {"name": name.replace(", ", "x"), **check(case, *task[2:], device)}
    for shape in SPEEDS:
        tensors = tensors_of((shape, 1, (3, 3), (1, 1)), TYPES[task[1]], task[2], device)
        dn.functional.ddf(*tensors).sum().backward()
    return {"name": "", "ok": True}


def start(arguments: list[str], tiny: bool) -> subprocess.Popen[str]:
    """This script as another process."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"} | ({"TRITON_INTERPRET": "1"} if tiny else {})
    # A compiler's own processes would keep the pipe of a short task open.
    env["TORCHINDUCTOR_COMPILE_THREADS"] = "1" if "--tasks" in arguments else "6"
    command = [sys.executable, str(Path(__file__).resolve()), *arguments, *(["--dry-run"] if tiny else [])]
    return subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def all_of(worker: subprocess.Popen[str], seconds: float) -> str:
    """What a process wrote until its end, which is not waited for longer."""
    try:
        return worker.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        worker.kill()
        return worker.communicate()[0]


def line_of(worker: subprocess.Popen[str], seconds: float) -> str:
    """The next line, or nothing."""
    ready, _, _ = select.select([worker.stdout], [], [], seconds)
    return worker.stdout.readline() if ready and worker.stdout else ""


class _Workers:
    """Processes that compile networks, started before kernels are checked; and whether those are compiled."""

    nets: ClassVar[dict[tuple[str, str], subprocess.Popen[str]]] = {}
    warmed: ClassVar[bool] = False


def start_nets(tiny: bool) -> None:
    if not _Workers.nets:
        _Workers.nets = {net: start(["--net", *net], tiny) for net in (NETS[2:] if tiny else NETS)}


def correctness(report: Report, tiny: bool | None = None) -> bool:
    """Every kernel against float64, and what else has to hold; whether all of it does.

    `tiny`: a dry run on the CPU, as it is without a GPU.
    """
    tiny = not torch.cuda.is_available() if tiny is None else tiny
    start_nets(tiny)
    tasks = tasks_of(tiny)
    count = min(1 if tiny else 12, max(1, (os.cpu_count() or 2) - 2), len(tasks))
    workers = [start(["--tasks", json.dumps(tasks[i::count])], tiny) for i in range(count)]
    good, seen = True, 0
    for worker in workers:
        lines = all_of(worker, 150)
        for line in filter(lambda text: text.startswith("{"), lines.splitlines()):
            values = json.loads(line)
            name, seen, good = values.pop("name"), seen + 1, good and values["ok"]
            if name:
                report("dynamic filters, correctness", name, **values)
    _Workers.warmed = True
    report("dynamic filters, correctness", "all", ok=good and seen == len(tasks), done=seen, asked=len(tasks))
    return good and seen == len(tasks)


# Speed.


def timed(functions: dict[str, Callable[[], Any]], rounds: int, calls: int) -> dict[str, float]:
    """Microseconds a call, medians of interleaved rounds; on a GPU of CUDA graphs of `calls` calls."""
    if not torch.cuda.is_available():
        times = {}
        for name, function in functions.items():
            begin = time.perf_counter()
            function()
            times[name] = (time.perf_counter() - begin) / calls * 1e6
        return times
    graphs = {name: graph_of(function) for name, function in functions.items()}
    events: dict[str, list[Any]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, graph in graphs.items():
            pair = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
            pair[0].record()
            graph.replay()
            pair[1].record()
            events[name].append(pair)
    torch.cuda.synchronize()
    return {name: median(a.elapsed_time(b) for a, b in pairs) / calls * 1e3 for name, pairs in events.items()}


def graph_of(function: Callable[[], Any]) -> Any:
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            function()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    graph.replay()
    return graph


def bandwidth(device: str, tiny: bool) -> float:
    """Bytes a second that a copy reads and writes."""
    source = torch.zeros(2**10 if tiny else 2**28, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / timed({"copy": lambda: target.copy_(source)}, 9, 1)["copy"] * 1e6


def steps_of(layer: Callable[..., Tensor], sets: list[list[Tensor]]) -> dict[str, Callable[[], Any]]:
    """Forward alone, and forward and backward, over all sets of tensors."""

    def forward() -> None:
        with torch.no_grad():
            for tensors in sets:
                layer(*tensors)

    grads = [torch.randn_like(layer(*tensors)) for tensors in sets[:1]]

    def both() -> None:
        for tensors in sets:
            needed = [t for t in tensors if t.requires_grad]
            torch.autograd.grad(layer(*tensors), needed, grads[0])

    return {"forward": forward, "training": both}


def composed(*tensors: Tensor) -> Tensor:
    with dn.use_backend("composed"):
        return dn.functional.ddf(*tensors)


def speed_of_op(
    report: Report, shape: tuple[int, ...], dtype: str, layout: str, copy: float, tiny: bool
) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    one = (shape, 1, (3, 3), (1, 1))
    size = torch.Size(shape).numel() * TYPES[dtype].itemsize
    count = 1 if tiny else max(4, min(24, -(-(200 << 20) // (2 * size))))
    sets = [tensors_of(one, TYPES[dtype], layout, device) for _ in range(count)]
    conv = nn.Conv2d(shape[1], shape[1], 3, padding=1, groups=shape[1], bias=False, device=device)
    conv = conv.to(TYPES[dtype], memory_format=LAYOUTS[layout])
    layers = {
        "op": (dn.functional.ddf, sets),
        "depthwise": (lambda x, w: conv._conv_forward(x, w, None), [[s[0], conv.weight] for s in sets]),
        "composed": (composed, sets),
    }  # fmt: skip
    functions = {f"{n} {k}": f for n, (layer, s) in layers.items() for k, f in steps_of(layer, s).items()}
    times = timed(functions, 1 if tiny else 7, count)
    x, channel, spatial = (t.nbytes for t in sets[0])
    floors = {"forward": 2 * x + channel + spatial, "training": 5 * x + 3 * channel + 3 * spatial}
    for kind, bytes_ in floors.items():
        floor = bytes_ / copy * 1e6
        own = {name: round(times[f"{name} {kind}"], 2) for name in layers}
        report(
            "dynamic filters, 3x3", f"{'x'.join(map(str, shape))} {dtype} {layout} {kind}", **own,
            floor=round(floor, 2), by_floor=round(own["op"] / floor, 2),
            by_depthwise=round(own["op"] / own["depthwise"], 2),
            by_composed=round(own["op"] / own["composed"], 3),
        )  # fmt: skip


def speed_of_upsampler(report: Report, tiny: bool) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    shape, dtype = ((1, 8, 4, 4), torch.float32) if tiny else ((16, 64, 56, 56), torch.bfloat16)
    x = torch.randn(shape, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
    layers = {
        "ddf": dn.DDFUpsample(shape[1], 2),
        "transposed": nn.ConvTranspose2d(shape[1], shape[1], 4, 2, 1),
        "depthwise transposed": nn.ConvTranspose2d(shape[1], shape[1], 4, 2, 1, groups=shape[1]),
    }
    functions: dict[str, Callable[[], Any]] = {}
    for name, layer in layers.items():
        layer.to(device, dtype, memory_format=torch.channels_last)
        for kind, function in steps_of(layer, [[x.clone().requires_grad_()]]).items():
            functions[f"{name} {kind}"] = function
    times = timed(functions, 1 if tiny else 9, 1)
    for kind in ("forward", "training"):
        own = {name: round(times[f"{name} {kind}"], 1) for name in layers}
        report("dynamic upsampling by 2", f"{'x'.join(map(str, shape))} {kind}", **own)


def net_step(name: str, mode: str, tiny: bool) -> Callable[[], Tensor]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True
    classes = 10 if tiny else 1000
    net = (
        torchvision.models.resnet50(num_classes=classes)
        if name == "resnet50"
        else dn.create_model(name, num_classes=classes)
    )
    net = net.to(device, memory_format=torch.channels_last)
    batch, size = (2, 32) if tiny else (64, 224)
    images = torch.randn(batch, 3, size, size, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.zeros(batch, dtype=torch.long, device=device)
    run = torch.compile(net) if mode == "compiled" else net

    def step() -> Tensor:
        with torch.autocast(device, torch.bfloat16):
            loss = nn.functional.cross_entropy(run(images).float(), labels)
        net.zero_grad(set_to_none=True)
        loss.backward()
        return loss

    return step


def time_net(name: str, mode: str, tiny: bool) -> None:
    """Prints ``ready``, and for every line read the milliseconds of training steps."""
    step = net_step(name, mode, tiny)
    for _ in range(1 if tiny else 4):
        step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    print("ready", flush=True)
    for _ in sys.stdin:
        times = []
        for _ in range(1 if tiny else 12):
            begin = time.perf_counter()
            step().item()
            times.append((time.perf_counter() - begin) * 1e3)
        print(median(times), flush=True)


def speed_of_nets(report: Report, tiny: bool) -> None:
    found: dict[tuple[str, str], list[float]] = {net: [] for net in _Workers.nets}
    for _ in range(1 if tiny else 3):
        for net, worker in _Workers.nets.items():
            try:
                print("go", file=worker.stdin, flush=True)
                found[net].append(float(line_of(worker, 20)))
            except (OSError, ValueError):
                continue
    for mode in ("eager", "compiled"):
        times = {name: median(t) for (name, m), t in found.items() if m == mode and t}
        values: dict[str, Any] = {name: round(t, 2) for name, t in times.items()}
        if len(times) == 2:
            values["ratio"] = round(times["ddf_mul_resnet50"] / times["resnet50"], 3)
        report("training step, batch 64, bfloat16, ms", mode, **values)


def speed(report: Report, tiny: bool | None = None) -> None:
    """Times of the op, of the upsampler and of whole networks beside what they stand for."""
    tiny = not torch.cuda.is_available() if tiny is None else tiny
    start_nets(tiny)
    if not tiny and not _Workers.warmed:
        warm = [start(["--tasks", json.dumps([task])], tiny) for task in tasks_of(tiny) if task[0] == "warm"]
        for worker in warm:
            all_of(worker, 150)
    try:
        for net, worker in list(_Workers.nets.items()):
            if not line_of(worker, 120).startswith(
                "ready"
            ):  # then compilers are done, and the machine is quiet
                report("training step", " ".join(net), error="the process ended or took longer than 120 s")
                _Workers.nets.pop(net).kill()
        device = "cuda" if torch.cuda.is_available() else "cpu"
        copy = bandwidth(device, tiny)
        report("dynamic filters, 3x3", "copy", gigabytes_per_second=round(copy / 1e9, 1))
        for shape in [(1, 4, 6, 5)] if tiny else SPEEDS:
            for dtype in ("bfloat16", "float32"):
                for layout in LAYOUTS:
                    attempt(report, speed_of_op, shape, dtype, layout, copy, tiny)
        attempt(report, speed_of_nets, tiny)
        attempt(report, speed_of_upsampler, tiny)
        attempt(report, speed_of_calls, tiny)
    finally:
        for worker in _Workers.nets.values():
            worker.kill()
        _Workers.nets = {}


def attempt(report: Report, part: Callable[..., None], *arguments: Any) -> None:
    """One part of the measurements; what it raises is a line and does not stop the others."""
    try:
        part(report, *arguments)
    except Exception as error:
        report("failed", f"{part.__name__}{arguments}", ok=False, error=repr(error)[:1000])


def speed_of_calls(report: Report, tiny: bool) -> None:
    """What a call takes in eager mode where the map is small, so that Python and launches are the price."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tensors = tensors_of(((1, 64, 7, 7), 1, (3, 3), (1, 1)), torch.float32, "last", device)
    times = {}
    for name, function in steps_of(dn.functional.ddf, [tensors]).items():
        calls = 2 if tiny else 200
        for count in (1, calls):
            begin = time.perf_counter()
            for _ in range(count):
                function()
            if device == "cuda":
                torch.cuda.synchronize()
            times[name] = round((time.perf_counter() - begin) / count * 1e6, 1)
    report("dynamic filters, 3x3", "eager call on a small map, microseconds", **times)


def _table(section: str, name: str, **values: Any) -> None:
    if values.get("ok"):
        values = {k: v for k, v in values.items() if k not in ("errors", "not_finite")}
    shown = "  ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in values.items())
    print(f"{section:28s} {name:58s} {shown}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dry-run", action="store_true", help="small, on the CPU")
    parser.add_argument("--tasks", help=argparse.SUPPRESS)
    parser.add_argument("--net", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() and not given.dry_run else "cpu"
    if given.net:
        time_net(*given.net, given.dry_run)
        return 0
    if given.tasks:
        for task in json.loads(given.tasks):
            try:
                print(json.dumps(work(task, device)), flush=True)
            except Exception as error:
                print(json.dumps({"name": str(task), "ok": False, "error": repr(error)[:2000]}), flush=True)
        return 0
    begin = time.perf_counter()
    good = correctness(_table, given.dry_run)
    print(f"{time.perf_counter() - begin:.1f} s")
    speed(_table, given.dry_run)
    print(f"{time.perf_counter() - begin:.1f} s")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
