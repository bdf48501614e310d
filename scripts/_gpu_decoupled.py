"""What ``gpu_check.py`` does with decoupled convolutions: checks, and times beside plain ones."""

from __future__ import annotations

import copy
import fcntl
import itertools
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import decoupled_nets as dn
from decoupled_nets.ops import backend, gpu
from decoupled_nets.ops.decoupled.composed import epilogue
from decoupled_nets.ops.decoupled.derivative import Response
from decoupled_nets.ops.decoupled.register import SCHEMAS

warnings.simplefilter("ignore")
Report = Callable[..., None]
Step = Callable[[], Any]

#: Largest error against float64, relative to the largest element.
TOLERANCE = {torch.float32: 1e-4, torch.float16: 8e-3, torch.bfloat16: 4e-2}
#: input shape, out channels, options of the layer; ragged, grouped, strided, small and several blocks
SHAPES: list[tuple[tuple[int, ...], int, dict[str, Any]]] = [
    ((4, 64, 33, 31), 96, {"kernel_size": 3, "padding": 1}),
    ((3, 48, 29, 17), 80, {"kernel_size": 3, "stride": 2, "padding": 1, "groups": 2}),
    ((2, 128, 14, 14), 512, {"kernel_size": 1}),
    ((5, 3, 64, 64), 64, {"kernel_size": 7, "stride": 2, "padding": 3}),
    ((7, 100, 4, 4), 130, {"kernel_size": 4}),
    ((2, 36, 40, 23), 36, {"kernel_size": (3, 2), "padding": (2, 1), "dilation": (2, 1), "groups": 36}),
]
OPERATORS = [
    "tanh-cos", "seg-sqcos", "ball-cos", "linear-cos", "mix-sqcos", "sphere-cos", "log-cos", "tanh-sqcos",
    "ball-sqcos", "seg-cos", "linear-sqcos", "mix-cos", "sphere-sqcos", "log-sqcos",
]  # fmt: skip
LEARNED = [
    ("power", torch.float32, True), ("power", torch.bfloat16, False), ("spline-spline", torch.float32, False),
    ("spline-spline", torch.bfloat16, True), ("tanh-power", torch.float16, True),
    ("spline-cos", torch.bfloat16, True),
]  # fmt: skip
SETTINGS = [
    {"radius": "relative", "bias": False},
    {"radius": "learned", "bias": True},
    {"radius": 1.5, "bias": False, "weighting": "linear"},
    {"radius": "learned", "bias": False, "weighting": "product"},
]


def _device(dry: bool) -> torch.device:
    return torch.device("cpu" if dry else "cuda")


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def rehearse() -> None:
    """Without a card: the Triton kernels, in the interpreter, in the place of the CPU's."""
    from decoupled_nets.ops.decoupled import triton_launch, triton_radial

    library = torch.library.Library("decoupled_nets", "IMPL")
    for name in SCHEMAS:
        code = getattr(triton_radial if name.startswith("radial") else triton_launch, name)
        library.impl(name, code, "CPU", allow_override=True)
    rehearse.library = library  # type: ignore[attr-defined]
    backend._OF_DEVICE["cpu"] = "triton"
    gpu.missing = lambda index: None  # type: ignore[assignment]


def work(part: str, out: Path, dry: bool, report: Report) -> None:
    """One part in a process of its own."""
    section, _, name = part.partition(":")
    if dry:
        torch.set_num_threads(1)
        rehearse()
    if section == "correct":
        number, count = map(int, name.split("/"))
        correct(report, number, count, dry)
    else:
        compiled(report, name, out, dry)


# --- device ---


