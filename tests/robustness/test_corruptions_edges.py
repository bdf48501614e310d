"""What drops of water are made of: edges, the distance to them, equalised brightness."""

from __future__ import annotations

import numpy as np
import torch

from decoupled_nets.robustness.corruptions._edges import distance_to, edges, equalised


def test_the_edge_of_a_step_is_one_pixel_wide() -> None:
    image = torch.zeros(1, 1, 20, 20)
    image[..., 8:] = 60  # a slope of 240
    found = edges(image, 50, 150)[0, 0]
    assert found.sum(1).tolist() == [1] * 20
    assert found[:, 7].all()
    assert edges(image.transpose(2, 3), 50, 150)[0, 0, 7].all()
    assert not edges(image, 50, 250).any()  # nowhere above the upper limit
    assert not edges(image * 0, 50, 150).any()


def test_a_weak_edge_stands_where_it_hangs_on_a_strong_one() -> None:
    image = torch.zeros(1, 1, 20, 40)
    image[..., 10:, :20] = 20  # a slope of 80: weak
    image[..., 10:, 20:] = 50  # strong
    found = edges(image, 50, 150)[0, 0]
    assert found[9, 2:18].all()
    alone = image.clone()
    alone[..., 18:] = 0
    assert not edges(alone, 90, 150)[0, 0, 9].any()


def test_distances_are_those_of_the_shortest_way() -> None:
    """In closed form: knight's moves, then straight or diagonal ones."""
    marked = torch.zeros(2, 1, 30, 34, dtype=torch.bool)
    marked[0, 0, 5, 6] = marked[0, 0, 25, 30] = marked[1, 0, 0, 33] = True
    found = distance_to(marked, 20)
    for image in (0, 1):
        wanted = np.full((30, 34), 20.0)
        for y, x in marked[image, 0].nonzero().tolist():
            dy, dx = np.abs(np.arange(30)[:, None] - y), np.abs(np.arange(34) - x)
            far, near = np.maximum(dy, dx), np.minimum(dy, dx)
            straight = 2.1969 * near + far - 2 * near
            slanted = 2.1969 * (far - near) + 1.4 * (2 * near - far)
            wanted = np.minimum(wanted, np.where(far >= 2 * near, straight, slanted))
        np.testing.assert_allclose(found[image, 0].numpy(), wanted, atol=1e-4)
    assert (distance_to(torch.zeros(1, 1, 8, 8, dtype=torch.bool), 20) == 20).all()


def test_equalised_levels_go_by_how_many_pixels_lie_below() -> None:
    images = torch.tensor([[5.0, 5, 7, 200], [0, 1, 2, 3], [9, 9, 9, 9]]).view(3, 1, 2, 2)
    found = equalised(images).flatten(1).tolist()
    assert found == [[0, 0, 128, 255], [0, 85, 170, 255], [9, 9, 9, 9]]
