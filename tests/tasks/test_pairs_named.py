"""Which image and which depth map belong together."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from pairs import load, write_pair

from decoupled_nets.data.depth_folder import load_depth_folder


def words(data) -> str:
    return " ".join(str(data.found).split())


def folder(root: Path, images: list[str], maps: list[str]) -> Path:
    """``RGB/`` and ``Depth/`` with files of such names."""
    for kind, names in (("RGB", images), ("Depth", maps)):
        (root / kind).mkdir(parents=True)
        for name in names:
            (root / kind / name).touch()
    return root


def paired(root: Path) -> list[tuple[str, str]]:
    """The names of all pairs, and nothing is said of an order."""
    found = load_depth_folder(root, "set")
    assert not found.notes
    (part,) = found.parts
    return list(zip(part.reader.names, part.masks.names, strict=True))


def test_pairs_by_name_by_what_is_left_of_it_and_by_order(tmp_path):
    for n in range(6):
        write_pair(tmp_path / "a", n, names=("p{}_RGB.png", "p{}_HR_gt.png"))
        write_pair(tmp_path / "b", n, names=("p{}_x.png", "q{}_y.png"))
    write_pair(tmp_path / "a", 7, names=("p{}_RGB.png", "alone_{}.png"))
    (tmp_path / "a" / "Depth" / "readme.txt").write_text("")
    found = words(load(tmp_path / "a", train_size=2))
    assert "images without a depth map: 1, such as RGB/p7_RGB.png" in found
    assert "depth maps without an image: 1, such as Depth/alone_7.png" in found
    assert "files that are no depth maps: 1, such as Depth/readme.txt" in found
    assert "by the order" not in found
    data = load(tmp_path / "b")
    assert (
        "paired by the order of their names, as none are called alike: p0_x.png with q0_y.png, p5_x.png"
        in words(data)
    )
    for inputs, targets in data.test_loader(8):
        torch.testing.assert_close(inputs[0, 0] * 255, targets[0, 0])
    (tmp_path / "b" / "RGB" / "p9_x.png").write_bytes((tmp_path / "b" / "RGB" / "p1_x.png").read_bytes())
    with pytest.raises(
        ValueError, match=r"RGB has 7 images, .*Depth 6 depth maps, and no two are called alike"
    ):
        load(tmp_path / "b")


def test_one_coincidence_does_not_hide_the_other_pairs(tmp_path):
    images, maps = ["calib.png", "s1_rgb.png", "s2_rgb.png"], ["calib.png", "s1_depth.png", "s2_depth.png"]
    assert paired(folder(tmp_path / "a", images, maps)) == list(zip(images, maps, strict=True))
    # Of two rules the one that pairs more: here the stems, as the maps of 1 to 3 have two files each.
    images = ["1.png", "2.png", "3.png"]
    found = load_depth_folder(folder(tmp_path / "b", images, [*images, "1_depth.png"]), "set")
    assert found.parts[0].masks.names == images
    assert [(left.count, left.example) for left in found.left_out] == [(1, "Depth/1_depth.png")]


def test_two_published_sets_in_one_folder_under_their_own_names(tmp_path):
    """Lu et al.'s images are called "ouput"."""
    images = [
        *(f"Middlebury_{n:02}_output_color.png" for n in range(1, 31)),
        *(f"RGBD_{n:02}_ouput_color.png" for n in range(1, 7)),
    ]
    maps = [re.sub("ou(t?)put_color", "output_depth", name) for name in images]
    assert paired(folder(tmp_path, images, maps)) == list(zip(images, maps, strict=True))


@pytest.mark.parametrize(
    ("images", "maps", "named"),
    [  # two rules that pair as many, one file with two others, a stem twice, none that is not doubtful
        (["a", "b_rgb"], ["a", "a_depth", "b_depth"], ("a.png", "a.png, a_depth.png")),
        (["a", "x_left", "x_rgb"], ["a", "x_depth"], ("x_left.png, x_rgb.png", "x_depth.png")),
        (["a", "b"], ["a", "b.tif", "b"], ("b.png", "b.png, b.tif")),
        (["x", "x_left"], ["x_depth", "x_gt"], ("x.png, x_left.png", "x_depth.png, x_gt.png")),
    ],
)
def test_files_among_which_names_do_not_choose_are_named(images, maps, named, tmp_path):
    def files(names):
        return [name if "." in name else f"{name}.png" for name in names]

    root = folder(tmp_path, files(images), files(maps))
    expected = f"RGB has {named[0]} and {root}/Depth {named[1]}, which are called alike; needed: one image"
    with pytest.raises(ValueError, match=re.escape(expected)):
        load_depth_folder(root, "set")


def test_a_name_of_words_alone_is_a_name(tmp_path):
    assert paired(folder(tmp_path / "a", ["rgb.png", "s_rgb.png"], ["rgb.png", "s_depth.png"])) == [
        ("rgb.png", "rgb.png"),
        ("s_rgb.png", "s_depth.png"),
    ]
    found = load_depth_folder(folder(tmp_path / "b", ["rgb.png"], ["depth.png"]), "set")
    assert "by the order of their names" in found.notes[0]
