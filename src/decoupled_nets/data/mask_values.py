"""The numbers in a mask: which class each pixel has."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

#: The target of a pixel that belongs to no class.
VOID = 255


def stored_classes(mask: Image.Image) -> npt.NDArray[np.int32]:
    """The values of an opened mask as they are stored, (H, W): of a palette its numbers, not its colours.

    Raises:
        ValueError: it is a JPEG, whose values are not those that were saved, or it has colours.
    """
    if mask.format == "JPEG":
        raise ValueError("it is a JPEG, which changes values; needed: a mask without loss, such as PNG")
    mask.load()
    values = np.asarray(mask)
    if values.ndim == 3:
        first = values[..., 0]
        if not (values[..., :3] == first[..., None]).all():
            raise ValueError(
                f"it has colours (mode {mask.mode}); needed: one channel, with the number of its class for"
                " each pixel"
            )
        values = first
    if not np.issubdtype(values.dtype, np.integer) and values.dtype != bool:
        raise ValueError(
            f"it has values of type {values.dtype}; needed: integers, the numbers of the classes"
        )
    return values.astype(np.int32)
