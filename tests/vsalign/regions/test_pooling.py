"""Pooling as one matrix product gives torchvision's RoIAlign."""

from __future__ import annotations

import pytest
import torch
from torchvision.ops import roi_align

from vsalign.regions.pooled import fixed_boxes
from vsalign.regions.pooling import SAMPLES, enough_samples, pool, pool_grid, pooling_matrix

WIDTH, HEIGHT = 320, 240
MAP = (6, 8)
"""Cells of 40 px: one scale for both axes, which is all that torchvision knows."""


def by_torchvision(feature_map: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    pooled = roi_align(feature_map[None], [boxes], 1, 1 / 40, sampling_ratio=SAMPLES, aligned=True)
    return pooled.flatten(1)


def by_matrix(feature_map: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    matrix = pooling_matrix(boxes, torch.tensor([WIDTH, HEIGHT]), MAP)
    return pool(feature_map[None], [matrix])[0]


@pytest.fixture
def feature_map() -> torch.Tensor:
    return torch.randn(32, *MAP, generator=torch.Generator().manual_seed(0))


def test_it_equals_roi_align_for_any_box_in_the_picture(feature_map: torch.Tensor) -> None:
    corners = torch.rand(500, 2, 2, generator=torch.Generator().manual_seed(1)).sort(1).values
    boxes = (corners * torch.tensor([WIDTH, HEIGHT])).flatten(1)
    torch.testing.assert_close(by_matrix(feature_map, boxes), by_torchvision(feature_map, boxes), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "box",
    [
        [0, 0, WIDTH, HEIGHT],
        [0, 0, 1, 1],
        [WIDTH - 1, HEIGHT - 1, WIDTH, HEIGHT],
        [0, HEIGHT - 3, WIDTH, HEIGHT],
        [100, 100, 100.01, 100.01],
        [WIDTH - 40, 0, WIDTH, 40],
    ],
)
def test_it_equals_roi_align_at_the_edges(feature_map: torch.Tensor, box: list[float]) -> None:
    boxes = torch.tensor([box], dtype=torch.float32)
    torch.testing.assert_close(by_matrix(feature_map, boxes), by_torchvision(feature_map, boxes), rtol=1e-5, atol=1e-5)


def test_a_box_over_the_edge_takes_the_edge_where_torchvision_fades() -> None:
    """The one difference: beyond half a cell outside, torchvision's sampling points count 0."""
    ones, over = torch.ones(1, *MAP), torch.tensor([[-100.0, 0.0, 100.0, 100.0]])
    assert by_matrix(ones, over).item() == pytest.approx(1)
    assert by_torchvision(ones, over).item() < 0.75


def test_weights_of_a_box_are_an_average() -> None:
    matrix = pooling_matrix(torch.from_numpy(fixed_boxes()), torch.ones(2), (14, 14))
    assert matrix.shape == (20, 196)
    torch.testing.assert_close(matrix.sum(1), torch.ones(20))
    assert (matrix >= 0).all()


def test_a_gradient_is_pooled_to_the_centre_of_each_box() -> None:
    """Geometry: over a map that holds its own x, a box's feature is the x of its centre."""
    columns = torch.arange(8, dtype=torch.float32).expand(1, *MAP).contiguous()
    boxes = torch.tensor([[40.0, 40, 120, 80], [160, 0, 280, 240]])
    torch.testing.assert_close(by_matrix(columns, boxes).flatten(), torch.tensor([80 / 40 - 0.5, 220 / 40 - 0.5]))


@pytest.mark.parametrize("cells", [2, 7, 14, 16, 28, 33])
def test_the_whole_picture_counts_every_cell(cells: int) -> None:
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    assert (pooling_matrix(whole, torch.ones(2), (cells, cells), enough_samples(cells)) > 0).all()


def test_pooling_is_linear_and_fixed_boxes_go_in_one_product() -> None:
    maps = torch.randn(3, 5, *MAP, generator=torch.Generator().manual_seed(2))
    boxes = torch.from_numpy(fixed_boxes())
    matrix = pooling_matrix(boxes, torch.ones(2), MAP)
    together, apart = pool(maps, [matrix] * 3), pool(maps, [matrix, matrix.clone(), matrix.clone()])
    for one, other, cells in zip(together, apart, maps, strict=True):
        torch.testing.assert_close(one, other)
        torch.testing.assert_close(one, torch.einsum("nk,ck->nc", matrix, cells.flatten(1)))
    torch.testing.assert_close(pool(2 * maps, [matrix] * 3)[1], 2 * together[1])


def test_pictures_of_different_sizes_take_a_scale_each() -> None:
    boxes = torch.tensor([[0.0, 0.0, 50.0, 100.0], [0.0, 0.0, 300.0, 20.0]])
    sizes = torch.tensor([[100.0, 100.0], [600.0, 40.0]])
    matrix = pooling_matrix(boxes, sizes, MAP)
    torch.testing.assert_close(matrix[0], pooling_matrix(torch.tensor([[0.0, 0.0, 0.5, 1.0]]), torch.ones(2), MAP)[0])
    torch.testing.assert_close(matrix[1], pooling_matrix(torch.tensor([[0.0, 0.0, 0.5, 0.5]]), torch.ones(2), MAP)[0])


@pytest.mark.parametrize(("bins", "samples"), [(5, 2), (7, 2), (3, 4), (1, 1)])
def test_a_grid_of_bins_equals_roi_align(feature_map: torch.Tensor, bins: int, samples: int) -> None:
    corners = torch.rand(200, 2, 2, generator=torch.Generator().manual_seed(3)).sort(1).values
    boxes = (corners * torch.tensor([MAP[1], MAP[0]])).flatten(1)
    boxes = torch.cat([boxes, torch.tensor([[0.0, 0.0, MAP[1], MAP[0]], [7.0, 5.0, 8.0, 6.0], [2.0, 2.0, 2.01, 2.01]])])
    theirs = roi_align(feature_map[None], [boxes], bins, 1.0, sampling_ratio=samples, aligned=True)
    torch.testing.assert_close(pool_grid(feature_map, boxes, bins, samples), theirs, rtol=1e-5, atol=1e-5)


def test_a_grid_of_no_boxes_is_empty(feature_map: torch.Tensor) -> None:
    assert pool_grid(feature_map, torch.zeros(0, 4), 5).shape == (0, 32, 5, 5)
