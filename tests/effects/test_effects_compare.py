"""Every option of a comparison, by what it measures; and that it hands on those of the training."""

from __future__ import annotations

import dataclasses
import types
from pathlib import Path

import pytest
import torch
from proofs import proves
from small import SIZES, classify, images, network
from torch import nn

from decoupled_nets._options import owners
from decoupled_nets._statistics import Interval, wilson
from decoupled_nets.compare import CompareConfig, compare, measure
from decoupled_nets.compare import run as runs
from decoupled_nets.experiment import dispatch, job
from decoupled_nets.experiment.table import look
from decoupled_nets.models import PixelNetwork
from decoupled_nets.training import OptimConfig, TaskModule, TrainConfig

SMALL = {
    "data": "synthetic",
    "width": 1 / 32,
    "batch_size": 16,
    "attack_images": 0,
    **SIZES,
    "image_size": 25,
}
OTHER = {
    "model": "cifar_vgg11", "radius": "learned", "weighting": "linear", "plugin": "x", "optimizer": "sgd",
    "schedule": "step", "accelerator": "cpu", "strategy": "ddp", "precision": "64-true", "data": "synthetic",
    "pixel_range": (0.0, 9.0), "warmup": 0.5, "label_smoothing": 0.5, "train_split": ".", "val_split": "v",
    "test_split": "t", "image_column": "i", "label_column": "l", "data_root": "r",
    "mask_column": "m", "class_names": "a,b",
    "adversarial": "pgd", "adversarial_threat": "l2:0.5",
    "recipe": "finetune", "sampling": "balanced", "select": "stages=3",
    "pretrained": True, "weights": "w.pth",
    "start": "converted", "milestones": "0.5", "class_weights": "1,2", "final_lr": 1e-4, "layer_decay": 0.5,
    "degradation": "area", "tile": 64, "upsample": "pac",
    **dict.fromkeys(("momentum", "ema", "drop_rate", "drop_path"), 0.25),
}  # fmt: skip
#: Options of networks that are converted: ours are built with their operator.
FOREIGN = ("select", "pretrained", "start")
DEPTH = ("scale", "degradation", "crop", "crops", "tile", "upsample")
EPOCH = {
    "epoch": 1.0, "train_loss": 1.0, "val_loss": 2.0, "val_accuracy": 0.375, "val_images": 8.0, "lr": 0.1,
    "seconds": 5.0,
}  # fmt: skip


def told(module: TaskModule) -> TaskModule:
    """A module that says it was trained and tested."""
    module.history = [EPOCH]
    module.tested = {"epoch": 1, "loss": 1.0, "accuracy": 0.5, "images": 8, "metrics": {"macro_f1": 0.25}}
    module.outcomes = torch.tensor([[1], [0]] * 4)
    return module


def another(field: dataclasses.Field) -> object:
    """A value that is not the default."""
    if field.name in OTHER:
        return OTHER[field.name]
    if field.name in ("devices", "num_nodes"):
        return field.default
    if isinstance(field.default, str):
        raise AssertionError(f"{field.name} needs a value in OTHER")
    return not field.default if isinstance(field.default, bool) else (field.default or 0) + 1


def test_every_option_of_the_training_reaches_the_runs():
    for name, owner in owners(TrainConfig).items():
        if name in ("operator", "seed", "task"):
            continue
        value = another(next(f for f in dataclasses.fields(owner) if f.name == name))
        model = {"model": "timm:resnet18", "width": 1.0} if name in FOREIGN else {}
        task = {"task": "depth"} if name in DEPTH else {}
        operator = "ddf" if name == "squeeze_ratio" else "conv"
        config = CompareConfig.of(**{**model, **task, "operators": f"tanh-cos,{operator}", name: value})
        assert config.run(operator, 3).flat()[name] == value, name
    assert (config.run("conv", 3).operator, config.run("conv", 3).machine.seed) == ("conv", 3)


def test_the_command_names_what_is_not_the_default():
    config = CompareConfig.of(lr=0.5, augment=False, download=True, operators="conv,ball-cos")
    assert config.command == ("decoupled compare --download --no-augment --lr 0.5 --operators conv,ball-cos")


@pytest.fixture
def trained(monkeypatch):
    """Runs that are named, not trained."""
    made = []

    def fit(module, data, machine, folder, progress, label, **more):
        made.append((folder.name, machine.seed, module.config.epochs, label))
        network = module.network
        width = network.network.num_features
        made[-1] += (width,)
        return told(module)

    monkeypatch.setattr(job, "fit", fit)
    monkeypatch.setattr(runs, "write_report", lambda results, folder: [])
    monkeypatch.setattr(runs, "decide", lambda *args: {})  # no run left what is kept of each image
    monkeypatch.setattr(
        measure, "interleaved_ratios", lambda steps: [measure_ratio(n) for n in range(len(steps))]
    )
    return made


