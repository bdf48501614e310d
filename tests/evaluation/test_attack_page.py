"""Attacks on trained networks: what is compared, said and drawn."""

from __future__ import annotations

import numpy as np
import pytest
from attack_records import Flat, attacks, recorded, shades

from decoupled_nets.evaluation import attack_tables
from decoupled_nets.evaluation.attack_page import write_page
from decoupled_nets.evaluation.transferring import transfer
from decoupled_nets.robustness import Threat, evaluate


def test_networks_are_compared_on_the_same_images_over_seeds(tmp_path) -> None:
    good = [recorded(tmp_path, 0.5, "good", seed) for seed in (0, 1, 2)]
    bad = [recorded(tmp_path, 0.75, "bad", seed) for seed in (0, 1, 2)]
    found = attacks([*good, *bad])
    # Of 40 shades 32 are further than 0.1 from 0.5; at 0.75 those from 0.5 to 0.85 are wrong or near.
    assert [r.summary["robust"] for r in found.records[::3]] == [32, 26]
    table = attack_tables.decided(found)
    row = dict(zip(table.header, table.rows[1], strict=True))
    assert row["Network"] == "bad"
    assert row["Against good, points"] == "−15.0"
    assert row["Verdict"] in ("worse", "undecided")
    both = attack_tables.among_both(found)
    row = dict(zip(both.header, both.rows[0], strict=True))
    right = sum(a and b for a, b in zip(good[0].rows["clean"], bad[0].rows["clean"], strict=True))
    assert row["Both right"] == str(right)
    stand = sum(a and b for a, b in zip(good[0].rows["clean"], bad[0].rows["robust"], strict=True))
    assert row["Stands, %"] == f"≤ {100 * stand / right:.1f}"


def test_one_seed_decides_nothing(tmp_path) -> None:
    found = attacks([recorded(tmp_path, 0.5, "good", 0), recorded(tmp_path, 0.9, "bad", 0)])
    table = attack_tables.decided(found)
    assert table.rows[1][table.header.index("Verdict")] == "one seed"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"training": {"flattened": False, "words": "x"}}, "had not flattened"),
        ({"batch_norm": False}, "is without BatchNorm:"),
        ({"batch_norm": False, "relu": False}, "is without BatchNorm and ReLU:"),
        ({}, "The suite fgsm is no evidence of robustness"),
    ],
)
def test_what_keeps_a_number_from_being_a_claim_is_said(more, words, tmp_path) -> None:
    record = recorded(tmp_path, 0.5, "good", 0)
    quiet = attack_tables.warnings(attacks([record], suite="standard"))
    assert quiet == []
    record.summary.update(more)
    suite = "standard" if more else "fgsm"
    assert words in " ".join(attack_tables.warnings(attacks([record], suite=suite)))
    record.summary["checks"] = [{"name": "gradients", "flag": True, "text": "none"}]
    assert "signs of failing (gradients)" in " ".join(attack_tables.warnings(attacks([record], suite=suite)))


def test_the_page_has_tables_curves_pictures_and_checks(tmp_path) -> None:
    found = attacks([recorded(tmp_path, 0.5, "good", 0), recorded(tmp_path, 0.6, "a <b>", 0)])
    found.records[0].summary["checks"] = [{"name": "inference", "flag": False, "text": "one odd thing"}]
    page, *pictures = write_page(found, tmp_path, shades()[0])
    text = page.read_text()
    assert {path.name for path in pictures} == {"radius.png", "attacked.png"}
    assert "upper bounds" in text
    assert "a &lt;b&gt;" in text
    assert "<b>" not in text
    assert "one odd thing" in text
    assert found.config.command(["a"]) in text


def test_radius_curves_draw_the_share_that_stands() -> None:
    from decoupled_nets.reports.figures.attacked import radius_curves

    near = np.array([0.0, 2.0, 4.0, np.inf]) / 255
    figure = radius_curves({"one": [near], "two": [near, 2 * near]}, 2 / 255, "linf")
    (axes,) = figure.axes
    first = axes.get_lines()[0]
    heights = dict(zip(np.round(first.get_xdata(), 6).tolist(), first.get_ydata().tolist(), strict=True))
    assert heights[0.0] == 75
    assert [y for x, y in heights.items() if 2.1 < x < 3.9] == pytest.approx(
        [50] * sum(2.1 < x < 3.9 for x in heights)
    )
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["one", "two"]
    assert "1/255" in axes.get_xlabel()


def test_attacked_images_show_image_attack_and_change() -> None:
    from decoupled_nets.reports.figures.attacked import attacked_images

    images = np.full((1, 1, 4, 4), 0.5, np.float32)
    made = images + np.float32(0.1)
    figure = attacked_images(images, ["cat"], {"net": made}, {"net": ["dog"]})
    shown = [axes.get_images()[0].get_array() for axes in figure.axes]
    assert [float(one[0, 0]) for one in shown] == pytest.approx([0.5, 0.6, 1.0])
    assert {text.get_text() for axes in figure.axes for text in axes.texts} == {"cat", "dog", "change"}


@pytest.mark.parametrize("networks", [1, 4])
def test_headings_of_attacked_images_keep_clear_of_each_other(networks: int) -> None:
    from decoupled_nets.reports.figures.attacked import attacked_images

    images = np.full((2, 1, 4, 4), 0.5, np.float32)
    names = [f"sphere-cos (N-FGSM), seed {k}" for k in range(networks)]
    figure = attacked_images(
        images,
        ["cat"] * 2,
        {name: images + np.float32(0.1) for name in names},
        {n: ["dog"] * 2 for n in names},
    )
    figure.canvas.draw()
    texts = [axes.title for axes in figure.axes] + [axes._left_title for axes in figure.axes]
    texts += [text for axes in figure.axes for text in axes.texts]
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    assert not [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)]
    assert all(figure.bbox.contains(box.x1, box.y1) for box in boxes)


def test_transfer_counts_what_stays_right() -> None:
    images, labels = shades()
    networks = {"a": Flat(0.5).eval(), "b": Flat(0.55).eval()}
    found = transfer(networks, images, labels, Threat.parse("linf:0.1"))
    # Images move by 0.1 towards the border of either network: what crosses one crosses the other.
    white = {
        name: evaluate(net, images, labels, "linf:0.1", "fgsm").robust.sum().item()
        for name, net in networks.items()
    }
    assert {name: found.left[name][name] for name in networks} == white
    assert found.clean["a"] == 40
    with pytest.raises(ValueError, match="needed: at least 2"):
        transfer({"a": networks["a"]}, images, labels, Threat.parse("linf:0.1"))