def device(report: Report, dry: bool) -> None:
    """What this machine is, and what its memory and its multipliers do at best."""
    found: dict[str, Any] = {"torch": torch.__version__, "cpu_kernels": str(backend.status.capability)}
    found["path"] = "rehearsal" if dry else gpu.reason_against(0) or "Triton kernels"
    with _guard(report, "device", "versions"):
        import triton

        found["triton"] = triton.__version__
    if not dry:
        found["card"] = torch.cuda.get_device_name()
        found["cudnn"] = torch.backends.cudnn.version()
        size = 2**28
        a = torch.empty(size, dtype=torch.bfloat16, device="cuda")
        b = torch.empty_like(a)
        found["copy_tb_s"] = 2 * 2 * size / _milliseconds([lambda: b.copy_(a)], 20)[0] / 1e9
        m = torch.randn(8192, 8192, dtype=torch.bfloat16, device="cuda")
        found["matmul_tflops"] = 2 * 8192**3 / _milliseconds([lambda: m @ m], 20)[0] / 1e9
    report("device", "device", **found)


@contextmanager
def _guard(report: Report, section: str, name: str) -> Iterator[None]:
    with report.guarded(section, name):  # type: ignore[attr-defined]
        yield


def _milliseconds(steps: Sequence[Step], rounds: int, warmup: int = 2) -> list[float]:
    """Median time of each step, in turns."""
    for _ in range(warmup):
        for step in steps:
            step()
    _synchronize()
    times: list[list[float]] = [[] for _ in steps]
    for _ in range(rounds):
        for step, own in zip(steps, times, strict=True):
            own.append(_one(step))
    return [statistics.median(own) for own in times]


def _one(step: Step) -> float:
    if not torch.cuda.is_available():
        start = time.perf_counter()
        step()
        return (time.perf_counter() - start) * 1e3
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    step()
    last.record()
    torch.cuda.synchronize()
    return first.elapsed_time(last)


# --- correctness ---


