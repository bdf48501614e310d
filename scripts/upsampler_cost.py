"""What upsamplers cost beside nearest-neighbour interpolation: processor time, memory, parameters.

Every upsampler is first checked against itself in float64; then forward passes and training steps are timed
in interleaved rounds, by the processor's time of this process, so that other programs count little. By
default the size is that of a pyramid's largest step in a detector at 800×1344. Writes JSON.

    OMP_NUM_THREADS=1 python scripts/upsampler_cost.py --out runs/upsampler_cost.json
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import decoupled_nets as dn
from decoupled_nets._environment import environment
from decoupled_nets._files import write_text
from decoupled_nets._measure import interleaved_ratios, peak_bytes

BASELINE = "nearest"
Step = Callable[[], object]


def main() -> dict[str, Any]:
    """Check, measure, print a table and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--channels", type=int, default=256)
    parser.add_argument("--size", type=int, nargs=2, default=[100, 168], help="height and width of the input")
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--guidance-channels", type=int, default=256)
    parser.add_argument("--upsamplers", nargs="*", default=dn.list_upsamplers())
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("runs/upsampler_cost.json"))
    arguments = parser.parse_args()
    names = [BASELINE, *(name for name in arguments.upsamplers if name != BASELINE)]
    results = measured(
        names, arguments.channels, tuple(arguments.size), arguments.scale, arguments.guidance_channels,
        arguments.rounds,
    )  # fmt: skip
    settings = {key: value for key, value in vars(arguments).items() if key != "out"}
    content = {"settings": settings, "environment": environment(), "results": results}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_text(arguments.out, json.dumps(content, indent=2) + "\n")
    print(table(results))
    return content


def measured(
    names: list[str], channels: int, size: tuple[int, ...], scale: int, guidance: int, rounds: int
) -> list[dict[str, Any]]:
    """One entry an upsampler, the baseline first."""
    torch.manual_seed(0)
    x = torch.randn(1, channels, *size)
    g = torch.randn(1, guidance, *(scale * n for n in size))
    layers = [dn.upsampler(name, channels, scale, guidance) for name in names]
    errors = [checked(name, layer, x, g) for name, layer in zip(names, layers, strict=True)]
    forward = [forward_step(layer, x, g) for layer in layers]
    training = [training_step(layer, x, g) for layer in layers]
    seconds = baseline_seconds(forward[0]), baseline_seconds(training[0])
    ratios = [interleaved_ratios(steps, rounds, 1, time.process_time) for steps in (forward, training)]
    return [
        {
            "upsampler": name,
            "parameters": sum(p.numel() for p in layers[i].parameters()),
            "error": errors[i],
            "forward": asdict(ratios[0][i]), "training": asdict(ratios[1][i]),
            "forward_peak_bytes": peak_bytes(forward[i]), "training_peak_bytes": peak_bytes(training[i]),
            "baseline_seconds": {"forward": seconds[0], "training": seconds[1]},
        }
        for i, name in enumerate(names)
    ]  # fmt: skip


@torch.no_grad()
def checked(name: str, layer: nn.Module, x: Tensor, g: Tensor) -> float:
    """The largest difference from the same layer in float64, in parts of the largest output.

    Raises:
        ValueError: it is no rounding; nothing is measured then.
    """
    wanted = copy.deepcopy(layer).double()(x.double(), g.double())
    error = float((layer(x, g).double() - wanted).abs().max() / wanted.abs().max())
    if not error <= 1e-4:
        raise ValueError(f"{name} differs from itself in float64 by {error:.1e}; needed: at most 1e-4")
    return error


def forward_step(layer: nn.Module, x: Tensor, g: Tensor) -> Step:
    """A forward pass without gradients."""

    def step() -> object:
        with torch.no_grad():
            return layer(x, g)

    return step


def training_step(layer: nn.Module, x: Tensor, g: Tensor) -> Step:
    """A forward and a backward pass, to the input, the guidance and the parameters."""
    into = [x.clone().requires_grad_(), g.clone().requires_grad_(), *layer.parameters()]

    def step() -> object:
        y = layer(*into[:2])
        return torch.autograd.grad(y, into, torch.ones_like(y), allow_unused=True)

    return step


def baseline_seconds(step: Step) -> float:
    """Processor time of one run, the least of three."""
    found = []
    for _ in range(3):
        start = time.process_time()
        step()
        found.append(time.process_time() - start)
    return min(found)


def table(results: list[dict[str, Any]]) -> str:
    """Markdown; times and memory are ratios to the baseline's."""
    lines = [
        "| upsampler | parameters | forward | training step | memory, forward | memory, step |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    first = results[0]
    for entry in results:
        memory = [entry[key] / first[key] for key in ("forward_peak_bytes", "training_peak_bytes")]
        lines.append(
            f"| `{entry['upsampler']}` | {entry['parameters']:,} | {entry['forward']['median']:.2f} | "
            f"{entry['training']['median']:.2f} | {memory[0]:.2f} | {memory[1]:.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
