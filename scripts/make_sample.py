"""Make the Fashion-MNIST sample that ships with decoupled-nets.

The full set comes from Debian, without another download site::

    apt-get download dataset-fashion-mnist && dpkg -x dataset-fashion-mnist_*.deb fashion-mnist
    python scripts/make_sample.py fashion-mnist/usr/share/datasets/fashion-mnist

The choice has a fixed seed and the archive fixed time stamps, so that the same input gives the same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import io
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from decoupled_nets._files import write_atomically, write_text

CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
TRAIN_SIZE, TEST_SIZE, SEED = 10_000, 2_000, 2017
OUTPUT = Path(__file__).parents[1] / "src/decoupled_nets/data/sample"
LICENSE = """\
fashion_mnist.npz holds {train:,} training and {test:,} test images of Fashion-MNIST
(https://github.com/zalandoresearch/fashion-mnist), chosen at random with equal numbers per class.

The MIT License (MIT)

Copyright © 2017 Zalando SE, https://tech.zalando.com

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the “Software”), to deal in the Software without restriction, including without
limitation the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the
Software, and to permit persons to whom the Software is furnished to do so, subject to the following
conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions
of the Software.

THE SOFTWARE IS PROVIDED “AS IS”, WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED
TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL
THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF
CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER
DEALINGS IN THE SOFTWARE.
"""

Array = npt.NDArray[np.uint8]


def read_idx(path: Path) -> Array:
    """Read a gzipped IDX file of unsigned bytes."""
    data = gzip.decompress(path.read_bytes())
    if data[:3] != b"\0\0\x08":
        raise ValueError(f"{path} starts with {data[:4]!r}; needed: an IDX file of unsigned bytes")
    shape = np.frombuffer(data, ">i4", count=data[3], offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)


def choose(folder: Path, split: str, size: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Choose `size` images of a split, as many of each class, in random order."""
    images = read_idx(folder / f"{split}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{split}-labels-idx1-ubyte.gz")
    each = size // len(CLASSES)
    rows = [rng.permutation(np.flatnonzero(labels == label))[:each] for label in range(len(CLASSES))]
    chosen = rng.permutation(np.concatenate(rows))
    return images[chosen], labels[chosen]


def pack(arrays: dict[str, npt.NDArray]) -> bytes:
    """Pack arrays as ``numpy.savez_compressed`` does, with time stamps that never change."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.save(content, array, allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            file.writestr(entry, content.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)
    return archive.getvalue()


def main() -> None:
    """Write the sample and its licence into the package."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="folder with the four *-ubyte.gz files")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder to write to")
    arguments = parser.parse_args()
    rng = np.random.default_rng(SEED)
    train_images, train_labels = choose(arguments.folder, "train", TRAIN_SIZE, rng)
    test_images, test_labels = choose(arguments.folder, "t10k", TEST_SIZE, rng)
    archive = pack(
        {
            "train_images": train_images,
            "train_labels": train_labels,
            "test_images": test_images,
            "test_labels": test_labels,
            "classes": np.array(CLASSES),
        }
    )
    path = write_atomically(arguments.output / "fashion_mnist.npz", lambda file: file.write(archive))
    write_text(arguments.output / "LICENSE", LICENSE.format(train=TRAIN_SIZE, test=TEST_SIZE))
    print(f"{path}: {len(archive):,} bytes")


if __name__ == "__main__":
    main()
