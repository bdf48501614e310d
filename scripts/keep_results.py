"""Write what a comparison or a reproduction found as one short file of docs/results, which pages can name.

    scripts/keep_results.py runs/long ddf-cifar-long

The file has the command (of folders their names alone), the data and their digest, versions and machine,
the figure of each seed, and differences with their intervals. `tests/test_figures.py` compares with it what
pages say.
"""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import Any

from decoupled_nets._files import write_text
from decoupled_nets.compare import CompareConfig
from decoupled_nets.compare.decide import decide
from decoupled_nets.compare.jobs import runs_of
from decoupled_nets.reports.results import Results, to_plain
from decoupled_nets.tasks import find_task

KEPT = Path(__file__).parents[1] / "docs" / "results"
REPRODUCTION = "reproduction.json"


def main() -> None:
    """Read the command line, and write the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="of a comparison or a reproduction")
    parser.add_argument("name", help="of the file in docs/results, without .json")
    options = parser.parse_args()
    path = keep(options.folder, KEPT / f"{options.name}.json")
    print(f"Written: {path}")


def keep(folder: Path, path: Path) -> Path:
    """Write the short file of `folder` to `path`."""
    reproduction = folder / REPRODUCTION
    found = of_reproduction(reproduction) if reproduction.is_file() else of_comparison(folder)
    write_text(path, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    return path


def of_reproduction(path: Path) -> dict[str, Any]:
    """A reproduction's own file, with names in place of folders."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    options = {
        name: named(value) if isinstance(value, str) else value for name, value in found["options"].items()
    }
    command = without_folders(found["command"])
    return {**found, "command": command, "data": data_of(found["data"]), "options": options}


def of_comparison(folder: Path) -> dict[str, Any]:
    """What a comparison measured on test images, in the units in which pages have it."""
    results = Results.load(folder / "results.json")
    config = CompareConfig.of(**{k: v for k, v in results.config.items() if k != "command"})
    kind = find_task(config.task)
    scale = results.metric.scale
    chosen = {} if results.tuning is None else results.tuning.chosen
    jobs = runs_of(config, chosen)
    folders = {(job.arguments["label"], job.config.machine.seed): folder / job.name for job in jobs}
    task = kind.of(kind.load(config.data))
    return {
        "command": without_folders(results.config["command"]),
        "data": data_of(results.data),
        "environment": results.environment,
        "metric": {"name": results.metric.name, "unit": results.metric.unit, "better": results.metric.better},
        "seeds": results.seeds,
        "margin": scale * results.margin,
        "chosen": chosen,
        "ours": {
            name: [scale * run.test.value for run in results.of(name)] for name in results.operators
        },
        "training_loss": {
            name: [run.history[-1].train_loss for run in results.of(name)] for name in results.operators
        },
        "untrained": {name: scale * score.value for name, score in results.baselines.items()},
        "differences": {
            baseline: {
                name: to_plain(
                    {
                        "ours": scale * one.mean,
                        "interval": one.interval and [scale * end for end in one.interval],
                        "verdict": one.verdict(results.margin),
                        "sees": one.detectable and scale * one.detectable,
                    }
                )
                for name, one in decide(task, results.runs, baseline, folders).items()
            }
            for baseline in results.operators
        },
    }  # fmt: skip


def data_of(data: dict[str, Any]) -> dict[str, Any]:
    """Name, sizes and digest."""
    kept = ("name", "train_size", "val_size", "test_size", "image_size", "in_chans", "digest")
    return {name: data[name] for name in kept if name in data}  # where nothing is trained there are none


def without_folders(command: str) -> str:
    """A command line whose absolute paths are their last parts."""
    words = (word.partition("=") for word in shlex.split(command))
    return shlex.join(f"{named(word)}{equals}{named(value)}" for word, equals, value in words)


def named(text: str) -> str:
    """The last part of an absolute path; other texts as they are."""
    return Path(text).name if text.startswith(("/", "~")) else text


if __name__ == "__main__":
    main()
