"""Tables for which nothing is trained: figures that are counted, computed, or measured of single layers."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import torch

from .._environment import environment
from .._files import write_text
from ..reports.pictures import Picture
from ..training import MachineConfig
from ..training.step import root_device
from .clock import judge_measured, measured_layers
from .count import counted, judge_counted
from .reproduction import RESULTS, Reproduction
from .responses import answered, pictures_of
from .run import options_of
from .table import Table


def reproduce_untrained(
    table: Table, scale: str, folder: Path, *, cells: str = "", machine: MachineConfig | None = None
) -> Reproduction:
    """Count, compute or measure what a table is about, where nothing is trained.

    Args:
        table: the paper's.
        scale: one of the table's.
        folder: where ``reproduction.json`` goes.
        cells: labels of the table's cells, separated by commas; empty: all.
        machine: what layers are measured on; by default the processor.

    Raises:
        ValueError: there is no such cell or scale.
    """
    options_of(table, scale)  # refuses a scale that is none
    chosen = table.chosen(scale, cells)
    pictures: list[Picture] = []
    if table.measured == "counting":
        ours, how = counted(table, chosen), "counted; nothing is trained"
        verdicts = [judge_counted(table, one, ours) for one in table.hypotheses]
    elif table.measured == "drawing operators":
        ours, how, verdicts = answered(table, chosen), "computed; nothing is trained", []
        pictures = pictures_of(table, chosen)
    else:
        device = root_device(machine or MachineConfig(accelerator="cpu"))
        ours, ratios = measured_layers(table, chosen, device)
        verdicts = [judge_measured(table, one, ours, ratios, device) for one in table.hypotheses]
        how = f"measured on {device.type} with {torch.get_num_threads()} threads; nothing is trained"
    some = [] if chosen == table.chosen(scale) else ["--cells", ",".join(chosen)]
    now = environment()
    said = ", ".join(f"{key} {value}" for key, value in now.items() if value)
    facts = {"Paper": table.source, "How": how, "Environment": said}
    found = Reproduction(
        table, scale, chosen, ours, verdicts, environment=now, facts=facts, pictures=pictures,
        command=shlex.join(["decoupled", "reproduce", table.name, *some]),
        configuration={cell: dict(table.cells[cell]) for cell in chosen},
    )  # fmt: skip
    write_text(folder / RESULTS, json.dumps(found.to_dict(), indent=1, ensure_ascii=False))
    return found