def correct(report: Report, part: int, parts: int, dry: bool) -> None:
    """This part's share of all cases, each against float64."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.use_deterministic_algorithms(True, warn_only=True)  # and memory that nobody writes is NaN
    cases: list[tuple[str, Callable[[], dict[str, Any]]]] = []
    every = itertools.product(enumerate(SHAPES), TOLERANCE, (False, True))
    for number, ((which, shape), dtype, last) in enumerate(every):
        operator = OPERATORS[number % len(OPERATORS)]
        setting = SETTINGS[(number // 2 + which) % len(SETTINGS)]
        name = f"{operator} {shape[0]} {str(dtype)[6:]} {'last' if last else 'first'} {setting['radius']}"
        cases.append((name, lambda a=(shape, dtype, last, operator, setting): _layer_case(*a, dry)))
    for operator, dtype, last in LEARNED:
        name = f"{operator} {str(dtype)[6:]} {'last' if last else 'first'}"
        cases.append((name, lambda a=(SHAPES[0], dtype, last, operator, {}): _layer_case(*a, dry)))
    cases += [
        ("compiled fullgraph power", lambda: _compiled_case("power", dry)),
        ("compiled fullgraph spline-spline", lambda: _compiled_case("spline-spline", dry)),
        ("autocast", lambda: _network_case(dry, autocast=True)),
        ("same bits twice", lambda: _twice(dry)),
        ("compiled fullgraph tanh-cos", lambda: _compiled_case("tanh-cos", dry)),
        ("compiled fullgraph seg-sqcos linear", lambda: _compiled_case("seg-sqcos", dry, "linear")),
        ("compiled fullgraph tanh-cos autocast", lambda: _compiled_case("tanh-cos", dry, autocast=True)),
        ("cuda graph of a training step", lambda: _captured(dry)),
        ("special values", lambda: _special(dry)),
        ("large offsets", lambda: _large(dry)),
    ]
    if dry:
        cases = cases[:36:7] + cases[36:]
    # The longest first, so that the parts end together.
    for name, case in list(reversed(cases))[part::parts]:
        with _guard(report, "correct", name):
            start = time.time()
            found = case()
            report("correct", name, case=1, seconds=round(time.time() - start, 1), **found)
        _synchronize()


def _results(layer: nn.Module, x: Tensor, cotangent: Tensor) -> dict[str, Tensor]:
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    layer.zero_grad()
    out = layer(x)
    out.backward(cotangent.to(out.dtype))
    return {"out": out.detach(), "x": x.grad, **{n: p.grad for n, p in layer.named_parameters()}}  # type: ignore[dict-item]


def _errors(found: dict[str, Tensor], exact: dict[str, Tensor]) -> dict[str, float]:
    """Largest difference of each, relative to the largest element; infinite where a number is none."""
    return {name: _error(found[name].double(), want.double()) for name, want in exact.items()}


def _error(found: Tensor, want: Tensor) -> float:
    if not bool(found.isfinite().all()):
        return float("inf")
    return ((found - want).abs().max() / want.abs().max().clamp(min=1e-30)).item()


def _judged(own: dict[str, float], composed: dict[str, float], tolerance: float) -> dict[str, Any]:
    worst = max(own, key=lambda name: own[name] / max(tolerance, 2 * composed[name]))
    ok = own[worst] <= max(tolerance, 2 * composed[worst])
    return {"ok": ok, "worst": worst, "error": own[worst], "composed_error": composed[worst]}


def _formatted(x: Tensor, last: bool) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def _layer_case(
    shape: tuple[tuple[int, ...], int, dict[str, Any]], dtype: torch.dtype, last: bool, operator: str,
    setting: dict[str, Any], dry: bool,
) -> dict[str, Any]:  # fmt: skip
    (batch, channels, *size), out, options = shape
    if dry:
        batch, size = 1, [min(n, 9) for n in size]
    if operator.startswith(("log", "mix")) and setting.get("weighting") == "product":
        setting = {**setting, "weighting": "linear"}
    torch.manual_seed(1)
    layer = dn.DecoupledConv2d(channels, out, operator=operator, device=_device(dry), **options, **setting)
    layer = layer.to(dtype=dtype, memory_format=torch.channels_last if last else torch.contiguous_format)
    x = _formatted(torch.randn(batch, channels, *size, device=_device(dry)).to(dtype), last)
    exact_layer = copy.deepcopy(layer).double()
    probe = layer(x)
    taken = dn.last_backend()
    cotangent = torch.randn(probe.shape, device=x.device, dtype=torch.float64)
    cotangent = _formatted(cotangent.to(dtype), last)
    found = _results(copy.deepcopy(layer), x, cotangent)
    with dn.use_backend("composed"):
        composed = _results(copy.deepcopy(layer), x, cotangent)
        exact = _results(exact_layer, x.double(), cotangent.double())
    if taken is None or taken.backend != "triton":
        return {"ok": False, "error": f"the kernels were not taken: {taken}"}
    verdict = _judged(_errors(found, exact), _errors(composed, exact), TOLERANCE[dtype])
    if found["out"].stride() != composed["out"].stride():
        verdict["strides"] = f"{found['out'].stride()} {composed['out'].stride()}"
    return verdict


def _small_network(operator: str = "tanh-cos", **options: Any) -> nn.Sequential:
    def stage(i: int, o: int) -> list[nn.Module]:
        return [
            dn.DecoupledConv2d(i, o, 3, padding=1, bias=False, operator=operator, **options),
            nn.BatchNorm2d(o),
            nn.ReLU(inplace=True),
        ]

    return nn.Sequential(
        *stage(16, 32), *stage(32, 32), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)
    )


def _network_and_input(dry: bool, batch: int = 8, **options: Any) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(2)
    network = _small_network(**options).to(_device(dry), memory_format=torch.channels_last)
    size = 7 if dry else 24
    return network, _formatted(torch.randn(2 if dry else batch, 16, size, size, device=_device(dry)), True)


def _gradients(
    network: nn.Module, x: Tensor, autocast: bool, call: Callable[..., Tensor] | None = None
) -> dict[str, Tensor]:
    network.zero_grad()
    x = x.detach().requires_grad_()
    with torch.autocast(x.device.type, torch.bfloat16, enabled=autocast):
        out = (call or network)(x)
    out.float().square().mean().backward()
    named = {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}
    return {"out": out.detach(), "x": x.grad, **named}  # type: ignore[dict-item]


def _network_case(dry: bool, *, autocast: bool) -> dict[str, Any]:
    network, x = _network_and_input(dry)
    found = _gradients(copy.deepcopy(network), x, autocast)
    with dn.use_backend("composed"):
        composed = _gradients(copy.deepcopy(network), x, autocast)
        exact = _gradients(copy.deepcopy(network).double(), x.double(), False)
    return _judged(_errors(found, exact), _errors(composed, exact), 5e-2)


def _twice(dry: bool) -> dict[str, Any]:
    network, x = _network_and_input(dry)
    first, second = (_gradients(copy.deepcopy(network), x, True) for _ in range(2))
    different = [name for name, value in first.items() if not torch.equal(value, second[name])]
    return {"ok": not different, "different": different}


def _compiled_case(
    operator: str, dry: bool, weighting: str | None = None, autocast: bool = False
) -> dict[str, Any]:
    """Also with other batch sizes, of which only the second is compiled."""
    network, x = _network_and_input(dry, operator=operator, weighting=weighting)
    twin = copy.deepcopy(network)
    call = torch.compile(twin, fullgraph=True, backend="aot_eager" if dry else "inductor")
    every: dict[str, Any] = {}
    for batch in (2, 3) if dry else (8, 6, 5):
        own = torch.cat([x, x])[:batch]
        network.load_state_dict(twin.state_dict())
        found = _gradients(twin, own, autocast, call)
        eager = _gradients(network, own, autocast)
        with dn.use_backend("composed"):
            exact = _gradients(copy.deepcopy(network).double(), own.double(), False)
        every[f"batch {batch}"] = _judged(
            _errors(found, exact), _errors(eager, exact), 0.3 if autocast else 2e-3
        )
    return {"ok": all(v["ok"] for v in every.values()), **every}


def _captured(dry: bool) -> dict[str, Any]:
    """Forward and backward recorded once and replayed with other numbers."""
    network, x = _network_and_input(dry)
    other = torch.randn_like(x)
    expected = _gradients(copy.deepcopy(network), other, True)
    if dry:
        return {"ok": True, "skipped": "no card"}
    stream = torch.cuda.Stream()
    state = copy.deepcopy(network.state_dict())
    static = x.clone().requires_grad_()

    def step() -> Tensor:
        with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
            out = network(static)
        out.float().square().mean().backward()
        return out

    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.synchronize()
    network.zero_grad(set_to_none=True)
    static.grad = None
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = step()
    network.load_state_dict(state)
    with torch.no_grad():
        static.copy_(other)
    graph.replay()
    torch.cuda.synchronize()
    named = {n: p.grad for n, p in network.named_parameters()}
    found = {"out": out.detach(), "x": static.grad, **named}
    errors = _errors(found, expected)  # type: ignore[arg-type]
    worst = max(errors, key=errors.__getitem__)
    return {"ok": errors[worst] < 1e-3, "worst": worst, "error": errors[worst]}


def _special(dry: bool) -> dict[str, Any]:
    """NaN, infinities, zeros and huge radii where the composed ops have them.

    Those of seg come from a choice between its branches: the gradient of ``clamp`` at equal numbers and at a
    NaN differs between versions of torch.
    """
    from decoupled_nets.ops.decoupled import triton_launch

    torch.manual_seed(3)
    wrong = []
    device = _device(dry)
    for magnitude, angle in (("tanh", "cos"), ("ball", "sqcos"), ("seg", "cos"), ("linear", "cos")):
        z = torch.randn(2, 20, 5, 5, device=device)
        norm = torch.rand(2, 1, 5, 5, device=device) + 0.5
        w, r = torch.rand(20, device=device) + 0.5, torch.rand(20, device=device) + 0.5
        z[0, 0, 0, 0], z[0, 1, 1, 1], norm[1, 0, 2, 2] = float("nan"), float("inf"), float("inf")
        z[1, :, 2, 2] = float("inf")  # as the product with an infinite patch is
        r[3], r[4], r[5], w[6] = float("inf"), float("nan"), 1e18, float("nan")
        response = Response(magnitude, angle, 1.2, 0.4)
        leaves = [t.requires_grad_() for t in (z, norm, w, r)]
        if magnitude == "seg":
            n, rho = leaves[1], leaves[3].view(-1, 1, 1)
            h = torch.where(n < rho, 1.2 * n, 0.4 * n + (1.2 - 0.4) * rho)
            expected = leaves[0] / (n * leaves[2].view(-1, 1, 1)) * h
        else:
            expected = epilogue(*leaves[:3], None, leaves[3], None, None, None, *response.arguments)
        grad = torch.randn_like(z)
        wanted = torch.autograd.grad(expected, leaves, grad, allow_unused=True)
        own = [t.detach() for t in leaves]
        given = (*own[1:3], None, own[3])
        operator = None, None, *response.arguments  # no learned halves
        found = triton_launch.epilogue_backward(grad, own[0], *given, *operator, False)
        pairs = [(triton_launch.epilogue(own[0], *given, None, *operator), expected.detach())]
        pairs += zip((*found[:3], found[4]), wanted, strict=True)
        for which, (a, b) in enumerate(pairs):
            if b is None:
                continue
            fine = a.isfinite() & b.isfinite()
            scale = b[fine].abs().max().clamp(min=1e-30) if fine.any() else 1.0
            if (
                not torch.equal(a.isfinite(), b.isfinite())
                or ((a[fine] - b[fine]).abs() > 1e-4 * scale).any()
            ):
                wrong.append(f"{magnitude}-{angle} {which}")
    return {"ok": not wrong, "wrong": wrong}


def _large(dry: bool) -> dict[str, Any]:
    """More than 2³¹ elements: the last image agrees with the same image alone."""
    if dry:
        return {"ok": True, "skipped": "no card"}
    layer = dn.DecoupledConv2d(16, 32, 3, padding=1, bias=False, radius="learned", device="cuda").bfloat16()
    x = torch.zeros(18, 16, 2048, 2048, dtype=torch.bfloat16, device="cuda")
    x[-1].normal_()
    with torch.no_grad():
        same = {}
        for last in (False, True):
            images = _formatted(x, last)
            out = layer(images)[-1:]
            same["last" if last else "first"] = (out - layer(images[-1:])).abs().max().item()
    return {"ok": max(same.values()) < 2e-2, **same}


# --- speed ---


def cnn9(layer: Callable[..., nn.Module], width: float = 1.0) -> nn.Module:
    """The CNN-9 of the papers, all ten convolutions `layer`."""
    modules: list[nn.Module] = []
    channels = 3
    for out in (128, 192, 256):
        out = round(out * width)
        for _ in range(3):
            modules += [
                layer(channels, out, 3, padding=1, bias=False),
                nn.BatchNorm2d(out),
                nn.ReLU(inplace=True),
            ]
            channels = out
        modules.append(nn.MaxPool2d(2, ceil_mode=True))
    modules += [layer(channels, channels, 4, bias=False), nn.Flatten(), nn.Linear(channels, 10)]
    return nn.Sequential(*modules)


def _decoupled(operator: str) -> Callable[..., nn.Module]:
    def make(*arguments: Any, **options: Any) -> nn.Module:
        return dn.DecoupledConv2d(*arguments, operator=operator, **options)

    return make


def resnet50(which: str, operator: str = "tanh-cos") -> nn.Module:
    """Torchvision's with no convolution decoupled ("plain"), "all" but the first, or the "3x3" ones."""
    import torchvision

    network = torchvision.models.resnet50()
    for name, module in list(network.named_modules()):
        fits = isinstance(module, nn.Conv2d) and name != "conv1"
        if not fits or which == "plain" or (which == "3x3" and module.kernel_size != (3, 3)):
            continue
        own = dn.DecoupledConv2d(
            module.in_channels, module.out_channels, module.kernel_size, module.stride, module.padding,
            bias=False, operator=operator,
        )  # fmt: skip
        parent, _, last = name.rpartition(".")
        setattr(network.get_submodule(parent), last, own)
    return network


