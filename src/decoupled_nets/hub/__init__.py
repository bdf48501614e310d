"""Networks as folders of weights and a configuration, here or on the Hugging Face Hub."""

from .files import from_pretrained, push_to_hub, save_pretrained

__all__ = ["from_pretrained", "push_to_hub", "save_pretrained"]
