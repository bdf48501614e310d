"""Networks made of plain, decoupled or dynamic convolutions, and their registry."""

from .cnn9 import CNN9, cnn9
from .ddf_resnet import (
    ddf_add_resnet50,
    ddf_add_resnet101,
    ddf_add_resnet152,
    ddf_cifar_resnet26,
    ddf_mul_resnet50,
    ddf_mul_resnet101,
    ddf_mul_resnet152,
    ddf_resnet18,
)
from .layers import Convolution, Normalize
from .official import load_official
from .registry import create_model, list_models, register_model
from .timm_registry import register_timm

__all__ = [
    "CNN9",
    "Convolution",
    "Normalize",
    "cnn9",
    "create_model",
    "ddf_add_resnet50",
    "ddf_add_resnet101",
    "ddf_add_resnet152",
    "ddf_cifar_resnet26",
    "ddf_mul_resnet50",
    "ddf_mul_resnet101",
    "ddf_mul_resnet152",
    "ddf_resnet18",
    "list_models",
    "load_official",
    "register_model",
    "register_timm",
]
