"""Names in any script: which installed fonts can draw them."""

from __future__ import annotations

from functools import lru_cache

from matplotlib.font_manager import FontProperties, findfont, fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

from .style import FONT


def set_name(text: Text, name: str, stand_in: str) -> None:
    """Let a text of a figure show a name, in fonts that have its characters, or `stand_in` if none has."""
    families = fonts_for(name)
    text.set_parse_math(False)  # a name is the user's: it may hold a dollar sign
    text.set_text(stand_in if families is None else name)
    if families:
        text.set_fontfamily([FONT, *families])


def fonts_for(name: str) -> list[str] | None:
    """The families needed beside the figures' own font to draw a name; None if a character is in no font."""
    own = _characters(findfont(FontProperties(family=FONT)))
    families: dict[str, None] = {}
    for character in name:
        if ord(character) in own:
            continue
        family = _family_with(character)
        if family is None:
            return None
        families[family] = None
    return list(families)


@lru_cache(maxsize=4096)
def _family_with(character: str) -> str | None:
    """The first family that has a character, one without serifs if there is any."""
    for font in sorted(fontManager.ttflist, key=lambda font: ("sans" not in font.name.lower(), font.name)):
        # matplotlib's font of last resort has a box for every character.
        if ord(character) in _characters(font.fname) and not font.name.startswith("Last Resort"):
            return font.name
    return None


@lru_cache(maxsize=1024)
def _characters(path: str) -> frozenset[int]:
    try:
        font = FT2Font(path)
        return frozenset(font.get_charmap()) if font.scalable else frozenset()
    except (OSError, RuntimeError):  # a damaged font, or one of a kind that FreeType here does not draw
        return frozenset()
