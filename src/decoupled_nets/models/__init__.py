"""Networks made of plain, decoupled or dynamic convolutions, and their registry."""

from .blocks import Blocks
from .cnn9 import CNN9, cnn9
from .config import NetworkConfig
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
from .googlenet import GoogLeNet, cifar_googlenet, imagenet_googlenet
from .layers import Convolution, Normalize
from .network import ImageNetwork, build
from .official import load_official
from .pixels import PixelNetwork
from .registry import create_model, list_models, register_model
from .resnet import (
    CifarResNet,
    ModifiedResNet18,
    ResNet18,
    cifar_resnet32,
    imagenet_resnet18,
    modified_resnet18,
)
from .timm_registry import register_timm
from .vgg import VGG, cifar_vgg11, cifar_vgg16, imagenet_vgg11, imagenet_vgg16

__all__ = [
    "CNN9",
    "VGG",
    "Blocks",
    "CifarResNet",
    "Convolution",
    "GoogLeNet",
    "ImageNetwork",
    "ModifiedResNet18",
    "NetworkConfig",
    "Normalize",
    "PixelNetwork",
    "ResNet18",
    "build",
    "cifar_googlenet",
    "cifar_resnet32",
    "cifar_vgg11",
    "cifar_vgg16",
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
    "imagenet_googlenet",
    "imagenet_resnet18",
    "imagenet_vgg11",
    "imagenet_vgg16",
    "list_models",
    "load_official",
    "modified_resnet18",
    "register_model",
    "register_timm",
]