NETWORKS: dict[str, Callable[[float], nn.Module]] = {
    "cnn9 plain": lambda width: cnn9(nn.Conv2d, width),
    "cnn9 tanh-cos": lambda width: cnn9(_decoupled("tanh-cos"), width),
    "cnn9 seg-sqcos": lambda width: cnn9(_decoupled("seg-sqcos"), width),
    "cnn9 linear-cos": lambda width: cnn9(_decoupled("linear-cos"), width),
    "resnet50 plain": lambda width: resnet50("plain"),
    "resnet50 all": lambda width: resnet50("all"),
    "resnet50 3x3": lambda width: resnet50("3x3"),
}


def _training(name: str, dry: bool, *, compiled: bool = False) -> Step:
    """A training step in bfloat16, channels last, with SGD."""
    composed = name.endswith(" composed")
    name = name.removesuffix(" composed")
    torch.manual_seed(4)
    device = _device(dry)
    network = NETWORKS[name](0.0625 if dry else 1.0).to(device, memory_format=torch.channels_last).train()
    small = name.startswith("cnn9")
    batch, size = (512, 32) if small else (128, 224)
    if dry:
        batch, size = 2, 25 if small else 32
    x = _formatted(torch.randn(batch, 3, size, size, device=device), True)
    labels = torch.randint(10, (batch,), device=device)
    optimizer = torch.optim.SGD(network.parameters(), 1e-3, momentum=0.9, foreach=True)
    call: nn.Module = network
    if compiled:
        how = "aot_eager" if dry else "inductor"
        call = torch.compile(network, fullgraph=True, dynamic=False, backend=how)  # type: ignore[assignment]

    def step() -> float:
        with dn.use_backend("composed") if composed else nullcontext():
            with torch.autocast(device.type, torch.bfloat16):
                loss = nn.functional.cross_entropy(call(x), labels)
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss  # type: ignore[return-value]

    return step


