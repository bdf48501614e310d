"""Networks made of plain or decoupled convolutions, and their registry."""

from .cnn9 import CNN9, cnn9
from .layers import Convolution, Normalize
from .registry import create_model, list_models, register_model

__all__ = ["CNN9", "Convolution", "Normalize", "cnn9", "create_model", "list_models", "register_model"]
