"""One pass over a folder: which images, tables and folders it has, and what is no data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

from PIL import Image, ImageFile

from .found import LeftOut

#: Names that systems and programs give to what is no data of the user's; besides all that begin with a dot.
_SYSTEM = frozenset(
    name.lower()
    for name in ("__MACOSX", "@eaDir", "#recycle", "@Recycle", "$RECYCLE.BIN", "System Volume Information",
                 "lost+found", "__pycache__", "Thumbs.db", "ehthumbs.db", "desktop.ini", "Icon\r")
)  # fmt: skip
METADATA = frozenset({"metadata.csv", "metadata.jsonl", "metadata.parquet"})
STORES = frozenset({".parquet", ".arrow", ".tar"})  # files that hold many images


@cache
def image_extensions() -> frozenset[str]:
    """Extensions of the image formats that the installed Pillow can read, in lower case."""
    Image.preinit()  # the usual formats, so that Image.open goes on to try them first
    Image.init()

    def reads(name: str) -> bool:
        # A stub knows a format by its name only; of MPEG Pillow reads the size and no picture.
        factory = Image.OPEN[name][0]
        stub = isinstance(factory, type) and issubclass(factory, ImageFile.StubImageFile)
        return not stub and name != "MPEG"

    known = Image.registered_extensions().items()
    return frozenset(extension for extension, name in known if name in Image.OPEN and reads(name))


@dataclass
class Folder:
    """A folder and what is in it, hidden things aside; names are sorted.

    Attributes:
        path: With forward slashes.
        name: Its last part.
        images: Names of the images directly in it.
        sizes: Their sizes in bytes.
        metadata: Names of the tables of labels directly in it.
        stores: Names of the files that hold many images (Parquet, ...) directly in it.
        others: How many other files are directly in it.
        folders: Folders directly in it.
    """

    path: str
    name: str
    images: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    metadata: list[str] = field(default_factory=list)
    stores: list[str] = field(default_factory=list)
    others: int = 0
    folders: list[Folder] = field(default_factory=list)
    total: int = 0  # images in it, at any depth

    @property
    def full(self) -> list[Folder]:
        """Folders in it with images at some depth."""
        return [folder for folder in self.folders if folder.total]

    @property
    def empty(self) -> bool:
        """Whether it has no file at any depth."""
        here = self.images or self.metadata or self.stores or self.others
        return not here and all(folder.empty for folder in self.folders)

    def walk(self, below: str = "") -> Iterator[tuple[str, Folder]]:
        """The folder and all in it, each with its path below this one, which ends in a slash or is empty."""
        yield below, self
        for folder in self.folders:
            yield from folder.walk(f"{below}{folder.name}/")


class Scan:
    """A scanned folder.

    Attributes:
        root: The folder.
    """

    def __init__(self, root: str) -> None:
        self._counts: dict[str, int] = {}
        self._examples: dict[str, str] = {}
        self._start = len(root.rstrip("/")) + 1
        self._extensions = image_extensions()
        self._above: list[tuple[int, int]] = []  # device and number of the folders that are being read
        self.root = self._folder(root, os.path.basename(root), os.stat(root))  # noqa: PTH116, PTH119

    @property
    def left_out(self) -> list[LeftOut]:
        """What is no data: why, how many, an example."""
        return [LeftOut(why, n, self._examples[why]) for why, n in sorted(self._counts.items())]

    def _leave(self, why: str, path: str) -> None:
        self._counts[why] = self._counts.get(why, 0) + 1
        self._examples.setdefault(why, path[self._start :])

    def _folder(self, path: str, name: str, state: os.stat_result) -> Folder:
        folder = Folder(path, name)
        self._above.append((state.st_dev, state.st_ino))
        with os.scandir(path) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.startswith(".") or entry.name.lower() in _SYSTEM:
                    self._leave(f"hidden or system {'folders' if entry.is_dir() else 'files'}", entry.path)
                elif not entry.is_dir():
                    self._file(folder, entry)
                elif ((inner := entry.stat()).st_dev, inner.st_ino) in self._above:
                    self._leave("links that lead back to a folder they are in", entry.path)
                else:
                    folder.folders.append(self._folder(entry.path, entry.name, inner))
        self._above.pop()
        folder.total = len(folder.images) + sum(inner.total for inner in folder.folders)
        return folder

    def _file(self, folder: Folder, entry: os.DirEntry[str]) -> None:
        extension = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122
        if not entry.is_file() and os.path.exists(entry.path):  # noqa: PTH110
            self._leave("pipes, sockets and devices", entry.path)  # reading one may wait for ever
        elif extension in self._extensions:
            try:
                size = entry.stat().st_size
            except FileNotFoundError:
                raise FileNotFoundError(f"{entry.path} is a link to a file that does not exist") from None
            folder.images.append(entry.name)
            folder.sizes.append(size)
        elif entry.name.lower() in METADATA:
            folder.metadata.append(entry.name)
        elif extension in STORES:
            folder.stores.append(entry.name)
        else:
            folder.others += 1
            self._leave(f"{extension or 'other'} files, not images by name", entry.path)
