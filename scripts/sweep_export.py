"""Export every network with every operator to ONNX, run the files, and write docs/export.md.

Each export adds a line to the record; a second call goes on with those that are missing. Networks are a
sixteenth as wide as they are meant to be: the graphs are the same.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import torch

import decoupled_nets as dn
from decoupled_nets._files import write_text
from decoupled_nets.export import export_network
from decoupled_nets.ops.angle import angles
from decoupled_nets.ops.magnitude import magnitudes

ALIASES = {"cifar_cnn9", "resnet32"}
NETWORKS = [n for n in dn.list_models() if n not in ALIASES and not n.startswith("ddf_")]
OPERATORS = ["conv", *(f"{h}-{g}" for g in angles for h in magnitudes)]


def image_size(name: str) -> int:
    """The least that suits a network."""
    return 224 if "imagenet_vgg" in name else 32 if name.startswith("c") else 64


def attempt(name: str, operator: str, folder: str) -> dict[str, object]:
    """One export, as a line of the record."""
    torch.manual_seed(0)
    model = dn.create_model(name, 10, width=1 / 16, operator=operator).eval()
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
        "the worst over the operators. Standard ONNX operators only. Written by `scripts/sweep_export.py`.\n"
        "\n"
        "| Network | Operators exported | failed | Largest relative difference |\n"
        "| --- | ---: | ---: | ---: |\n"
    )
    for name in NETWORKS:
        own = [line for line in lines if line["network"] == name]
        good = [line["difference"] / line["scale"] for line in own if "error" not in line]
        worst = f"{max(good):.1e}" if good else "–"
        text += f"| `{name}` | {len(good)} of {len(OPERATORS)} | {len(own) - len(good)} | {worst} |\n"
    return text


def main() -> None:
    """Go on with the record, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", type=Path, default=Path("runs/sweep_export.jsonl"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs" / "export.md")
    arguments = parser.parse_args()
    arguments.record.parent.mkdir(parents=True, exist_ok=True)
    arguments.record.touch()
    lines = [json.loads(text) for text in arguments.record.read_text().splitlines()]
    done = {(line["network"], line["operator"]) for line in lines}
    write_text(arguments.out, page(lines))
    with tempfile.TemporaryDirectory() as folder:
        # In this order the first thirty exports have every network and every operator among them.
        for turn in range(len(OPERATORS)):
            for i, name in enumerate(NETWORKS):
                operator = OPERATORS[(turn + 3 * i) % len(OPERATORS)]
                if (name, operator) in done:
                    continue
                lines.append(attempt(name, operator, folder))
                with arguments.record.open("a") as file:
                    file.write(json.dumps(lines[-1]) + "\n")
                write_text(arguments.out, page(lines))
    print(f"Written to {arguments.out}")


if __name__ == "__main__":
    main()
