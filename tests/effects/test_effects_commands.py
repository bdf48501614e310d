"""The options that are a command's own, and the way of every field from the command line."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from proofs import proves
from small import SIZES, classify

from decoupled_nets._options import flat, owners
from decoupled_nets.bench import run as bench_run
from decoupled_nets.cli import compare as compare_command
from decoupled_nets.cli import train as train_command
from decoupled_nets.cli.main import main
from decoupled_nets.tasks import find_task
from decoupled_nets.training import AdversarialConfig, OptimConfig, TaskModule

WORDS = ["--data", "synthetic", "--width", "0.03", "--epochs", "1", "--image-size", "25"]
WORDS += [
    word for n, v in SIZES.items() if n != "image_size" for word in (f"--{n.replace('_', '-')}", str(v))
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    assert main(["train", *WORDS, "--out", str(folder)]) == 0
    return folder


@proves("train", "out", "resume", "restart")
def test_out_resume_and_restart(run, tmp_path, capsys):
    folder = tmp_path / "copy"
    shutil.copytree(run, folder)
    stamp = (folder / "last.ckpt").stat().st_mtime_ns
    assert main(["train", *WORDS, "--out", str(folder)]) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert main(["train", "--resume", "--out", str(folder)]) == 0  # options are those of the run
    assert (folder / "last.ckpt").stat().st_mtime_ns == stamp
    assert main(["train", *WORDS, "--seed", "1", "--restart", "--out", str(folder)]) == 0
    assert (folder / "last.ckpt").stat().st_mtime_ns != stamp
    assert yaml.safe_load((folder / "config.yaml").read_text())["seed"] == 1
    assert main(["train", "--resume", "--restart", "--out", str(folder)]) == 2


def test_the_table_of_a_run(run, capsys, monkeypatch):
    """Every number stands under its heading."""
    monkeypatch.setenv("COLUMNS", "200")
    module = TaskModule.__new__(TaskModule)
    monkeypatch.setattr(TaskModule, "global_rank", 0)
    module.__dict__["history"] = [
        {
            "epoch": 1,
            "train_loss": 1.5,
            "val_loss": 2.25,
            "val_accuracy": 0.75,
            "val_images": 4,
            "seconds": 6.5,
        }
    ]
    module.__dict__["task"] = classify()
    module.__dict__["tested"] = {"epoch": 1, "accuracy": 0.6, "images": 100}
    module.__dict__["config"] = OptimConfig()
    module.__dict__["adversarial"] = AdversarialConfig()
    module.__dict__["outcomes"] = (torch.arange(100) < 60).long()[:, None]
    monkeypatch.setattr(train_command, "train", lambda *args, **more: module)
    assert main(["train", *WORDS]) == 0
    out = capsys.readouterr().out
    heads, line = (
        [cell.strip() for cell in row.replace("┃", "│").split("│")[1:-1]]
        for row in out.splitlines()
        if "training loss" in row or "1.5000" in row
    )
    assert dict(zip(heads, line, strict=True)) == {
        "epoch": "1", "training loss": "1.5000", "validation loss": "2.2500", "validation accuracy": "75.0%",
        "seconds": "6.5",
    }  # fmt: skip
    assert "of epoch 1: test accuracy 60.0 % of 100 images (95 % interval 50.2–69.1)." in out
    assert "best.ckpt, chosen by" in " ".join(out.split())
    module.__dict__["config"] = OptimConfig(ema=0.9)
    assert main(["train", *WORDS]) == 0
    assert "best.ckpt, the moving average of the weights, chosen by" in " ".join(
        capsys.readouterr().out.split()
    )


def test_an_interrupt_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    """By the same options, but for the one that would begin anew."""

    def interrupted(*args, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(train_command, "train", interrupted)
    monkeypatch.setattr(compare_command, "compare", interrupted)
    folder = tmp_path / "a run"
    assert main(["train", "--lr", "0.5", "--restart", "--out", str(folder)]) == 130
    said = capsys.readouterr().err
    assert f"Go on with: decoupled train --resume --out '{folder}'\n" in said
    assert main(["compare", "--lr", "0.5", "--restart", "--out", str(folder)]) == 130
    said = capsys.readouterr().err
    assert f"What is done is kept in {folder}." in said
    assert f"Go on with: decoupled compare --lr 0.5 --out '{folder}'\n" in said


@proves("compare", "out", "restart")
def test_compare_out_and_restart(tmp_path, monkeypatch, capsys):
    calls = []

    def compare(config, folder, *, restart):
        calls.append((folder, restart, config.threat))
        from report_cases import make_results

        return make_results(), [folder / "report.html"]

    monkeypatch.setattr(compare_command, "compare", compare)
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "reports")
    assert main(["compare", "--out", str(tmp_path / "a")]) == 0
    said = capsys.readouterr().out
    assert "FGSM and PGD-10, L∞ 8/255" in said
    assert "upper bounds, no claim of robustness" in said
    assert f"decoupled attack {tmp_path / 'a'} --suite standard" in said
    assert main(["compare", "--restart", "--out", str(tmp_path / "b"), "--threat", "l2:0.5"]) == 0
    assert "L2 0.5" in capsys.readouterr().out
    assert [call[:2] for call in calls] == [(tmp_path / "a", False), (tmp_path / "b", True)]


@proves("bench conv", "out", "fresh")
@proves("bench ddf", "out", "fresh")
@pytest.mark.parametrize("subject", ["conv", "ddf"])
def test_bench_out_and_fresh(subject, tmp_path, monkeypatch):
    """A folder of an interrupted benchmark is gone on with, unless everything is to be measured anew."""
    kept = []
    monkeypatch.setattr(bench_run, "_unfinished", lambda path, results: (kept.append(path), [])[1])
    monkeypatch.setattr(bench_run, "_fill", lambda subject, results, config, path, quiet: None)
    monkeypatch.setattr(bench_run, "png", lambda figure: b"")
    file = tmp_path / f"{subject}.json"
    file.write_text("{}")
    for words, expected in (([], [file]), (["--fresh"], [])):
        kept.clear()
        assert main(["bench", subject, "--out", str(tmp_path), *words]) == 0
        assert kept == expected
        assert (tmp_path / f"{subject}.png").exists()


@proves("plot operators", "out")
@proves("plot filters", "out")
@pytest.mark.parametrize("subject", ["operators", "filters"])
def test_plot_out(subject, tmp_path, monkeypatch):
    from small import images

    from decoupled_nets import DDF2d
    from decoupled_nets.cli import plot

    monkeypatch.setattr(plot, "load_network", lambda path: DDF2d(3).eval())
    monkeypatch.setattr(plot, "_image", lambda config: images().test_image(0)[0][0])
    monkeypatch.setattr(plot.figures, "png", lambda figure: b"picture")
    words = ["--operators", "ball-cos"] if subject == "operators" else ["--checkpoint", "x"]
    assert main(["plot", subject, *words, "--out", str(tmp_path)]) == 0
    names = {"operators": {"functions.png", "geometry.png"}, "filters": {"filters.png"}}[subject]
    assert {path.name for path in tmp_path.iterdir()} == names


#: A command, what it needs beside, and an option with two values.
COMMANDS = {
    "train": (["train"], "lr"),
    "compare": (["compare"], "lr"),
    "bench conv": (["bench", "conv"], "width"),
    "bench ddf": (["bench", "ddf"], "width"),
    "data": (["data"], "memory"),
    "plot operators": (["plot", "operators"], "operators"),
    "plot filters": (["plot", "filters", "--checkpoint", "x"], "layer"),
    "export": (["export", "x"], "image_size"),
    "distil": (["distil", "x"], "images"),
}


class Built(Exception):
    """Brings the configuration out before it is used."""


@pytest.fixture
def config_of(monkeypatch):
    """The configuration that a command line leads to."""
    from decoupled_nets.cli.options import Options

    build = Options.build

    def stop(self, given, argv):
        raise Built(build(self, given, argv))

    monkeypatch.setattr(Options, "build", stop)

    def make(words):
        with pytest.raises(Built) as built:
            main(words)
        return built.value.args[0]

    return make


@proves("train", "config")
@proves("compare", "config")
@proves("bench conv", "config")
@proves("bench ddf", "config")
@proves("data", "config")
@proves("plot operators", "config")
@proves("plot filters", "config")
@proves("export", "config")
@proves("distil", "config")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_of_options_and_options_beside_it(command, config_of, tmp_path):
    words, name = COMMANDS[command]
    one, other = {"operators": ("ball-cos", "tanh-cos"), "layer": ("a", "b")}.get(name, (3, 4))
    path = tmp_path / "options.yaml"
    path.write_text(yaml.safe_dump({name: one}))
    assert flat(config_of([*words, "--config", str(path)]))[name] == one
    beside = [*words, "--config", str(path), f"--{name.replace('_', '-')}", str(other)]
    assert flat(config_of(beside))[name] == other


VALUES = {
    "model": "cifar_vgg11", "optimizer": "sgd", "schedule": "step", "weighting": "linear",
    "radius": "learned", "operators": "ball-cos", "operator": "ball-cos", "grid": "all",
    "paths": "composed", "theme": "dark",
    "format": "pt2", "task": "segment", "pixel_range": "[1.0, 2.0]", "sampling": "balanced",
    "milestones": "0.5,0.6", "class_weights": "balanced", "recipe": "resnet32", "final_lr": "0.0001",
    "select": "layer1.*", "threat": "l2:0.5", "adversarial": "pgd", "suite": "quick",
    "adversarial_threat": "l2:0.5", "start": "converted", "tune": "lr=0.1,0.2", "engine": "slurm",
    "candidates": "ball-cos", "split": "test", "accelerator": "cpu",
    "degradation": "area", "upsample": "pac", "variants": "a: lr=0.1; b: lr=0.2", "upsamplers": "pac,ddf",
    "tile": "64",
}  # fmt: skip
VALUES |= dict.fromkeys(("squeeze_ratio", "warmup", "label_smoothing", "lr", "size"), "0.5")
VALUES |= dict.fromkeys(("momentum", "ema", "drop_rate", "drop_path", "layer_decay"), "0.25")
#: What options need beside themselves.
NEEDS = {
    "select": ["--model", "timm:resnet18"], "pretrained": ["--model", "timm:resnet18"],
    "gpus_per_job": ["--engine", "ray"], "slurm": ["--engine", "slurm", "--slurm", "time=5"],
}  # fmt: skip
DEPTH = ("scale", "degradation", "crop", "crops", "tile", "upsample", "upsamplers")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_field_is_an_option(command, config_of):
    words, _ = COMMANDS[command]
    default = config_of(words)
    for name, kind in owners(type(default)).items():
        field = next(f for f in dataclasses.fields(kind) if f.name == name)
        if field.name in ("plugin", "devices", "num_nodes"):
            continue  # --plugin is imported; a comparison takes one device, and a batch as many as divide it
        before = flat(default)[field.name]
        option = field.name.replace("_", "-")
        if isinstance(before, bool) or str(field.type).startswith("bool"):
            given = [f"--no-{option}" if before else f"--{option}"]
        elif field.name in VALUES:
            given = [f"--{option}", "relative" if before == "learned" else VALUES[field.name]]
        elif isinstance(before, int | float) or str(field.type).startswith("int"):
            given = [f"--{option}", str((before or 0) + 1)]
        else:
            given = [f"--{option}", "other"]
        given += NEEDS.get(field.name, [])
        if field.name == "squeeze_ratio":
            given += ["--operators" if "operators" in flat(default) else "--operator", "ddf"]
        given += ["--task", "depth"] if field.name in DEPTH and "task" in flat(default) else []
        assert flat(config_of([*words, *given]))[field.name] != before, field.name


def test_devices_and_nodes(config_of):
    config = config_of(["train", "--devices", "2", "--num-nodes", "4"])
    assert (config.machine.devices, config.machine.num_nodes) == (2, 4)


def test_a_path_stands_for_data(monkeypatch, capsys):
    monkeypatch.setattr(find_task("classify"), "describe", lambda config: config.data)
    assert main(["data", "some/where"]) == 0
    assert capsys.readouterr().out == "some/where\n"
