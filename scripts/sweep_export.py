"""Export every network with every operator it takes to ONNX, run the files, and write docs/export.md.

Each export adds a line to the record; a second call goes on with those that are missing. Networks are a
sixteenth as wide as they are meant to be: the graphs are the same.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

import _record
import decoupled_nets as dn
from decoupled_nets._files import write_text
from decoupled_nets.export import export_network
from decoupled_nets.ops.decoupled.angle import angles
from decoupled_nets.ops.decoupled.magnitude import magnitudes

ALIASES = {"cifar_cnn9", "resnet32"}
NETWORKS = [n for n in dn.list_models() if n not in ALIASES]
OPERATORS = ["conv", *(f"{h}-{g}" for g in angles for h in magnitudes)]
#: Of networks with dynamic filters. What they make of a decoupled operator the other networks have, too.
DYNAMIC = ["ddf", "ddf-add", "conv", "dw"]


def operators(name: str) -> list[str]:
    """Those a network is exported with."""
    return DYNAMIC if name.startswith("ddf_") else OPERATORS


def exports() -> Iterator[tuple[str, str]]:
    """Networks and operators, in an order whose first rounds have every network and every operator."""
    for turn in itertools.count():
        some = [(i, n) for i, n in enumerate(NETWORKS) if turn < len(operators(n))]
        if not some:
            return
        for i, name in some:
            yield name, operators(name)[(turn + 3 * i) % len(operators(name))]


def image_size(name: str) -> int:
    """The least that suits a network."""
    return 224 if "imagenet_vgg" in name else 32 if name.removeprefix("ddf_").startswith("c") else 64


def woken(model: nn.Module) -> nn.Module:
    """With BatchNorms of ones where residual branches begin with zeros, which would hide all they compute."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and not module.weight.any():
            nn.init.ones_(module.weight)
    return model


def attempt(name: str, operator: str, folder: str) -> dict[str, object]:
    """One export, as a line of the record."""
    torch.manual_seed(0)
    model = woken(dn.create_model(name, 10, width=1 / 16, operator=operator)).eval()
    size = image_size(name)
    line: dict[str, object] = {"network": name, "operator": operator}
    try:
        done = export_network(
            model, f"{folder}/net.onnx", image_size=(size, size), dynamic_size=False, rounds=2
        )
    except Exception as error:
        return {**line, "error": str(error).splitlines()[0]}
    return {**line, "difference": done.difference, "scale": done.scale}


def page(lines: list[dict]) -> str:
    """The record as a table."""
    text = (
        "# ONNX\n\nEvery network with every operator, fused, exported by `torch.onnx.export` and run by "
        "onnxruntime on batches of 1 and 5: largest difference to PyTorch relative to the largest output, "
        "the worst over the operators. Standard ONNX operators only. Networks with dynamic filters "
        f"(`ddf_…`) are exported with {', '.join(f'`{name}`' for name in DYNAMIC)}. "
        "Written by `scripts/sweep_export.py`.\n"
        "\n"
        "| Network | Operators exported | failed | Largest relative difference |\n"
        "| --- | ---: | ---: | ---: |\n"
    )
    for name in NETWORKS:
        own = [line for line in lines if line["network"] == name]
        good = [line["difference"] / line["scale"] for line in own if "error" not in line]
        worst = f"{max(good):.1e}" if good else "–"
        text += f"| `{name}` | {len(good)} of {len(operators(name))} | {len(own) - len(good)} | {worst} |\n"
    for line in lines:
        if "error" in line:
            text += f"\nFailed: `{line['network']}` with {line['operator']}: {line['error']}.\n"
    return text


def main() -> None:
    """Go on with the record, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", type=Path, default=Path("runs/sweep_export.jsonl"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs" / "export.md")
    arguments = parser.parse_args()
    lines = _record.read(arguments.record)
    done = {(line["network"], line["operator"]) for line in lines}
    write_text(arguments.out, page(lines))
    with tempfile.TemporaryDirectory() as folder:
        for name, operator in exports():
            if (name, operator) in done:
                continue
            lines.append(attempt(name, operator, folder))
            _record.append(arguments.record, lines[-1])
            write_text(arguments.out, page(lines))
    print(f"Written to {arguments.out}")


if __name__ == "__main__":
    main()
