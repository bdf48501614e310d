"""The jobs of a comparison, and what each of them does: any process on any machine can do one."""

from __future__ import annotations

import json
from typing import Any

from .._files import write_text
from ..experiment import Job, Work
from ..reports.results import to_plain
from ..tasks import find_task
from ..training import TaskModule
from ..training.step import root_device
from .config import CompareConfig
from .measure import costs_of, features_of, run_of

EXAMPLES = "examples.json"


def runs_of(config: CompareConfig) -> list[Job]:
    """The runs, by seed and then by operator."""
    return [_run(config, operator, seed) for seed in config.all_seeds for operator in config.names]


def _run(config: CompareConfig, operator: str, seed: int) -> Job:
    return Job(
        f"runs/{operator}-seed{seed}",
        f"{__name__}:do_run",
        config.run(operator, seed),
        f"{operator}, seed {seed}" if config.seeds > 1 else operator,
        arguments={"comparison": config.flat()},
    )


def features_jobs(config: CompareConfig) -> list[Job]:
    """The networks with two-dimensional features, if the task has them."""
    if not config.feature_epochs or "features" not in find_task(config.task).sections:
        return []
    return [
        Job(
            f"runs/{operator}-features",
            f"{__name__}:do_features",
            config.run(operator, config.machine.seed, epochs=config.feature_epochs),
            f"{operator}, 2-D features",
            {"features": 2},
            {"comparison": config.flat()},
        )
        for operator in config.names
    ]


def costs_job(config: CompareConfig) -> Job:
    """What a step of each operator costs: to be done when nothing else is."""
    return Job(
        f"runs/costs-{'-'.join(config.names)}",
        f"{__name__}:do_costs",
        config.run(config.names[0], config.machine.seed),
        "the cost of a step",
        arguments={"comparison": config.flat()},
    )


def do_run(work: Work, comparison: dict[str, Any]) -> Any:
    """Train a network, and measure it."""
    config = CompareConfig.of(**comparison)
    module, seed = work.train(), work.config.machine.seed
    if seed == config.machine.seed:
        _keep_examples(work, module)
    return to_plain(run_of(module, config, work.data, work.config.operator, seed))


def _keep_examples(work: Work, module: TaskModule) -> None:
    """Write the pictures of what a network does, if its task has some."""
    network = module.network.float().to(root_device(work.config.machine))
    made = work.task.examples(network, work.data)
    if made is not None:
        write_text(work.folder / EXAMPLES, json.dumps(made._asdict()))


def do_features(work: Work, comparison: dict[str, Any]) -> Any:
    """Train a network with two-dimensional features, and keep those of the validation images."""
    config = CompareConfig.of(**comparison)
    return to_plain(features_of(work.train(), config, work.data, work.config.operator))


def do_costs(work: Work, comparison: dict[str, Any]) -> Any:
    """Measure what a training step costs with each operator, in alternation."""
    return to_plain(costs_of(work.task, CompareConfig.of(**comparison), work.data))
