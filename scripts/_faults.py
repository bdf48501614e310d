"""Single-line faults that the tests have to catch; scripts/plant_faults.py plants them."""

from __future__ import annotations

from typing import NamedTuple

EFFECTS = "tests/effects/test_effects_"
#: The nearest tests of a file, by the longest beginning of its name that stands here; quick ones first.
NEAREST: dict[str, tuple[str, ...]] = {
    "bench/": (f"{EFFECTS}bench.py", "tests/bench/test_bench_check.py"),
    "calibration/": ("tests/test_what_stays.py", "tests/calibration"),
    "cli/": (f"{EFFECTS}commands.py", "tests/cli/test_cli.py"),
    "cli/export.py": (f"{EFFECTS}export.py",),
    "cli/plot.py": (f"{EFFECTS}plot.py",),
    "compare/": (f"{EFFECTS}compare.py",),
    "conversion/": ("tests/test_what_stays.py", "tests/conversion"),
    "data/": (f"{EFFECTS}data.py", "tests/data"),
    "fusion.py": ("tests/test_fuse.py", "tests/test_fuse_special.py"),
    "hub/": ("tests/test_what_stays.py", "tests/hub"),
    "models/": (
        "tests/models/test_zoo.py",
        "tests/models/test_architectures.py",
        "tests/models/test_cnn9.py",
    ),
    "models/config.py": (f"{EFFECTS}network.py",),
    "models/pixels.py": (f"{EFFECTS}compare.py",),
    "_metric.py": ("tests/reports/test_reports_summary.py",),
    "nn/same_conv.py": ("tests/nn/test_same_pad.py",),
    "nn/upsample.py": ("tests/nn/test_upsample.py",),
    "tasks/": ("tests/tasks/test_tasks.py", "tests/tasks/test_segment.py"),
    "models/segmentation.py": ("tests/tasks/test_segment.py",),
    "data/mask_": ("tests/tasks/test_masks.py",),
    "optim.py": ("tests/test_optim.py",),
    "reports/": (
        "tests/reports/test_reports_drawn.py",
        "tests/reports/test_reports_numbers.py",
        "tests/reports",
    ),
    "reports/bench_tables.py": ("tests/bench/test_bench_report.py",),
    "reports/figures/bench.py": ("tests/bench/test_bench_report.py",),
    "robustness/": ("tests/robustness",),
    "training/": (
        *(f"{EFFECTS}{name}.py" for name in ("optimisation", "machine", "network")),
        "tests/training/test_task.py",
    ),
}


class Fault(NamedTuple):
    """One fault.

    Attributes:
        file: below src/decoupled_nets.
        old: a text that stands in it once.
        new: what takes its place.
    """

    file: str
    old: str
    new: str

    @property
    def tests(self) -> tuple[str, ...]:
        """Files or folders, of which one test has to fail."""
        return NEAREST[max((start for start in NEAREST if self.file.startswith(start)), key=len)]

    def __str__(self) -> str:
        return f"{self.file}: {self.old!r} -> {self.new!r}"


