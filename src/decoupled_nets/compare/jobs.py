"""The jobs of a comparison, and what each of them does: any process on any machine can do one."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

from safetensors.torch import save

from .._files import write_atomically, write_text
from ..experiment import Job, Work
from ..networks import gives_features
from ..reports import format as fmt
from ..reports.results import Trial, to_plain
from ..tasks import find_task
from ..training import TaskModule
from ..training.folder import OUTCOMES
from ..training.step import root_device
from .config import CompareConfig
from .measure import adversarial_of, costs_of, features_of, history, run_of, scored
from .tuning import Setting, settings
from .variants import digest_of

EXAMPLES = "examples.json"
BASELINES = "baselines"
_LONGEST = 200  # bytes of a folder's name: file systems take 255, and seeds come on top


def runs_of(config: CompareConfig, chosen: Mapping[str, Setting] | None = None) -> list[Job]:
    """The runs, by seed and then by operator; `chosen` has the settings of operators that were tuned."""
    return [
        _run(config, operator, seed, (chosen or {}).get(operator, {}))
        for seed in config.all_seeds
        for operator in config.names
    ]


def _run(config: CompareConfig, operator: str, seed: int, setting: Setting) -> Job:
    return Job(
        f"runs/{_place(config, operator, setting)}-seed{seed}",
        f"{__name__}:do_run",
        config.run(operator, seed, **setting),
        _label(operator, _changed(config, operator, setting), f"seed {seed}" if config.seeds > 1 else ""),
        arguments={"label": operator, "comparison": config.flat()},
    )


def trials_of(config: CompareConfig) -> list[Job]:
    """What tuning tries: every operator, setting and seed."""
    return [
        Job(
            f"tune/{_place(config, operator, setting, every=True)}-seed{seed}",
            f"{__name__}:do_trial",
            config.run(operator, seed, **setting),
            _label(operator, setting, f"seed {seed}" if config.tune_seeds > 1 else ""),
            arguments={"label": operator, "setting": setting},
        )
        for seed in config.trial_seeds
        for setting in settings(config.tune)
        for operator in config.names
    ]


def features_jobs(config: CompareConfig, chosen: Mapping[str, Setting] | None = None) -> list[Job]:
    """The networks with two-dimensional features, if the task has them."""
    if not (config.feature_epochs and "features" in find_task(config.task).sections):
        return []
    return [
        Job(
            f"runs/{_place(config, operator, setting)}-features",
            f"{__name__}:do_features",
            config.run(operator, config.machine.seed, **{**setting, "epochs": config.feature_epochs}),
            f"{operator}, 2-D features",
            {"features": 2},
            {"label": operator, "comparison": config.flat()},
        )
        for operator in config.names
        for setting in [(chosen or {}).get(operator, {})]
        if gives_features(config.run(operator, config.machine.seed).network)
    ]


def _place(config: CompareConfig, operator: str, setting: Setting, *, every: bool = False) -> str:
    """The name of an operator and of a setting: of what it changes, so that an untuned run is one of all."""
    named = setting if every else _changed(config, operator, setting)
    place = "-".join([config.variant(operator).place, *(f"{name}={value}" for name, value in named.items())])
    if len(raw := place.encode()) <= _LONGEST:
        return place
    return f"{raw[: _LONGEST - 13].decode(errors='ignore')}-{digest_of(place)}"


def _changed(config: CompareConfig, operator: str, setting: Setting) -> Setting:
    usual = config.run(operator, config.machine.seed).flat()
    return {name: value for name, value in setting.items() if usual[name] != value}


def _label(operator: str, setting: Setting, seed: str) -> str:
    return ", ".join(filter(None, [operator, fmt.setting(setting), seed]))


def costs_job(config: CompareConfig, chosen: Mapping[str, Setting] | None = None) -> Job:
    """What a step of each operator costs, with the setting it was given: to be done when nothing else is."""
    chosen = dict(chosen or {})
    places = [_place(config, operator, chosen.get(operator, {})) for operator in config.names]
    return Job(
        f"runs/costs-{digest_of(','.join(places))}",
        f"{__name__}:do_costs",
        config.run(config.names[0], config.machine.seed),
        "the cost of a step",
        arguments={"comparison": config.flat(), "chosen": chosen},
    )


def baselines_job(config: CompareConfig) -> Job:
    """What the task's data gives without training."""
    return Job(
        f"runs/{BASELINES}",
        f"{__name__}:do_baselines",
        config.run(config.names[0], config.machine.seed),
        "without training",
    )


def do_baselines(work: Work) -> Any:
    """Scores on the test images of what needs no training, by name; what is kept of each image stays, too."""
    found = work.task.baselines(work.data)
    write_atomically(work.folder / OUTCOMES, lambda file: file.write(save(found)))
    return {name: to_plain(scored(work.task, outcomes)) for name, outcomes in found.items()}


def do_run(work: Work, label: str, comparison: dict[str, Any]) -> Any:
    """Train a network, and measure it."""
    config = CompareConfig.of(**comparison)
    module, seed = work.train(), work.config.machine.seed
    if seed == config.machine.seed:
        _keep_examples(work, module)
    run = run_of(module, config, work.data, label, seed)
    return to_plain(dataclasses.replace(run, start=work.start))


def do_trial(work: Work, label: str, setting: Setting) -> Any:
    """Train a network with a setting; only the validation images are asked, attacked if training attacks."""
    module = work.train(test=False)
    epochs, robust = history(module), adversarial_of(module)
    # The logits of a network that diverged have a largest one, too: its score would look like a score.
    val = (
        math.nan
        if any(math.isnan(epoch.train_loss) for epoch in epochs)
        else robust.get("pgd", epochs[-1].val)
    )
    return to_plain(Trial(label, setting, work.config.machine.seed, val))


def _keep_examples(work: Work, module: TaskModule) -> None:
    """Write the pictures of what a network does, if its task has some."""
    network = module.network.float().to(root_device(work.config.machine))
    made = work.task.examples(network, work.data)
    if made is not None:
        write_text(work.folder / EXAMPLES, json.dumps(made._asdict()))


def do_features(work: Work, label: str, comparison: dict[str, Any]) -> Any:
    """Train a network with two-dimensional features, and keep those of the validation images."""
    config = CompareConfig.of(**comparison)
    return to_plain(features_of(work.train(test=False), config, work.data, label))


def do_costs(work: Work, comparison: dict[str, Any], chosen: dict[str, Setting]) -> Any:
    """Measure what a training step costs with each operator, in alternation."""
    config, folder = CompareConfig.of(**comparison), work.folder.parents[1]
    first = runs_of(config, chosen)[: len(config.names)]
    measured = [(job.arguments["label"], job.config, folder / job.name) for job in first]
    return to_plain(costs_of(work.task, measured, work.data))
