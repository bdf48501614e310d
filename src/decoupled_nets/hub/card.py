"""The model card: what a network is, what was measured of it, and how it is loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import yaml
from torch import nn

from ..nn.operator import DecoupledMixin

LOADING = """```python
import decoupled_nets as dn

model = dn.from_pretrained({place!r})  # a folder, or its name on the Hugging Face Hub
```
"""


def model_card(model: nn.Module, config: dict[str, Any], place: str) -> str:
    """A README.md with the metadata that the Hugging Face Hub reads.

    Args:
        model: the network.
        config: its configuration; ``results`` in it become a table.
        place: where it will be loaded from.
    """
    results = config.get("results") or {}
    data = {
        "library_name": "decoupled-nets",
        "tags": ["pytorch", "decoupled-convolution", f"{config['source']}/{config['model']}"],
    }
    parts = [
        f"---\n{yaml.safe_dump(data, sort_keys=False)}---\n",
        f"# {config['model']}\n\n{_about(model, config)}\n",
        f"## Results\n\n{_table(results)}",
        f"## Loading\n\n{LOADING.format(place=place)}",
    ]
    if "normalize" in config:
        parts.append("It takes pixels in [0, 1]: normalisation is its first layer.\n")
    return "\n".join(parts)


def _about(model: nn.Module, config: dict[str, Any]) -> str:
    layers = Counter(str(m.operator) for m in model.modules() if isinstance(m, DecoupledMixin))
    kinds = ", ".join(f"{count} with `{operator}`" for operator, count in layers.items())
    count = sum(p.numel() for p in model.parameters())
    lines = [
        f"The network `{config['model']}` of {config['source']}, {count:,} parameters.",
        f"Decoupled layers: {kinds or 'none'}.",
    ]
    arguments = ", ".join(f"`{k} = {v!r}`" for k, v in config["arguments"].items() if not isinstance(v, dict))
    if arguments:
        lines.append(f"Built with {arguments}.")
    return "\n".join(lines)


def _table(results: Mapping[str, Any]) -> str:
    if not results:
        return "None were measured.\n"
    rows = [f"| {_cell(name)} | {_cell(value)} |" for name, value in results.items()]
    return "\n".join(["| | |", "| --- | ---: |", *rows]) + "\n"


def _cell(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
