"""Networks made of plain or decoupled convolutions, and their registry."""

from .blocks import Blocks
from .cnn9 import CNN9, cnn9
from .googlenet import GoogLeNet, cifar_googlenet, imagenet_googlenet
from .layers import Convolution, Normalize
from .network import ImageNetwork, build
from .registry import create_model, list_models, register_model
from .resnet import (
    CifarResNet,
    ModifiedResNet18,
    ResNet18,
    cifar_resnet32,
    imagenet_resnet18,
    modified_resnet18,
)
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
    "Normalize",
    "ResNet18",
    "build",
    "cifar_googlenet",
    "cifar_resnet32",
    "cifar_vgg11",
    "cifar_vgg16",
    "cnn9",
    "create_model",
    "imagenet_googlenet",
    "imagenet_resnet18",
    "imagenet_vgg11",
    "imagenet_vgg16",
    "list_models",
    "modified_resnet18",
    "register_model",
]
