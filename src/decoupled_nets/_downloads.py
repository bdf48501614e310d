"""Nothing is downloaded unasked: libraries that fetch what they miss find their caches only."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any


@contextmanager
def no_downloads() -> Iterator[None]:
    """In here the Hugging Face Hub's and torch's functions take what is in their caches, or fail."""
    import timm.models._hub
    import torch.hub
    from huggingface_hub import constants

    def refuse(url: str, *args: Any, **options: Any) -> None:
        raise FileNotFoundError(f"{url} is not in the cache")

    own: list[tuple[Any, str, Any]] = [
        (constants, "HF_HUB_OFFLINE", True),
        (torch.hub, "download_url_to_file", refuse),
        (timm.models._hub, "download_url_to_file", refuse),
    ]
    before = [getattr(place, name) for place, name, _ in own]
    try:
        for place, name, value in own:
            setattr(place, name, value)
        with redirect_stdout(io.StringIO()):  # where torch announces what it is not going to fetch
            yield
    finally:
        for (place, name, _), value in zip(own, before, strict=True):
            setattr(place, name, value)
