"""Single-line faults that the tests have to catch; scripts/plant_faults.py plants them."""
# ruff: noqa: E501

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    """One fault.

    Attributes:
        file: below src/decoupled_nets.
        old: a text that stands in it once.
        new: what takes its place.
        tests: files or folders, of which one test has to fail.
    """

    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.file}: {self.old!r} -> {self.new!r}"


PROTOCOL, BATCHES, SOURCES = (f"tests/data/test_{name}.py" for name in ("protocol", "batches", "sources"))
LAYOUTS, SETS = "tests/data/test_layouts.py", "tests/data/test_sets.py"
FIGURES = "tests/reports/test_reports_figures.py"

FAULTS = [
    # Data: what is read, cut, augmented and kept.
    Fault("data/transform.py", "y, x = room_y // 2, room_x // 2", "y, x = 0, 0", (PROTOCOL,)),
    Fault("data/transform.py", "2 if self.mirror else 1", "2", (PROTOCOL, BATCHES)),
    Fault("data/transform.py", "images.flip(-1)", "images.flip(-2)", (PROTOCOL, BATCHES)),
    Fault("data/transform.py", "astype(np.float32) / 255 if deep", "astype(np.float32) if deep", (PROTOCOL,)),
    Fault("data/parquet.py", "row {row - first}", "row {row}", (SOURCES, BATCHES)),
    Fault("data/parquet.py", "while len(_held) > window", "while len(_held) > 10 * window", (SOURCES, BATCHES)),
    Fault("data/sampling.py", "rank_in_class(labels, key).argsort(stable=True)[:size]",
          "labels.argsort(stable=True)[:size]", (BATCHES, SETS)),
    Fault("data/cut.py", 'key = f"val {config.split_seed}"', 'key = "val 0"', (SETS, PROTOCOL)),
    Fault("data/cut.py", 'f"test {config.split_seed}"', '"test 0"', (SETS, PROTOCOL)),
    Fault("data/image_data.py", "config.memory * 2**30", "config.memory * 2**10", (PROTOCOL, BATCHES)),
    Fault("data/image_data.py", "variance.sqrt()", "variance", (PROTOCOL, BATCHES)),
    Fault("data/image_data.py", "config.augment, _found(", "True, _found(", (PROTOCOL, BATCHES)),
    Fault("data/stream.py", "num_workers=0 if one else self._workers", "num_workers=0", (PROTOCOL, BATCHES)),
    Fault("data/sources.py", "config.data_root or os.environ.get(ROOT_VARIABLE)",
          "os.environ.get(ROOT_VARIABLE) or config.data_root", (SOURCES,)),
    Fault("data/sources.py", "root, config.download)", "root, False)", (SOURCES,)),
    Fault("data/sources.py", "mirror=SETS[config.data].mirror", "mirror=True", (SOURCES,)),
    Fault("data/sets.py", "collection.mirror and config.mirror", "collection.mirror", (SETS, PROTOCOL)),
    Fault("data/loaders.py", "(self._seed, epoch, number) if", "(self._seed, 0, number) if", (BATCHES,)),
    Fault("data/torchvision_sets.py", '"kmnist": _Set(datasets.KMNIST, mirror=False)',
          '"kmnist": _Set(datasets.KMNIST)', (SOURCES,)),
    # Training: what an option is for.
    Fault("training/task.py", "label_smoothing=self.config.label_smoothing", "label_smoothing=0.0",
          ("tests/training/test_task.py", "tests/training/test_identity.py")),
    Fault("training/task.py", "loss + self.config.orthogonality * orthogonality", "loss + 0.0 * orthogonality",
          ("tests/training/test_task.py", "tests/training/test_identity.py")),
    Fault("training/task.py", "if config.weighted_gradients:", "if False:", ("tests/training/test_task.py",)),
    Fault("training/task.py", "momentum=0.9", "momentum=0.0", ("tests/training/test_task.py",)),
    Fault("training/task.py", "torch.optim.AdamW(groups", "torch.optim.Adam(groups",
          ("tests/training/test_task.py",)),
    Fault("training/task.py", "float(self.loss) / total", "float(self.loss)",
          ("tests/training/test_task.py", "tests/training/test_identity.py")),
    Fault("training/task.py", "loss.detach() * len(labels)", "loss.detach()",
          ("tests/training/test_task.py", "tests/training/test_identity.py")),
    Fault("training/config.py", '"weighting", "project_every", "weighted_gradients"',
          '"project_every", "weighted_gradients"', ("tests/training/test_task.py",)),
    Fault("training/config.py", '"batch_norm", "relu", "radius", "weighting")', '"batch_norm", "relu", "radius")',
          ("tests/training/test_task.py", "tests/training/test_identity.py")),
    Fault("training/run.py", "WeightProjection(config.project_every)", "WeightProjection(100)",
          ("tests/training/test_task.py", "tests/training/test_identity.py")),
    Fault("training/run.py", "sync_batchnorm=machine.sync_batchnorm", "sync_batchnorm=False",
          ("tests/training/test_task.py",)),
    Fault("training/run.py", "num_nodes=machine.num_nodes", "num_nodes=1", ("tests/training/test_task.py",)),
    Fault("training/run.py", "accelerator=machine.accelerator, devices=machine.devices",
          'accelerator="auto", devices=machine.devices', ("tests/training/test_task.py",)),
    Fault("training/callbacks.py", "> 60 * self.minutes", "> self.minutes", ("tests/training/test_task.py",)),
    Fault("training/callbacks.py", "training loss {loss:.3f}", "training loss {accuracy:.3f}",
          ("tests/training/test_task.py", "tests/training/test_identity.py")),
    # Comparisons.
    Fault("compare/measure.py", "images, labels, attack, config.attack_radius)", "images, labels, attack, 8 / 255)",
          ("tests/compare/test_compare.py",)),
    Fault("compare/measure.py", "manual_seed(seed)", "manual_seed(0)", ("tests/compare/test_compare.py",)),
    Fault("compare/measure.py", "ratio.median, ratio.low, ratio.high", "ratio.median, ratio.high, ratio.low",
          ("tests/compare/test_compare.py",)),
    Fault("compare/measure.py", "inner.forward_features(network.normalize(images))",
          "inner.forward_features(images)", ("tests/compare/test_compare.py",)),
    Fault("compare/run.py", "epochs=config.feature_epochs, features=2", "epochs=config.epochs, features=2",
          ("tests/compare/test_compare.py",)),
    Fault("compare/config.py", "self.seed + i for i", "i for i", ("tests/compare/test_compare.py",)),
    # Figures, tables, the page.
    Fault("reports/figures/curves.py", "lambda epoch: epoch.train_loss)\n        left",
          "lambda epoch: epoch.val_loss)\n        left", ("tests/reports",)),
    Fault("reports/figures/curves.py", "100 * epoch.val.accuracy", "epoch.val.accuracy", ("tests/reports",)),
    Fault("reports/figures/curves.py", ".argmax()) - 1)", ".argmax()))", ("tests/reports",)),
    Fault("reports/figures/accuracy.py", "100 * interval.low, 100 * interval.high",
          "100 * interval.low, 100 * interval.low", ("tests/reports",)),
    Fault("reports/figures/accuracy.py", "(markers[name], 100 * spread.mean)", '("s", 100 * spread.mean)',
          ("tests/reports",)),
    Fault("reports/figures/features.py", "points[0, chosen], points[1, chosen]",
          "points[1, chosen], points[0, chosen]", ("tests/reports",)),
    Fault("reports/figures/filters.py", "filters.spatial[column].numpy()", "filters.spatial[0].numpy()",
          (FIGURES, "tests/cli/test_cli_ddf.py")),
    Fault("reports/figures/filters.py", "(place + 0.5) * scale - 0.5", "place * 1.0",
          (FIGURES, "tests/cli/test_cli_ddf.py")),
    Fault("reports/figures/operators.py", "(operator.h(norm, RADIUS) * operator.g(cosine))",
          "operator.h(norm, RADIUS)", ("tests/reports",)),
    Fault("reports/figures/operators.py", "op.g(theta.cos())", "op.g(theta / 4)", ("tests/reports",)),
    Fault("reports/figures/bench.py", "[ratio.median for ratio in found], color", "[ratio.low for ratio in found], color",
          ("tests/bench/test_bench_report.py",)),
    Fault("reports/figures/bench.py", "axes.plot(ratio.median, at, marker", "axes.plot(ratio.high, at, marker",
          ("tests/bench/test_bench_report.py",)),
    Fault("reports/tables.py", "fmt.epochs(reach.epochs) + part", "fmt.epochs(reach.seconds) + part", ("tests/reports",)),
    Fault("reports/page.py", '("val_size", "validation image")', '("test_size", "validation image")',
          ("tests/reports",)),
    Fault("reports/summary.py", "epoch.val.accuracy >= target", "epoch.val.accuracy > target", ("tests/reports",)),
    Fault("reports/pictures.py", "if several > 2:", "if several > 1:", ("tests/reports",)),
    Fault("reports/bench_tables.py", "_ratio(one.forward), _ratio(one.both)", "_ratio(one.both), _ratio(one.forward)",
          ("tests/bench/test_bench_report.py",)),
    # The command line.
    Fault("cli/compare.py", "config.attack_radius * 255:.3g", "config.attack_radius:.3g", ("tests/cli/test_cli.py",)),
    Fault("cli/train.py", "{e['val_loss']:.4f}", "{e['train_loss']:.4f}", ("tests/cli/test_cli.py",)),
    Fault("cli/plot.py", "config.layer, config.positions, config.channels", "config.layer, config.channels, config.positions",
          ("tests/cli/test_cli_ddf.py",)),
    Fault("cli/plot.py", "figures.operator_geometry(names, config.theme)", "figures.operator_geometry(names)",
          ("tests/cli/test_cli.py",)),
    Fault("cli/export.py", "fuse=config.fuse", "fuse=True", ("tests/cli/test_cli.py",)),
    Fault("cli/export.py", "dynamic_size=config.dynamic_size", "dynamic_size=None", ("tests/cli/test_cli.py",)),
    Fault("cli/export.py", "(config.image_size,) * 2", "trained.image_size", ("tests/cli/test_cli.py",)),
    Fault("cli/bench.py", "fresh=given.fresh", "fresh=False", ("tests/cli/test_cli_bench.py",)),
    # Benchmarks.
    Fault("bench/conv.py", "own = case.build(operator, config.radius)", 'own = case.build(operator, "learned")',
          ("tests/bench/test_bench_run.py",)),
    Fault("bench/conv.py", "case, x, config.rounds)", "case, x, 7)", ("tests/bench/test_bench_run.py",)),
    Fault("bench/grids.py", "LayerCase(_share(batch, 8), c, c, size)", "LayerCase(batch, c, c, size)",
          ("tests/bench/test_bench_check.py", "tests/bench/test_bench_run.py")),
    # Layers and networks.
    Fault("nn/same_conv.py", "missing = missing if span >= step else max(missing, 0)", "missing = missing",
          ("tests/nn/test_same_pad.py", "tests/conversion/test_convert_classes.py")),
    Fault("nn/upsample.py", 'mode="replicate"', 'mode="constant"', ("tests/nn/test_upsample.py",)),
    Fault("models/timm_registry.py", 'name.startswith(("imagenet_", "modified_"))', "False",
          ("tests/models/test_zoo.py",)),
    Fault("models/cnn9.py", "nn.BatchNorm2d(width, eps=blocks.bn_eps)", "nn.BatchNorm2d(width)",
          ("tests/models/test_cnn9.py", "tests/models/test_zoo.py", "tests/models/test_architectures.py")),
    Fault("models/network.py", 'made: dict[str, Any] = {"device": like.device, "dtype": like.dtype}',
          'made: dict[str, Any] = {"device": like.device}',
          ("tests/models/test_cnn9.py", "tests/models/test_zoo.py", "tests/models/test_architectures.py")),
    Fault("models/network.py", "self.head_drop = nn.Dropout(drop_rate)", "self.head_drop = nn.Dropout(0.0)",
          ("tests/models/test_cnn9.py", "tests/models/test_zoo.py", "tests/models/test_architectures.py")),
    # Conversion, calibration, saving.
    Fault("conversion/dynamic.py", "requires_grad_(module.weight.requires_grad)", "requires_grad_(True)",
          ("tests/conversion/test_convert_dynamic.py",)),
    Fault("conversion/dynamic.py", "mix.bias.copy_(module.bias)", "mix.bias.mul_(1)",
          ("tests/conversion/test_convert_dynamic.py",)),
    Fault("conversion/dynamic.py", "return out.train(module.training)", "return out",
          ("tests/conversion/test_convert_dynamic.py",)),
    Fault("conversion/twins.py", "with parametrizations_in_evaluation(module):  # spectral_norm",
          "with torch.no_grad():  # spectral_norm", ("tests/conversion/test_convert.py",)),
    Fault("conversion/twins.py", 'for name in ("radius", "kappa"):', 'for name in ("radius",):',
          ("tests/conversion/test_convert.py",)),
    Fault("conversion/engine.py", "module.training = mode", "pass",
          ("tests/conversion/test_convert.py", "tests/calibration/test_calibrate.py")),
    Fault("conversion/copies.py", "random.setstate(states[0])", "pass",
          ("tests/conversion/test_convert_outputs.py", "tests/conversion/test_convert_classes.py")),
    Fault("conversion/copies.py", "np.random.set_state(states[1])", "pass",
          ("tests/conversion/test_convert_outputs.py", "tests/conversion/test_convert_classes.py")),
    Fault("calibration/layers.py", "layer.num_updates.fill_(1000)", "layer.num_updates.fill_(0)",
          ("tests/calibration",)),
    Fault("calibration/layers.py", "(self.seen.deviation > 1e-12) & (wanted.deviation > 1e-12)",
          "self.seen.deviation > 1e-12", ("tests/calibration",)),
    Fault("calibration/batch_norm.py", "self.norm.momentum = self.momentum", "pass", ("tests/calibration",)),
    Fault("calibration/batch_norm.py", "self.norm.eval()", "pass", ("tests/calibration",)),
    Fault("hub/files.py", "folder / WEIGHTS).eval()", "folder / WEIGHTS)", ("tests/hub/test_hub_files.py",)),
    Fault("hub/files.py", "with torch.random.fork_rng():  # weights", "with torch.enable_grad():  # weights",
          ("tests/hub/test_hub_files.py", "tests/hub/test_hub_proof.py")),
    Fault("hub/files.py", '"token": token}\n        folder', '"token": None}\n        folder',
          ("tests/hub/test_hub_repositories.py",)),
    Fault("hub/recipe.py", '"std": normalize.std', '"std": normalize.mean', ("tests/hub/test_hub_files.py",)),
    Fault("hub/values.py", '"weights", "url", "file")', '"weights")', ("tests/hub/test_hub_refusals.py",)),
    Fault("hub/proof.py", "random.setstate(drawn[0])", "pass", ("tests/hub/test_hub_proof.py",)),
    # Robustness, optimisation, fusing.
    Fault("robustness/attacks.py", "generator=generator)", "generator=None)", ("tests/robustness",)),
    Fault("robustness/attacks.py", "right = _predict(model, some) == truth", "right = truth == truth",
          ("tests/robustness",)),
    Fault("optim.py", "[p for p in module.parameters() if p.requires_grad]", "list(module.parameters())",
          ("tests/test_optim.py",)),
    Fault("fusion.py", "nn.Sequential(parts.drop, parts.act)", "nn.Sequential(parts.drop)",
          ("tests/test_fuse.py", "tests/test_fuse_special.py")),
    Fault("fusion.py", "if names[c] == names[n] == 1 and", "if", ("tests/test_fuse.py", "tests/test_fuse_special.py")),
]  # fmt: skip