def measure_ratio(n: int) -> types.SimpleNamespace:
    return types.SimpleNamespace(median=2.0 + n, low=1.0 + n, high=3.0 + n)


def compared(folder: Path, **options):
    return compare(
        CompareConfig.of(**{**SMALL, "operators": "conv,tanh-cos", **options}), folder, quiet=True
    )[0]


@proves(CompareConfig, "operators", "seeds", "feature_epochs")
def test_operators_seeds_and_feature_epochs(trained, tmp_path):
    options = {"operators": "tanh-cos,ball-cos", "seed": 5, "seeds": 2, "epochs": 3, "feature_epochs": 7}
    results = compared(tmp_path, **options)
    assert [one[:4] for one in trained] == [
        ("tanh-cos-seed5", 5, 3, "tanh-cos, seed 5"),
        ("ball-cos-seed5", 5, 3, "ball-cos, seed 5"),
        ("tanh-cos-seed6", 6, 3, "tanh-cos, seed 6"),
        ("ball-cos-seed6", 6, 3, "ball-cos, seed 6"),
        ("tanh-cos-features", 5, 7, "tanh-cos, 2-D features"),
        ("ball-cos-features", 5, 7, "ball-cos, 2-D features"),
    ]
    assert [one[4] == 2 for one in trained] == [False] * 4 + [True] * 2
    assert [one.operator for one in results.features] == ["tanh-cos", "ball-cos"]
    trained.clear()
    assert compared(tmp_path / "none", feature_epochs=0).features == []
    assert [one[0] for one in trained] == ["conv-seed0", "tanh-cos-seed0"]


@proves(CompareConfig, "variants")
def test_variants_take_the_place_of_operators(trained, tmp_path):
    text = "plain: operator=conv; few: operator=conv epochs=2; thin: operator=ball-cos width=0.03"
    config = CompareConfig.of(**{**SMALL, "variants": text, "epochs": 3, "feature_epochs": 4})
    results = compare(config, tmp_path, quiet=True)[0]
    assert [(one[0], one[2], one[3]) for one in trained] == [
        ("plain-operator=conv-seed0", 3, "plain"),
        ("few-operator=conv-epochs=2-seed0", 2, "few"),
        ("thin-operator=ball-cos-width=0.03-seed0", 3, "thin"),
        ("plain-operator=conv-features", 4, "plain, 2-D features"),
        ("few-operator=conv-epochs=2-features", 4, "few, 2-D features"),
        ("thin-operator=ball-cos-width=0.03-features", 4, "thin, 2-D features"),
    ]
    for found in (results.runs, results.costs, results.features):
        assert [one.operator for one in found] == ["plain", "few", "thin"]


def test_no_comparison_has_two_numbers_of_threads(trained, tmp_path):
    compared(tmp_path, feature_epochs=0, accelerator="cpu", threads=1)
    trained.clear()
    with pytest.raises(ValueError, match=r"threads = 2 received, and .* had 1.*; needed: threads=1"):
        compared(tmp_path, feature_epochs=0, accelerator="cpu", threads=2, seeds=2)
    assert trained == []
    compared(tmp_path, feature_epochs=0, accelerator="cpu", threads=1, seeds=2)
    assert len(trained) == 2


def test_the_weights_are_tried_as_long_as_a_run_starts_from_them(trained, tmp_path, monkeypatch):
    """Seeds, operators, trials and what they choose start anew, also where other runs are done."""
    begun, begin = [], runs.begin

    def watched(task, config, data):
        begun.append(config.operator)
        return begin(task, config, data)

    monkeypatch.setattr(runs, "begin", watched)

    def tried(restart=False, **options):
        begun.clear()
        config = CompareConfig.of(**{**SMALL, "operators": "conv", "feature_epochs": 0, **options})
        compare(config, tmp_path, quiet=True, restart=restart)
        return bool(begun)

    assert tried()
    assert not tried()
    assert tried(restart=True)
    assert tried(seeds=2)
    assert tried(seeds=2, operators="conv,tanh-cos")
    assert not tried(seeds=2, operators="conv,tanh-cos")
    tuned = {"tune": "lr=1e-2,2e-2", "tune_seeds": 1}
    assert tried(**tuned)
    assert not tried(**tuned)
    run = tmp_path / "runs/conv-lr=0.01-seed0"
    (run / "result.json").rename(run / "last.ckpt")  # under way: `fit` is not asked what it holds
    with monkeypatch.context() as patch:
        patch.setattr(runs, "check_threads", lambda *args: None)
        patch.setattr(job, "begin", lambda task, config, data, folder, **more: begin(task, config, data))
        patch.setattr(measure, "load_network", lambda path: network())
        assert not tried(**tuned)
    for lost in (run, tmp_path / "tune/conv-lr=0.02-seed100000"):
        (lost / "result.json").unlink()
        (lost / "last.ckpt").unlink(missing_ok=True)
        assert tried(**tuned)


