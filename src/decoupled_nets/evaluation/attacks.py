"""Attacks on several networks together, and how RobustBench would list them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .._environment import environment
from ..robustness import Threat
from .attack_config import AttackConfig
from .record import Record
from .transferring import Transfer


@dataclass
class Attacks:
    """Attacks on several networks, as their folder has them.

    Attributes:
        config: What was asked.
        places: Of the networks.
        records: One a network, in their order.
        transfer: What images made on one do to the others; None: not asked.
        data: Of the images, in plain values.
        notes: What has to be said of them.
    """

    config: AttackConfig
    places: list[str]
    records: list[Record]
    transfer: Transfer | None
    data: dict[str, Any]
    notes: list[str]

    @cached_property
    def groups(self) -> dict[str, list[Record]]:
        """Networks that differ in their seed only, by what they have in common."""
        found: dict[str, list[Record]] = {}
        for record in self.records:
            found.setdefault(str(record.summary["group"]), []).append(record)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with RobustBench's keys for each network."""
        return {
            "schema": 1,
            "command": self.config.command(self.places),
            "config": self.config.flat(),
            "data": self.data,
            "environment": environment(),
            "networks": [{**record.summary, **robustbench(record, self.data)} for record in self.records],
            "transfer": None if self.transfer is None else self.transfer.to_dict(),
            "notes": self.notes,
        }


def robustbench(record: Record, data: dict[str, Any]) -> dict[str, Any]:
    """What RobustBench's tables say of a network, under its keys; accuracies in per cent."""
    own, threat = record.summary, Threat.parse(record.summary["threat"])
    clean, robust = (100 * own[name] / own["images"] for name in ("clean", "robust"))
    standard = own["suite"] in ("standard", "deep")
    passes = sum(attack["forwards"] for attack in own["attacks"])
    return {
        "name": own["label"],
        "dataset": data["name"],
        "threat_model": {"linf": "Linf", "l2": "L2"}[threat.norm],
        "eps": threat.size,
        "clean_acc": clean,
        "autoattack_acc": robust if standard else None,
        "reported": robust,
        "number_forward_passes": passes,
        "architecture": own["model"],
        "additional_data": None,
        "unreliable": any(check["flag"] for check in own["checks"]),
    }
