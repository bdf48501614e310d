"""Networks of whatever origin, as the option ``--model`` names them: ours, other libraries', saved, coded."""

from .build import build, channels_of, gives_features
from .given import Given, fetch, folder_here, given_weights
from .joint import build_joint
from .loading import Loaded
from .names import fitted, form_of
from .plain import saved_recipe

__all__ = [
    "Given",
    "Loaded",
    "build",
    "build_joint",
    "channels_of",
    "fetch",
    "fitted",
    "folder_here",
    "form_of",
    "given_weights",
    "gives_features",
    "saved_recipe",
]