def test_costs_are_median_and_quartiles(trained, tmp_path):
    first, second = compared(tmp_path, feature_epochs=0).costs
    assert (first.step_ratio, first.step_ratio_low, first.step_ratio_high) == (2.0, 1.0, 3.0)
    assert (second.operator, second.step_ratio, second.step_ratio_low, second.step_ratio_high) == (
        "tanh-cos",
        3,
        2,
        4,
    )


def finished() -> TaskModule:
    """A module whose network calls bright images class 1 and others class 0."""
    layer = nn.Linear(1, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[-1.0], [1.0]]))
        layer.bias.copy_(torch.tensor([0.5, -0.5]))
    net = nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(), layer)
    return told(TaskModule(net, classify(2), OptimConfig(), 1))


class Bright:
    """40 images with a brightness from 0.3 to 0.7, in two classes."""

    def test_subset(self, n: int):
        shades = torch.linspace(0.3, 0.7, 40)
        return shades.view(-1, 1, 1, 1).expand(-1, 3, 4, 4)[:n].contiguous(), (shades > 0.5).long()[:n]


class Told:
    """What an attack found."""

    accuracy, interval, flags = 0.5, Interval(0.4, 0.6), ("gradients",)

    def __len__(self):
        return 4


def run_of(seed: int = 0, **options):
    config = CompareConfig.of(accelerator="cpu", **options)
    return measure.run_of(finished(), config, Bright(), "conv", seed)


@proves(CompareConfig, "threat", "attack_images")
@pytest.mark.parametrize(
    ("threat", "left"), [("linf:0", 40), ("linf:1/10", 20), ("linf:0.3", 0), ("l2:0.69", 20)]
)
def test_threat_and_images(threat, left):
    # Half of the 40 shades are nearer than 0.1 to the border between the classes; L2 is √48 times as long.
    attacked = run_of(attack_images=40, threat=threat).attacked
    assert {name: (score.value, score.images) for name, score in attacked.items()} == {
        "quick": (left / 40, 40)
    }
    low, high = attacked["quick"].low, attacked["quick"].high
    assert low <= left / 40 <= high
    assert run_of(attack_images=10, threat="linf:0").attacked["quick"].images == 10
    assert run_of(attack_images=0).attacked == {}


def test_checks_that_speak_up_are_kept(monkeypatch):
    monkeypatch.setattr(measure, "evaluate", lambda *given, **options: Told())
    assert run_of(attack_images=4).flags == ("gradients",)


def test_the_attack_starts_by_the_seed_of_the_run(monkeypatch):
    starts = []

    def evaluate(*given, seed):
        starts.append(seed)
        return Told()

    monkeypatch.setattr(measure, "evaluate", evaluate)
    run_of(seed=0, attack_images=4)
    run_of(seed=3, attack_images=4)
    assert starts == [0, 3]


def test_a_run_keeps_what_the_task_measured():
    run = run_of(seed=3)
    (epoch,) = run.history
    assert (epoch.epoch, epoch.train_loss, epoch.val_loss, epoch.val, epoch.seconds) == (1, 1, 2, 0.375, 5)
    interval = wilson(4, 8)
    assert (run.test.value, run.test.images, run.test.interval) == (0.5, 8, interval)
    assert (run.seed, run.parameters, run.further) == (3, 4, {"macro_f1": 0.25})


def test_features_are_those_of_the_normalised_images():
    """The network that was trained saw images behind its normalisation."""
    data = images()

    class Two(nn.Module):
        def forward_features(self, x):
            return x

        def forward_head(self, x, pre_logits=False):
            assert pre_logits
            return x.mean((2, 3))[:, :2]

    module = finished()
    module.network = PixelNetwork(Two(), data.mean, data.std)
    found = measure.features_of(module, CompareConfig.of(accelerator="cpu"), data, "conv")
    pixels, labels = data.val_subset(8)
    means = (pixels.mean((2, 3)) - torch.tensor(data.mean)) / torch.tensor(data.std)
    torch.testing.assert_close(torch.tensor([found.x, found.y]), means[:, :2].T)
    assert found.label == labels.tolist()
    assert found.val == 0.375


def test_progress_counts_every_epoch_once(trained, tmp_path, monkeypatch):
    """Those of the networks with two-dimensional features, too, and those that an earlier call did."""
    seen = []

    class Watched(dispatch.Table):
        def __exit__(self, *error):
            self.rows = look(self.jobs, self.folder, self.since)
            seen.append((self._at_start, self._work_done()))

    monkeypatch.setattr(dispatch, "Table", Watched)
    options = {"operators": "conv", "epochs": 2, "feature_epochs": 3}
    for _ in range(2):
        compared(tmp_path, **options)
    assert seen[0] == (0, 2 + 3)
    assert seen[2] == (2 + 3, 2 + 3)
