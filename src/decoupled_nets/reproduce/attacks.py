"""What attacks leave of the networks of a table: jobs beside its runs, for any worker."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from ..compare import CompareConfig
from ..evaluation.device import device_of
from ..evaluation.targets import Target, find_targets
from ..experiment import Job, Work
from ..experiment.job import RESULT, result_of
from ..robustness import Threat, attack_named, evaluate
from ..robustness.victim import Victim
from ..training.folder import LAST

#: What cannot stand in the name of a folder everywhere.
_PLAIN = str.maketrans("/:", "__")
#: Attacks whose images are also made on another network; the names of these figures begin so.
TRANSFERRED = ("fgsm", "bim")
PREFIX = "transfer_"
#: The figures that attacks give.
NAMES = (*TRANSFERRED, "standard", *(f"{PREFIX}{name}" for name in TRANSFERRED))


def attack_jobs(runs: list[Job], config: CompareConfig, place: Path, surrogate: str) -> list[Job]:
    """One job for every finished run; each is called by the weights that it attacks.

    Args:
        runs: of the comparison.
        config: the comparison; `attack_images` and `threat` say what is attacked.
        place: where it lies.
        surrogate: the cell on which images of black-box attacks are made, with the next of the seeds: no
            network gets images that were made on itself. Empty: there are none.
    """
    done = {
        (job.arguments["label"], job.config.machine.seed): job
        for job in runs
        if (place / job.name / RESULT).is_file() and (place / job.name / LAST).is_file()
    }
    jobs = []
    for (label, seed), run in done.items():
        seeds = config.all_seeds
        other = done.get((surrogate, seeds[(seeds.index(seed) + 1) % len(seeds)]))
        other = other if other is not None and other.name != run.name else None
        marks = [_mark(place / one.name) for one in (run, other) if one is not None]
        known = f"{Threat.parse(config.threat).spelled.translate(_PLAIN)}-{config.attack_images}"
        arguments = {
            "run": run.name, "surrogate": None if other is None else other.name,
            "images": config.attack_images, "threat": config.threat,
        }  # fmt: skip
        name = f"attacks/{label}-seed{seed}-{known}-{'-'.join(marks)}"
        jobs.append(Job(name, f"{__name__}:do_attack", run.config, f"{run.title}, attacks", {}, arguments))
    return jobs


def _mark(run: Path) -> str:
    return _target(run).digest[:8]


def _target(run: Path) -> Target:
    return find_targets([str(run)])[0]


def do_attack(work: Work, run: str, surrogate: str | None, images: int, threat: str) -> Any:
    """Attack a trained network by the suites `paper` and `standard`, and with images of a surrogate.

    Returns:
        By figure, for each image whether it is still classified correctly; none of a network that diverged.
    """
    place, seed = work.folder.parents[1], work.config.machine.seed
    pl.seed_everything(seed, verbose=False)
    device = device_of("cpu" if work.config.machine.accelerator == "cpu" else "auto")
    given, labels = (one.to(device) for one in work.data.test_subset(images))
    network = _target(place / run).network(work.data).float().to(device).eval()
    if not _gives_numbers(network, given):
        names = [name for name in NAMES if surrogate is not None or not name.startswith(PREFIX)]
        return {"left": {name: [0] * len(given) for name in names}, "flags": ["its outputs are no numbers"]}
    weak, strong = (
        evaluate(network, given, labels, threat, suite, seed=seed, state=work.folder / suite)
        for suite in ("paper", "standard")
    )
    broken = {stage.name: stage.broken for stage in weak.stages}
    left = {name: weak.clean.cpu() & ~broken[name].cpu() for name in TRANSFERRED}
    left["standard"] = strong.robust
    if surrogate is not None:
        source = _target(place / surrogate).network(work.data).float().to(device).eval()
        victim, own = Victim(source), Victim(network)
        for name in TRANSFERRED:
            made = _made(victim, name, given, labels, Threat.parse(threat), seed)
            left[f"{PREFIX}{name}"] = weak.clean.cpu() & (own.predict(made) == labels).cpu()
    return {
        "left": {name: mask.int().cpu().tolist() for name, mask in left.items()},
        "flags": strong.flags,
    }


@torch.no_grad()
def _gives_numbers(network: torch.nn.Module, images: Tensor) -> bool:
    return bool(network(images[:1]).isfinite().all())


def _made(victim: Victim, name: str, images: Tensor, labels: Tensor, threat: Threat, seed: int) -> Tensor:
    """Images that an attack makes on a network, in its batches."""
    known = attack_named(name)
    pairs = zip(images.split(victim.batch_size), labels.split(victim.batch_size), strict=True)
    return torch.cat([known(victim, some, truth, threat, seed=seed).images for some, truth in pairs])


def flagged(jobs: list[Job], place: Path) -> list[str]:
    """Networks whose attacks could have failed for reasons of their own, and the checks that say so."""
    done = [job for job in jobs if (place / job.name / RESULT).is_file()]
    flags = [(job.title.removesuffix(", attacks"), result_of(job, place)["flags"]) for job in done]
    return [f"{title}: {', '.join(own)}" for title, own in flags if own]


def left_of(
    jobs: list[Job], place: Path, label_of: Mapping[str, str]
) -> dict[str, dict[str, dict[int, Any]]]:
    """What finished attacks left: by figure, cell and seed, 0 or 1 for each image.

    Args:
        jobs: of the attacks.
        place: of the comparison.
        label_of: the cell of each run's folder.
    """
    found: dict[str, dict[str, dict[int, Any]]] = {}
    for job in jobs:
        if (place / job.name / RESULT).is_file():
            label, seed = label_of[job.arguments["run"]], job.config.machine.seed
            for name, left in result_of(job, place)["left"].items():
                found.setdefault(name, {}).setdefault(label, {})[seed] = np.asarray(left, dtype=float)
    return found