def _peak(step: Step) -> float:
    """MiB that a step holds at most beside what is held before."""
    if not torch.cuda.is_available():
        step()
        return 0.0
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    step()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def _host(step: Step) -> float:
    """Milliseconds until the processor has given all orders."""
    _synchronize()
    start = time.perf_counter()
    step()
    spent = (time.perf_counter() - start) * 1e3
    _synchronize()
    return spent


def eager(report: Report, networks: Sequence[str], dry: bool) -> None:
    """Training steps in eager mode, in turns."""
    if dry:
        rehearse()
    wanted = {
        "cnn9": [
            "cnn9 plain",
            "cnn9 tanh-cos",
            "cnn9 seg-sqcos",
            "cnn9 linear-cos",
            "cnn9 tanh-cos composed",
        ],
        "resnet50": ["resnet50 plain", "resnet50 all", "resnet50 3x3", "resnet50 all composed"],
    }
    rounds = 1 if dry else 10
    if dry:
        wanted = {name: [each[0], each[2]] for name, each in wanted.items()}
    for network in networks:
        steps: dict[str, Step] = {}
        for name in wanted[network]:
            with _guard(report, "eager", name):
                start = time.time()
                step = _training(name, dry)
                step()
                step()
                steps[name] = step
                report("eager", f"{name} ready", seconds=round(time.time() - start, 1))
        times = _milliseconds(list(steps.values()), rounds, warmup=0 if dry else 2)
        for (name, step), milliseconds in zip(steps.items(), times, strict=True):
            report(
                "eager",
                name,
                ms=milliseconds,
                ratio=milliseconds / times[0],
                host_ms=_host(step),
                peak_mib=_peak(step),
            )
        if not dry:
            for name in list(steps)[:2]:
                with _guard(report, "eager", f"{name} profile"):
                    _profile(report, "eager", name, steps[name])
            with _guard(report, "eager", f"{network} captured"):
                _eager_captured(report, {n: s for n, s in steps.items() if not n.endswith("composed")})
        steps.clear()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _captured_step(step: Step) -> Step:
    """The same step recorded as a CUDA graph: one launch."""
    current, aside = torch.cuda.current_stream(), torch.cuda.Stream()
    aside.wait_stream(current)
    with torch.cuda.stream(aside):
        for _ in range(2):
            step()
    current.wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def _eager_captured(report: Report, steps: dict[str, Step]) -> None:
    """Training steps as CUDA graphs, in turns."""
    torch.cuda.empty_cache()
    times = _milliseconds([_captured_step(step) for step in steps.values()], 10)
    for name, milliseconds in zip(steps, times, strict=True):
        report("eager", f"{name} captured", ms=milliseconds, ratio=milliseconds / times[0])


