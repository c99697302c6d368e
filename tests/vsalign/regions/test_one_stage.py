"""One-stage detectors: one pass of the backbone, the model's own detections, features of one of its maps."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models.detection import FCOS, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import roi_align

from vsalign.regions.one_stage import OneStage, deepest
from vsalign.regions.pooling import enough_samples

CHANNELS = 32
TOP_K, NMS, MIN_SCORE = 10, 0.4, 0.3


class Backbone(nn.Module):
    """Three maps of strides 16, 32 and 64 that no neighbouring cell bleeds into."""

    out_channels = CHANNELS

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, CHANNELS, 16, 16)
        self.others = nn.ModuleList([nn.Conv2d(CHANNELS, CHANNELS, 2, 2) for _ in range(2)])
        self.passes = 0

    def forward(self, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
        self.passes += 1
        maps = [self.first(pictures)]
        for layer in self.others:
            maps.append(layer(maps[-1]))
        return OrderedDict(zip("abc", maps, strict=True))


def make(kind: type) -> Any:
    torch.manual_seed(1)
    shapes = ((1.0,),) if kind is FCOS else ((0.5, 1.0, 2.0),)
    anchors = AnchorGenerator(((16,), (32,), (64,)), shapes * 3)
    options = {"score_thresh": MIN_SCORE, "nms_thresh": NMS, "detections_per_img": TOP_K}
    model = kind(Backbone(), 4, anchor_generator=anchors, min_size=128, max_size=256, **options)
    head = model.head.classification_head.cls_logits
    head.weight.data *= 300 if kind is FCOS else 1e4
    head.bias.data.fill_(-1.0)
    return model.eval().requires_grad_(False)


@pytest.fixture(params=[RetinaNet, FCOS])
def pair(request: pytest.FixtureRequest) -> tuple[Any, OneStage]:
    """torchvision's model as it stands, and the detector made of its twin; the options are the detector's to set."""
    reference, model = make(request.param), make(request.param)
    model.score_thresh, model.nms_thresh, model.detections_per_img = 0.9, 0.9, 1
    maps = {"a": (CHANNELS, 8, 8), "b": (CHANNELS, 4, 4), "c": (CHANNELS, 2, 2)}
    return reference, OneStage(model, maps, 128, TOP_K, NMS, MIN_SCORE)


@pytest.fixture
def pictures() -> list[torch.Tensor]:
    torch.manual_seed(2)
    return [torch.rand(3, *size) for size in ((128, 192), (128, 128), (150, 128))]


def batched(model: Any, pictures: list[torch.Tensor]) -> ImageList:
    return model.transform(list(pictures))[0]


def test_detections_are_the_models_own_in_the_resized_pictures(pair, pictures) -> None:
    reference, detector = pair
    images = batched(reference, pictures)
    expected = reference(pictures)
    for picture, (height, width), own, (boxes, scores, _) in zip(
        pictures, images.image_sizes, expected, detector(images), strict=True
    ):
        assert 3 <= len(scores) <= TOP_K
        assert len(scores.unique()) > 2
        torch.testing.assert_close(scores, own["scores"])
        ratio = torch.tensor([picture.shape[2] / width, picture.shape[1] / height] * 2)
        torch.testing.assert_close(boxes * ratio, own["boxes"])


def test_features_are_averages_of_the_map_below_the_box(pair, pictures) -> None:
    """The map covers the whole batch, its padding included; each picture is its upper left part."""
    reference, detector = pair
    images = batched(reference, pictures)
    maps = reference.backbone(images.tensors)["b"]
    assert maps.shape[2:] == (5, 6)
    assert [size != (160, 192) for size in images.image_sizes] == [True, True, True]  # padded one way or both
    for at, (boxes, _, features) in enumerate(detector(images)):
        height, width = images.image_sizes[at]
        together = torch.cat([torch.tensor([[0.0, 0.0, width, height]]), boxes])
        expected = roi_align(maps[at : at + 1], [together], 1, 1 / 32, enough_samples(6), aligned=True).flatten(1)
        assert features.shape == (1 + len(boxes), CHANNELS)
        assert expected.std(0).mean() > 0.01  # a feature is its box's own
        torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)


def test_the_backbone_runs_once_and_nothing_stays_hooked(pair, pictures) -> None:
    reference, detector = pair
    for _ in range(2):
        detector(batched(reference, pictures))
    assert detector.model.backbone.passes == 2
    assert not detector.model.backbone._forward_hooks


def test_a_later_batch_is_its_own(pair, pictures) -> None:
    reference, detector = pair
    first = detector(batched(reference, pictures[1:2]))[0]
    detector(batched(reference, pictures[2:]))
    again = detector(batched(reference, pictures[1:2]))[0]
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))


@pytest.mark.parametrize(
    ("cells", "side", "expected"),
    [
        ((64, 32, 16, 8, 4), 512, 2),  # a feature pyramid
        ((38, 19, 10, 5, 3, 1), 300, 2),  # SSD300
        ((20, 10, 5, 3, 2, 1), 320, 1),  # SSDlite
        ((16, 16, 8), 512, 1),  # two maps of one stride: the deeper
        ((4, 2), 512, 0),  # none is fine enough
    ],
)
def test_the_deepest_map_of_a_stride_up_to_32_is_taken(cells: tuple[int, ...], side: int, expected: int) -> None:
    maps = {str(number): (number + 1, side_cells, side_cells) for number, side_cells in enumerate(cells)}
    assert deepest(maps, side) == str(expected)
