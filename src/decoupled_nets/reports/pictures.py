"""A figure of the page with the words that stand below and in place of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from matplotlib.figure import Figure

from .figures.style import ThemeName

Images = Mapping[ThemeName, bytes]


@dataclass(frozen=True)
class Picture:
    """A figure with its file name (without suffix), caption and alternative text."""

    name: str
    caption: str
    alternative: str
    draw: Callable[[ThemeName], Figure]


@dataclass(frozen=True)
class Drawn:
    """A picture with its PNG in both themes."""

    picture: Picture
    images: Images