def _profile(report: Report, section: str, name: str, step: Step) -> None:
    """What a step spends its time on."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as found:
        step()
        torch.cuda.synchronize()
    rows = sorted(found.key_averages(), key=lambda row: -row.self_device_time_total)
    total = sum(row.self_device_time_total for row in rows)
    text = "\n".join(
        f"{row.self_device_time_total / 1e3:8.3f} ms {row.count:4d} {row.key[:90]}" for row in rows[:24]
    )
    launches = sum(row.count for row in rows)
    report(section, f"{name} profile", device_ms=total / 1e3, launches=launches, rows=text)


def compiled_cases(networks: Sequence[str], dry: bool) -> list[str]:
    """What is compiled, each in a process of its own: the longest first."""
    every = {
        "resnet50": ["resnet50 all", "resnet50 3x3", "resnet50 plain"],
        "cnn9": ["cnn9 tanh-cos composed", "cnn9 tanh-cos", "cnn9 seg-sqcos", "cnn9 plain"],
    }
    return [name for network in reversed(networks) for name in every[network]][-2 if dry else None :]


def compiled(report: Report, name: str, out: Path, dry: bool) -> None:
    """Compile, wait until all have, then take turns at measuring."""
    start = time.time()
    try:
        step = _training(name, dry, compiled=True)
        step()
        peak = _peak(step)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        report("compiled", f"{name} ready", seconds=round(time.time() - start, 1))
    finally:
        (out / f"ready_{name.replace(' ', '_')}").touch()
    others = compiled_cases(["cnn9", "resnet50"], dry)
    while time.time() - start < 420:
        ready = sum((out / f"ready_{one.replace(' ', '_')}").exists() for one in others)
        logs = sum((out / f"compiled_{one}.log").exists() for one in others)
        if ready >= logs:
            break
        time.sleep(0.5)
    times: list[float] = []
    with (out / "turn.lock").open("w") as lock:
        for _ in range(1 if dry else 4):
            fcntl.flock(lock, fcntl.LOCK_EX)
            times.append(_milliseconds([step], 1 if dry else 8, warmup=1)[0])
            fcntl.flock(lock, fcntl.LOCK_UN)
            time.sleep(0.05)
        report(
            "compiled",
            name,
            ms=statistics.median(times),
            least_ms=min(times),
            most_ms=max(times),
            peak_mib=peak,
        )
        if dry:
            return
        fcntl.flock(lock, fcntl.LOCK_EX)
        with _guard(report, "compiled", f"{name} profile"):
            _profile(report, "compiled", name, step)
        with _guard(report, "compiled", f"{name} captured"):
            replay = _captured_step(step)
            report("compiled", f"{name} captured", ms=_milliseconds([replay], 24)[0])


def layers(report: Report, dry: bool) -> None:
    """Every kernel alone, beside the time that its bytes take at the copy's rate."""
    if dry:
        rehearse()
    from decoupled_nets.ops.decoupled import triton_launch as kernels

    device = _device(dry)
    size = 2**10 if dry else 2**28
    rate = 4 * size / _milliseconds([_copy(size, device)], 1 if dry else 10)[0]  # bytes a millisecond
    shapes = [(512, 128, 32, 32), (512, 192, 16, 16), (512, 256, 8, 8), (128, 256, 56, 56), (128, 512, 7, 7)]
    for shape in [(2, 16, 4, 4)] if dry else shapes:
        for last in (True, False) if shape == shapes[0] or dry else (True,):
            with _guard(report, "layers", str(shape)):
                _layer_times(report, kernels, shape, last, rate, device, dry)


