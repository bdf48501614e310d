"""Single-line faults that the tests have to catch; scripts/plant_faults.py plants them."""

from __future__ import annotations

from typing import NamedTuple

import _faults_lower
import _faults_upper

EFFECTS = "tests/effects/test_effects_"
UPSAMPLING = tuple(
    f"tests/conversion/test_upsampling{rest}.py"
    for rest in ("", "_calls", "_runs", "_by_name", "_types", "_told")
)
#: The nearest tests of a file, by the longest beginning of its name that stands here; quick ones first.
NEAREST: dict[str, tuple[str, ...]] = {
    "bench/": (f"{EFFECTS}bench.py", "tests/bench/test_bench_check.py"),
    "calibration/": ("tests/test_what_stays.py", "tests/calibration"),
    "cli/": (f"{EFFECTS}commands.py", "tests/cli/test_cli.py"),
    "cli/distil.py": (f"{EFFECTS}distil.py",),
    "cli/export.py": (f"{EFFECTS}export.py",),
    "cli/main.py": ("tests/cli/test_cli.py", "tests/cli"),
    "cli/plot.py": (f"{EFFECTS}plot.py",),
    "compare/": (f"{EFFECTS}compare.py", "tests/compare"),
    "conversion/": ("tests/test_what_stays.py", "tests/conversion"),
    "data/": (f"{EFFECTS}data.py", f"{EFFECTS}pixels.py", "tests/data"),
    "distillation/": ("tests/distillation",),
    "evaluation/distil": (f"{EFFECTS}distil.py",),
    "experiment/": ("tests/experiment",),
    "export/": (f"{EFFECTS}export.py", "tests/test_what_stays.py", "tests/export/test_export_files.py"),
    "fusion.py": ("tests/test_fuse.py", "tests/test_fuse_special.py"),
    "hub/": ("tests/test_what_stays.py", "tests/hub"),
    "models/": (
        "tests/models/test_zoo.py",
        "tests/models/test_architectures.py",
        "tests/models/test_cnn9.py",
        "tests/models/test_ddf_resnet.py",
        "tests/models/test_ddf_resnet_timm.py",
    ),
    "models/config.py": (f"{EFFECTS}network.py",),
    "models/pixels.py": (f"{EFFECTS}compare.py",),
    "_metric.py": ("tests/reports/test_reports_summary.py",),
    "nn/": (
        "tests/nn/test_layers.py",
        "tests/nn/test_layer_state.py",
        "tests/nn/test_relative_radius.py",
        "tests/nn/test_filter_norm.py",
        "tests/nn/test_ddf.py",
        "tests/nn/test_ddf_layer_values.py",
        "tests/nn/test_layer_errors.py",
        "tests/nn/test_ddf_refusals.py",
    ),
    "nn/dynamic.py": ("tests/models/test_ddf_resnet.py", "tests/conversion/test_convert_dynamic.py"),
    "nn/start.py": ("tests/nn/test_ddf_start.py",),
    "nn/same_conv.py": ("tests/nn/test_same_pad.py",),
    "nn/upsample.py": ("tests/nn/test_upsample.py",),
    "nn/output_size.py": ("tests/nn/test_upsample.py", "tests/nn/test_upsamplers.py"),
    "nn/upsamplers/": ("tests/nn/test_upsamplers.py",),
    "conversion/answers.py": UPSAMPLING,
    "conversion/calls.py": UPSAMPLING,
    "conversion/maps.py": UPSAMPLING,
    "conversion/owners.py": UPSAMPLING,
    "conversion/upsampling.py": UPSAMPLING,
    "tasks/": ("tests/tasks/test_tasks.py", "tests/tasks/test_segment.py"),
    "tasks/_matching.py": ("tests/tasks/test_matching.py",),
    "models/detection.py": ("tests/tasks/test_detect.py",),
    "data/box": tuple(f"tests/tasks/test_boxes{rest}.py" for rest in ("", "_refused", "_yolo")),
    "models/segmentation.py": ("tests/tasks/test_segment.py",),
    "models/sources/": ("tests/networks",),
    "networks/": ("tests/networks", f"{EFFECTS}network.py"),
    "_code.py": (f"{EFFECTS}network.py", "tests/networks/test_networks_names.py"),
    "_downloads.py": ("tests/networks/test_networks_weights.py",),
    "conversion/spelling.py": ("tests/conversion/test_convert_spelling.py",),
    "training/start.py": ("tests/networks/test_networks_runs.py", f"{EFFECTS}network.py"),
    "data/mask_": ("tests/tasks/test_masks.py",),
    "ops/decoupled/": ("tests/ops/decoupled/test_learned_options.py", "tests/ops/decoupled/test_learned.py"),
    "ops/decoupled/learned.py": (
        "tests/ops/decoupled/test_learned_options.py",
        "tests/ops/decoupled/test_learned.py",
        "tests/ops/decoupled/test_decoupled_gradcheck.py",
    ),
    "ops/decoupled/derivative.py": (
        "tests/ops/decoupled/test_backward_again.py",
        "tests/ops/decoupled/test_learned_options.py",
        "tests/ops/decoupled/test_learned.py",
    ),
    "optim.py": ("tests/test_optim.py", "tests/nn/test_learned_layers.py"),
    "reports/": (
        "tests/reports/test_reports_drawn.py",
        "tests/reports/test_reports_numbers.py",
        "tests/reports",
    ),
    "reports/bench_tables.py": ("tests/bench/test_bench_report.py",),
    "reports/figures/bench.py": ("tests/bench/test_bench_report.py",),
    "robustness/": ("tests/robustness",),
    "evaluation/": ("tests/evaluation", f"{EFFECTS}attack.py", f"{EFFECTS}corrupt.py"),
    "evaluation/trained.py": (f"{EFFECTS}export.py",),
    "reports/figures/attacked.py": ("tests/evaluation/test_attack_page.py",),
    "_options.py": (f"{EFFECTS}compare.py",),
    "_statistics.py": ("tests/test_statistics.py", "tests/reports"),
    "training/": (
        *(f"{EFFECTS}{name}.py" for name in ("optimisation", "machine", "network", "history")),
        "tests/training/test_task.py",
        "tests/training/test_identity.py",
        "tests/training/test_identity_folders.py",
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


FAULTS = [Fault(*line) for line in (*_faults_lower.FAULTS, *_faults_upper.FAULTS)]