FAULTS = [
    # Data: what is read, cut, augmented and kept.
    Fault("data/transform.py", "y, x = room_y // 2, room_x // 2", "y, x = 0, 0"),
    Fault("data/transform.py", "2 if self.mirror else 1", "2"),
    Fault("data/transform.py", "images.flip(-1)", "images.flip(-2)"),
    Fault("data/transform.py", "astype(np.float32) / 255 if deep", "astype(np.float32) if deep"),
    Fault("data/parquet.py", "row {row - first}", "row {row}"),
    Fault("data/parquet.py", "while len(_held) > window", "while len(_held) > 10 * window"),
    Fault(
        "data/sampling.py",
        "rank_in_class(labels, key).argsort(stable=True)[:size]",
        "labels.argsort(stable=True)[:size]",
    ),
    Fault("data/cut.py", 'key = f"val {config.split_seed}"', 'key = "val 0"'),
    Fault("data/cut.py", 'f"test {config.split_seed}"', '"test 0"'),
    Fault("data/image_data.py", "config.memory * 2**30", "config.memory * 2**10"),
    Fault("data/image_data.py", "variance.sqrt()", "variance"),
    Fault("data/image_data.py", "config.augment, found,", "True, found,"),
    Fault("data/stream.py", "num_workers=0 if one else self._workers", "num_workers=0"),
    Fault(
        "data/sources.py",
        "config.data_root or os.environ.get(ROOT_VARIABLE)",
        "os.environ.get(ROOT_VARIABLE) or config.data_root",
    ),
    Fault("data/sources.py", "root, config.download)", "root, False)"),
    Fault("data/sources.py", "mirror=SETS[config.data].mirror", "mirror=True"),
    Fault("data/sets.py", "collection.mirror and config.mirror", "collection.mirror"),
    Fault("data/loaders.py", "(self._seed, epoch, number) if", "(self._seed, 0, number) if"),
    Fault(
        "data/torchvision_sets.py",
        '"kmnist": _Set(datasets.KMNIST, mirror=False)',
        '"kmnist": _Set(datasets.KMNIST)',
    ),
    # Training: what an option is for.
    Fault("training/module.py", "label_smoothing=self.config.label_smoothing", "label_smoothing=0.0"),
    Fault(
        "training/module.py", "loss + self.config.orthogonality * orthogonality", "loss + 0.0 * orthogonality"
    ),
    Fault("training/module.py", "if config.weighted_gradients:", "if False:"),
    Fault("training/optimizer.py", "momentum=0.9", "momentum=0.0"),
    Fault("training/optimizer.py", "torch.optim.AdamW(groups", "torch.optim.Adam(groups"),
    Fault("training/module.py", "float(self.loss) / images", "float(self.loss)"),
    Fault("training/module.py", "loss.detach() * len(images)", "loss.detach()"),
    Fault(
        "training/config.py",
        '"weighting", "project_every", "weighted_gradients"',
        '"project_every", "weighted_gradients"',
    ),
    Fault(
        "models/config.py",
        '"batch_norm", "relu", "radius", "weighting")',
        '"batch_norm", "relu", "radius")',
    ),
    Fault("training/trainer.py", "WeightProjection(config.project_every)", "WeightProjection(100)"),
    Fault("training/trainer.py", "sync_batchnorm=machine.sync_batchnorm", "sync_batchnorm=False"),
    Fault("training/trainer.py", "num_nodes=machine.num_nodes", "num_nodes=1"),
    Fault(
        "training/trainer.py",
        "accelerator=machine.accelerator, devices=machine.devices",
        'accelerator="auto", devices=machine.devices',
    ),
    Fault("training/callbacks.py", "> 60 * self.minutes", "> self.minutes"),
    Fault("training/callbacks.py", "training loss {loss:.3f}", "training loss {value:.3f}"),
    # Tasks.
    Fault("tasks/segment.py", "outputs.argmax(1).where(labelled, classes)", "outputs.argmax(1)"),
    Fault("tasks/segment.py", "(both / either)[either > 0].mean()", "(both / either.clamp(min=1)).mean()"),
    Fault("tasks/classify.py", "label_smoothing=label_smoothing)", "label_smoothing=0.0)"),
    Fault("data/mask_transform.py", "Image.Resampling.NEAREST", "Image.Resampling.BILINEAR"),
    Fault(
        "data/mask_transform.py", "default_generator.manual_seed(seed)", "default_generator.manual_seed(0)"
    ),
    Fault("data/mask_data.py", "        void.add(VOID)", "        pass"),
    # Comparisons.
    Fault(
        "compare/measure.py",
        "images, labels, attack, config.attack_radius)",
        "images, labels, attack, 8 / 255)",
    ),
    Fault("compare/measure.py", "manual_seed(seed)", "manual_seed(0)"),
    Fault("compare/measure.py", "ratio.median, ratio.low, ratio.high", "ratio.median, ratio.high, ratio.low"),
    Fault("models/pixels.py", "forward_features(self.normalize(images))", "forward_features(images)"),
    Fault(
        "compare/run.py",
        "epochs=config.feature_epochs, features=2",
        "epochs=config.optim.epochs, features=2",
    ),
    Fault("compare/config.py", "self.machine.seed + i for i", "i for i"),
    # Figures, tables, the page.
    Fault(
        "reports/figures/curves.py",
        "lambda epoch: epoch.train_loss)\n        left",
        "lambda epoch: epoch.val_loss)\n        left",
    ),
    Fault("reports/figures/curves.py", "results.metric.scale * epoch.val", "epoch.val"),
    Fault("reports/figures/curves.py", ".argmax()) - 1)", ".argmax()))"),
    Fault(
        "reports/figures/score.py",
        "scale * interval.low, scale * interval.high",
        "scale * interval.low, scale * interval.low",
    ),
    Fault(
        "reports/figures/score.py", "(markers[name], metric.scale * spread.mean)", '("s", 100 * spread.mean)'
    ),
    Fault(
        "reports/figures/features.py",
        "points[0, chosen], points[1, chosen]",
        "points[1, chosen], points[0, chosen]",
    ),
    Fault("reports/figures/filters.py", "filters.spatial[column].numpy()", "filters.spatial[0].numpy()"),
    Fault("reports/figures/filters.py", "(place + 0.5) * scale - 0.5", "place * 1.0"),
    Fault(
        "reports/figures/operators.py",
        "(operator.h(norm, RADIUS) * operator.g(cosine))",
        "operator.h(norm, RADIUS)",
    ),
    Fault("reports/figures/operators.py", "op.g(theta.cos())", "op.g(theta / 4)"),
    Fault(
        "reports/figures/bench.py",
        "[ratio.median for ratio in found], color",
        "[ratio.low for ratio in found], color",
    ),
    Fault(
        "reports/figures/bench.py", "axes.plot(ratio.median, at, marker", "axes.plot(ratio.high, at, marker"
    ),
    Fault("reports/tables.py", "fmt.epochs(reach.epochs) + part", "fmt.epochs(reach.seconds) + part"),
    Fault("reports/page.py", '("val_size", "validation image")', '("test_size", "validation image")'),
    Fault("_metric.py", "value == target or self.is_better", "self.is_better"),
    Fault("reports/sections/convergence.py", "if several > 2:", "if several > 1:"),
    Fault(
        "reports/bench_tables.py",
        "_ratio(one.forward), _ratio(one.both)",
        "_ratio(one.both), _ratio(one.forward)",
    ),
    # The command line.
    Fault("cli/compare.py", "config.attack_radius * 255", "config.attack_radius"),
    Fault("cli/train.py", "{e['val_loss']:.4f}", "{e['train_loss']:.4f}"),
    Fault(
        "cli/plot.py",
        "config.layer, config.positions, config.channels",
        "config.layer, config.channels, config.positions",
    ),
    Fault(
        "cli/plot.py", "figures.operator_geometry(names, config.theme)", "figures.operator_geometry(names)"
    ),
    Fault("cli/export.py", "fuse=config.fuse", "fuse=True"),
    Fault("cli/export.py", "dynamic_size=config.dynamic_size", "dynamic_size=None"),
    Fault("cli/export.py", "(config.image_size,) * 2", "trained.image_size"),
    Fault("cli/bench.py", "fresh=given.fresh", "fresh=False"),
    # Benchmarks.
    Fault(
        "bench/conv.py", "own = case.build(operator, config.radius)", 'own = case.build(operator, "learned")'
    ),
    Fault("bench/conv.py", "case, x, config.rounds)", "case, x, 7)"),
    Fault("bench/grids.py", "LayerCase(_share(batch, 8), c, c, size)", "LayerCase(batch, c, c, size)"),
    # Layers and networks.
    Fault("nn/same_conv.py", "missing = missing if span >= step else max(missing, 0)", "missing = missing"),
    Fault("nn/upsample.py", 'mode="replicate"', 'mode="constant"'),
    Fault("models/timm_registry.py", 'name.startswith(("imagenet_", "modified_"))', "False"),
    Fault("models/cnn9.py", "nn.BatchNorm2d(width, eps=blocks.bn_eps)", "nn.BatchNorm2d(width)"),
    Fault(
        "models/network.py",
        'made: dict[str, Any] = {"device": like.device, "dtype": like.dtype}',
        'made: dict[str, Any] = {"device": like.device}',
    ),
    Fault("models/network.py", "self.head_drop = nn.Dropout(drop_rate)", "self.head_drop = nn.Dropout(0.0)"),
    # Conversion, calibration, saving.
    Fault("conversion/dynamic.py", "requires_grad_(module.weight.requires_grad)", "requires_grad_(True)"),
    Fault("conversion/dynamic.py", "mix.bias.copy_(module.bias)", "mix.bias.mul_(1)"),
    Fault("conversion/dynamic.py", "return out.train(module.training)", "return out"),
    Fault(
        "conversion/twins.py",
        "with parametrizations_in_evaluation(module):  # spectral_norm",
        "with torch.no_grad():  # spectral_norm",
    ),
    Fault("conversion/twins.py", 'for name in ("radius", "kappa"):', 'for name in ("radius",):'),
    Fault("conversion/engine.py", "module.training = mode", "pass"),
    Fault("conversion/copies.py", "random.setstate(states[0])", "pass"),
    Fault("conversion/copies.py", "np.random.set_state(states[1])", "pass"),
    Fault("calibration/layers.py", "layer.num_updates.fill_(1000)", "layer.num_updates.fill_(0)"),
    Fault(
        "calibration/layers.py",
        "(self.seen.deviation > 1e-12) & (wanted.deviation > 1e-12)",
        "self.seen.deviation > 1e-12",
    ),
    Fault("calibration/batch_norm.py", "self.norm.momentum = self.momentum", "pass"),
    Fault("calibration/batch_norm.py", "self.norm.eval()", "pass"),
    Fault("hub/files.py", "folder / WEIGHTS).eval()", "folder / WEIGHTS)"),
    Fault("hub/files.py", "with torch.random.fork_rng():  # weights", "with torch.enable_grad():  # weights"),
    Fault("hub/files.py", '"token": token}\n        folder', '"token": None}\n        folder'),
    Fault("hub/recipe.py", '"std": normalize.std', '"std": normalize.mean'),
    Fault("hub/values.py", '"weights", "url", "file")', '"weights")'),
    Fault("hub/proof.py", "random.setstate(drawn[0])", "pass"),
    # Robustness, optimisation, fusing.
    Fault(
        "robustness/attacks/pgd10.py", "images.shape, generator=generator)", "images.shape, generator=None)"
    ),
    Fault("robustness/surviving.py", "right = _predict(model, some) == truth", "right = truth == truth"),
    Fault("optim.py", "[p for p in module.parameters() if p.requires_grad]", "list(module.parameters())"),
    Fault("fusion.py", "nn.Sequential(parts.drop, parts.act)", "nn.Sequential(parts.drop)"),
    Fault("fusion.py", "if names[c] == names[n] == 1 and", "if"),
]
