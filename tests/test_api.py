"""The public names, so that none vanishes unnoticed; and what importing the package must not import."""

import subprocess
import sys

import pytest

import decoupled_nets as dn

NAMES = [
    "Calibration",
    "Conversion",
    "DDF2d",
    "DDFUpsample",
    "DecoupledConv1d",
    "DecoupledConv2d",
    "DecoupledConv3d",
    "DecoupledLinear",
    "Distillation",
    "FilterNorm",
    "Operator",
    "RelativeRadius",
    "Select",
    "calibrate",
    "convert",
    "convert_upsampling",
    "create_model",
    "distil",
    "from_pretrained",
    "functional",
    "fuse",
    "last_backend",
    "list_models",
    "list_upsamplers",
    "load_official",
    "orthogonality",
    "parameter_groups",
    "project_weights_",
    "push_to_hub",
    "register_angle",
    "register_magnitude",
    "register_timm",
    "register_twin",
    "register_upsampler",
    "revert",
    "robustness",
    "save_pretrained",
    "total_variation",
    "unregister_angle",
    "unregister_magnitude",
    "unregister_upsampler",
    "upsampler",
    "use_backend",
    "weighted_gradients",
]
FUNCTIONS = ["ddf", "decoupled_conv1d", "decoupled_conv2d", "decoupled_conv3d", "decoupled_linear"]


ROBUSTNESS = [
    "SUITES", "Attacked", "Check", "Nearest", "Robustness", "Stage", "Suite", "Threat", "Victim", "attack",
    "attack_named", "check", "evaluate", "fab_minimum", "minimum", "transferred", "work_of",
]  # fmt: skip


def test_public_names() -> None:
    assert dn.robustness.__all__ == ROBUSTNESS
    for name in set(ROBUSTNESS) - {"SUITES"}:
        assert getattr(dn.robustness, name).__doc__
    assert sorted(dn.__all__) == NAMES
    assert sorted(dn.functional.__all__) == FUNCTIONS
    for name in NAMES:
        assert getattr(dn, name).__doc__
    for name in FUNCTIONS:
        assert getattr(dn.functional, name).__doc__


HEAVY = (
    "huggingface_hub", "jsonargparse", "matplotlib", "onnx", "onnxruntime", "pyarrow", "pytorch_lightning",
    "rich", "safetensors", "sympy", "timm", "torch._dynamo", "torchmetrics", "torchvision",
)  # fmt: skip
LIGHT = ("decoupled_nets", "decoupled_nets.export", "decoupled_nets.reports.bench_results")


@pytest.mark.parametrize("package", LIGHT)
def test_imports_stay_light(package: str) -> None:
    """A machine that deploys networks or reads results needs no trainer."""
    code = f"import sys, {package}; print([m for m in {HEAVY} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
