"""The detector: what it learns from, that it learns, and what it finds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torchvision.ops import box_iou

from vsalign.errors import ConfigurationError
from vsalign.regions.detector import (
    LIKE_WHOLE,
    MATCH,
    SAMPLES,
    Detector,
    DetectorConfig,
    DetectorSizes,
    Target,
    kinds_of,
    sample,
)
from vsalign.regions.rcnn_lite import default_detector

SIDE = 128
SMALL = DetectorConfig(input_size=SIDE, channels=16, hidden=32, dropout=0.0)
MEN, DOG = [10.0, 20, 60, 110], [70.0, 60, 120, 110]


def maps_of(pictures: int, config: DetectorConfig = SMALL, seed: int = 0) -> list[Tensor]:
    """Maps of pictures that differ, as a backbone gives them."""
    random = torch.Generator().manual_seed(seed)
    sides = (SIDE // stride for stride in (8, 16, 32))
    return [torch.randn(pictures, c, s, s, generator=random) for c, s in zip(config.maps, sides, strict=True)]


def target(
    boxes: list[list[float]], phrases: list[list[float]], kinds: list[list[float]] | None = None, sure: int = 5
) -> Target:
    of = torch.tensor(kinds) if kinds else torch.ones(len(phrases), 1)
    return Target(torch.tensor(boxes), torch.tensor(phrases), of, sure)


def test_the_share_of_a_box_is_that_of_the_phrases_on_it() -> None:
    """Three captions of five name the men, one the dog; a box that lies on neither is named by none."""
    truth = target([MEN, DOG], [MEN, MEN, MEN, DOG])
    near = [12.0, 22, 62, 112]
    boxes, nearest, shares = sample(torch.tensor([near, [0.0, 0, 20, 20]]), truth)
    rows = zip(boxes.tolist(), nearest.tolist(), shares.tolist(), strict=True)
    found = {tuple(box): (to, share) for box, to, share in rows}
    assert found.pop((0.0, 0.0, 20.0, 20.0))[1] == [0.0]
    assert found.pop(tuple(near)) == (MEN, pytest.approx([0.6]))
    assert found == {tuple(MEN): (MEN, pytest.approx([0.6])), tuple(DOG): (DOG, pytest.approx([0.2]))}


@pytest.mark.parametrize(("sure", "share"), [(5, 0.4), (2, 1.0), (1, 1.0)])
def test_a_share_never_passes_one(sure: int, share: float) -> None:
    _, _, shares = sample(torch.zeros(0, 4), target([MEN], [MEN, MEN], sure=sure))
    assert shares.tolist() == [[pytest.approx(share)]]


def test_each_kind_has_the_share_of_its_own_phrases() -> None:
    """A phrase of two kinds counts for both."""
    truth = target([MEN, DOG], [MEN, MEN, MEN, DOG], [[1, 0, 0], [1, 0, 0], [1, 0, 1], [0, 1, 0]])
    boxes, _, shares = sample(torch.zeros(0, 4), truth)
    found = {tuple(box.tolist()): share.tolist() for box, share in zip(boxes, shares, strict=True)}
    assert found == {tuple(MEN): pytest.approx([0.6, 0, 0.2]), tuple(DOG): pytest.approx([0, 0.2, 0])}


@pytest.mark.parametrize(("on", "off"), [(200, 200), (3, 200), (200, 3), (0, 0)])
def test_at_most_half_of_the_samples_lie_on_a_true_box(on: int, off: int) -> None:
    torch.manual_seed(0)
    proposed = torch.cat([torch.tensor(MEN) + torch.rand(on, 1), torch.tensor(DOG) / 3 + torch.rand(off, 1)])
    boxes, nearest, shares = sample(proposed, target([MEN], [MEN]))
    overlap = box_iou(boxes, torch.tensor([MEN]))[:, 0]
    positive = int((overlap >= MATCH).sum())
    assert positive == min(on + 1, SAMPLES // 2)  # the true box is among the candidates
    assert len(boxes) - positive == min(off, SAMPLES - positive)
    assert nearest.tolist() == [MEN] * len(boxes)
    assert torch.equal(shares[:, 0] > 0, overlap >= MATCH)


@pytest.mark.parametrize(
    ("kind", "kinds", "found"),
    [
        ("people", (), [1]),
        ("people", ("people", "scene"), [1, 0]),
        ("people/scene", ("people", "scene", "other"), [1, 1, 0]),
        ("people/vehicles", ("people", "other"), [1, 0]),
        ("vehicles", ("people", "other"), [0, 1]),
        ("other", ("people", "other"), [0, 1]),
        ("vehicles", ("people", "scene"), [0, 0]),
        ("tv/radio", ("tv/radio", "people"), [1, 0]),
    ],
)
def test_the_kinds_of_a_phrase(kind: str, kinds: tuple[str, ...], found: list[float]) -> None:
    assert kinds_of(kind, kinds) == found


@pytest.mark.parametrize("kinds", [(), ("people", "animals")])
def test_a_handful_of_pictures_is_learned_by_heart(kinds: tuple[str, ...]) -> None:
    """The cost falls; boxes come to lie on the true ones, with the share of the captions that name what is there."""
    torch.manual_seed(0)
    config = replace(SMALL, kinds=kinds)
    detector, maps = Detector(config), maps_of(4, config)
    of = [kinds_of(kind, kinds) for kind in ("people", "people", "people", "people", "animals")]
    moved = [[[box[0] + 3 * n, box[1], box[2] + 2 * n, box[3] - 4 * n] for box in (MEN, DOG)] for n in range(4)]
    truths = [target([men, dog], [men] * 4 + [dog], of) for men, dog in moved]
    optimiser = torch.optim.AdamW(detector.parameters(), 0.005)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 200)
    costs = []
    for _ in range(200):
        cost = detector(maps, truths)
        optimiser.zero_grad()
        cost.backward()
        optimiser.step()
        rate.step()
        costs.append(cost.item())
    assert sum(costs[-20:]) < 0.4 * sum(costs[:20])
    detector.eval()
    overlaps, shares = [], []
    for (boxes, scores), true in zip(detector.detect(maps), moved, strict=True):
        best, place = box_iou(torch.tensor(true), boxes[:4]).max(1)
        overlaps.append(best)
        shares.append(scores[place])
    assert (torch.stack(overlaps) >= MATCH).float().mean() >= 0.75
    assert torch.stack(shares).mean(0).tolist() == pytest.approx([0.8, 0.2], abs=0.15)


@pytest.fixture
def spread() -> Detector:
    """Of three kinds, never trained, whose scores differ much: the shares of many boxes add up to more than 1."""
    torch.manual_seed(0)
    detector = Detector(replace(SMALL, kinds=("a", "b", "c"))).eval()
    torch.nn.init.normal_(detector.score.weight, std=5.0)
    torch.nn.init.constant_(detector.score.bias, -2.0)
    return detector


def test_a_score_is_the_sum_of_the_kinds_shares_and_at_most_one(spread: Detector) -> None:
    maps = maps_of(2)
    with torch.no_grad():
        levels = spread.neck(maps)
        proposed, _ = spread.proposals(spread._images(2, maps[0]), levels)
        logits, _ = spread._second_stage(levels, proposed)
    sums = logits.sigmoid().sum(1).split([len(boxes) for boxes in proposed])
    for (boxes, scores), possible in zip(spread.detect(maps, 300, 1.0), sums, strict=True):
        assert len(boxes) == len(scores) > 20
        assert (scores.diff() <= 0).all() and scores[0] == 1 and scores[-1] < 1
        distance = (scores[:, None] - possible.clamp(max=1)[None]).abs().amin(1)
        assert distance.max() < 1e-6
        assert 1 < (scores == 1).sum() < len(scores)


def test_of_two_boxes_on_each_other_the_one_of_the_larger_sum_stays(spread: Detector) -> None:
    maps = maps_of(2)
    for (boxes, _), (kept, _) in zip(spread.detect(maps, 300, 1.0), spread.detect(maps, 300, 0.3), strict=True):
        chosen: list[Tensor] = []
        for box in boxes:
            if not chosen or box_iou(box[None], torch.stack(chosen)).max() <= 0.3:
                chosen.append(box)
        assert 2 < len(chosen) < len(boxes)
        torch.testing.assert_close(kept, torch.stack(chosen))


def test_no_detection_is_thin_outside_or_the_whole_picture(spread: Detector) -> None:
    whole = torch.tensor([[0.0, 0, SIDE, SIDE]])
    for boxes, scores in spread.detect(maps_of(2), 300, 1.0, min_score=0.9):
        assert (boxes >= 0).all() and (boxes <= SIDE).all()
        assert (boxes[:, 2:] - boxes[:, :2]).min() >= 1
        assert box_iou(boxes, whole).max() < LIKE_WHOLE
        assert 20 < len(boxes) < 180 and scores.min() >= 0.9


def test_a_batch_finds_what_each_picture_alone_does(spread: Detector) -> None:
    spread, maps = spread.double(), [each.double() for each in maps_of(3)]  # where no two boxes are nearly tied
    together = spread.detect(maps)
    for n in range(3):
        ((boxes, scores),) = spread.detect([each[n : n + 1] for each in maps])
        torch.testing.assert_close(boxes, together[n][0], rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(scores, together[n][1], rtol=1e-4, atol=1e-5)


def test_the_default_has_the_tensors_of_the_published_weights() -> None:
    published = load_file(Path(default_detector()) / "model.safetensors")
    own = Detector(DetectorConfig()).state_dict()
    assert {name: value.shape for name, value in own.items()} == {name: v.shape for name, v in published.items()}


def test_maps_of_other_widths_are_read() -> None:
    config = replace(SMALL, maps=(8, 12, 20))
    boxes, scores = Detector(config).eval().detect(maps_of(1, config))[0]
    assert len(boxes) == len(scores) > 0
    with pytest.raises(RuntimeError, match="channels"):
        Detector(config).detect(maps_of(1))


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"input_size": 100}, "multiple of 64"),
        ({"bins": 0}, "bins 0"),
        ({"dropout": 1.0}, "dropout 1.0"),
        ({"kinds": ("people", "people")}, "people people"),
        ({"kinds": ("people", " ")}, "name each kind once"),
    ],
)
def test_impossible_sizes_are_refused(sizes: dict, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        DetectorSizes(**sizes)