REPEATS = 5


def _copy(size: int, device: torch.device) -> Step:
    a = torch.empty(size, dtype=torch.bfloat16, device=device)
    b = torch.empty_like(a)
    return lambda: b.copy_(a)


def _recorded(step: Step) -> Step:
    """Several runs as one CUDA graph, so that what the processor does in between is not measured."""
    if not torch.cuda.is_available():
        return step
    step()
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        for _ in range(REPEATS):
            step()
    return graph.replay


def _layer_times(
    report: Report,
    kernels: Any,
    shape: tuple[int, ...],
    last: bool,
    rate: float,
    device: torch.device,
    dry: bool,
) -> None:
    x, grad = (_formatted(torch.randn(shape, device=device).bfloat16(), last) for _ in range(2))
    norm = torch.rand(shape[0], 1, *shape[2:], device=device) + 0.5
    channels = torch.rand(shape[1], device=device) + 0.5
    windows = ([3, 3], [1, 1], [1] * 4, [1, 1])
    given = (norm, channels, None, channels)
    steps: dict[str, tuple[int, Step]] = {
        "patch_norm": (1, lambda: kernels.patch_norm(x, *windows, 1, 1e-4)),
        "patch_norm_backward_": (3, lambda: kernels.patch_norm_backward_(grad, norm, x, norm, *windows)),
    }
    of_h = torch.rand_like(norm)
    learned = {
        "power": (of_h, torch.ones(1, 1, device=device)),
        "spline": (of_h, torch.ones(1, 4, device=device)),
    }
    named = ("tanh", "cos"), ("seg", "sqcos"), ("linear", "cos")
    for magnitude, angle in (*named, ("given", "power"), ("given", "spline")):
        operator = (*learned.get(angle, (None, None)), magnitude, angle, 1.0, 0.5)
        steps[f"epilogue_ {magnitude}-{angle}"] = (
            2, lambda operator=operator: kernels.epilogue_(x, *given, None, *operator)
        )  # fmt: skip
        for from_output in (False,) if angle in learned else (True, False):
            name = f"backward {magnitude}-{angle}" + (" from output" if from_output else "")
            steps[name] = (
                3,
                lambda operator=operator, from_output=from_output: kernels.epilogue_backward(
                    grad, x, *given, *operator, from_output
                ),
            )
    times = _milliseconds([_recorded(step) for _, step in steps.values()], 1 if dry else 12)
    if not dry:
        times = [milliseconds / REPEATS for milliseconds in times]
    for (name, (maps, _)), milliseconds in zip(steps.items(), times, strict=True):
        ideal = maps * x.numel() * 2 / rate
        report(
            "layers", f"{name} {shape} {'last' if last else 'first'}", us=milliseconds * 1e3,
            of_bytes_us=ideal * 1e3, times=milliseconds / ideal,
        )  # fmt: skip
