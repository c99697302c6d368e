"""Grounding against a plain loop, and against answers known by hand."""

from __future__ import annotations

import numpy as np
import pytest

from vsalign.datasets.records import PhraseTruth
from vsalign.errors import VsalignError
from vsalign.evaluation.grounding import Grounding, evaluate_grounding

WHOLE = [0, 0, 100, 100]


def phrase(boxes: list[list[float]], image_id: str = "a.jpg", kind: str = "people") -> PhraseTruth:
    return PhraseTruth(
        image_id=image_id,
        caption_id=f"{image_id}#0",
        start=0,
        end=2,
        text="a man",
        kind=kind,
        boxes=np.asarray(boxes, np.float32).reshape(-1, 4),
        width=100,
        height=100,
    )


def test_the_union_box_counts_for_iou_and_any_box_for_pointing() -> None:
    two_men = phrase([[0, 0, 20, 100], [80, 0, 100, 100]])
    regions = {"a.jpg": np.asarray([WHOLE, [0, 0, 20, 100]], np.float32)}

    whole, one_man = (evaluate_grounding([two_men], regions, [index]).total for index in (0, 1))

    assert (whole.chosen.iou, whole.chosen.pointing) == (1.0, 0.0)  # the gap between them is nobody
    assert (one_man.chosen.iou, one_man.chosen.pointing) == (0.0, 1.0)


def test_a_box_of_its_own_is_measured_as_a_region_is() -> None:
    truth = [phrase([[10, 10, 20, 20]]), phrase([[0, 0, 20, 100], [80, 0, 100, 100]])]
    regions = {"a.jpg": np.asarray([WHOLE, [10, 10, 20, 30], [0, 0, 20, 100]], np.float32)}
    boxes = [regions["a.jpg"][1], regions["a.jpg"][2]]

    by_box = evaluate_grounding(truth, regions, boxes, [0, np.array([0.0, 0, 20, 100])])

    assert by_box.total == evaluate_grounding(truth, regions, [1, 2], [0, 2]).total
    assert by_box.total.chosen.iou == 0.5 and by_box.total.chosen.pointing == 1.0


def test_iou_of_exactly_one_half_is_right() -> None:
    regions = {"a.jpg": np.asarray([WHOLE, [10, 10, 20, 30]], np.float32)}

    measured = evaluate_grounding([phrase([[10, 10, 20, 20]])], regions, [1])

    assert measured.total.chosen.iou == 1.0


def test_the_lines_that_need_no_model_stand_beside() -> None:
    in_the_middle = phrase([[20, 20, 80, 80]])
    regions = {"a.jpg": np.asarray([WHOLE, [0, 0, 10, 10], [20, 20, 80, 70], [90, 90, 99, 99]], np.float32)}

    figures = evaluate_grounding([in_the_middle], regions, [1]).total

    assert (figures.chosen.iou, figures.chosen.pointing) == (0.0, 0.0)
    assert (figures.whole_image.iou, figures.whole_image.pointing) == (0.0, 1.0)
    assert (figures.centre.iou, figures.centre.pointing) == (1.0, 1.0)  # IoU 36 / 50
    assert (figures.best_possible.iou, figures.best_possible.pointing) == (1.0, 1.0)
    assert (figures.chance.iou, figures.chance.pointing) == (0.25, 0.5)


def random_case(seed: int) -> tuple[list[PhraseTruth], dict[str, np.ndarray], list[int]]:
    rng = np.random.default_rng(seed)

    def boxes(count: int) -> np.ndarray:
        corner = rng.uniform(0, 60, (count, 2))
        return np.concatenate([corner, corner + rng.uniform(5, 40, (count, 2))], axis=1).astype(np.float32)

    regions = {f"{i}.jpg": np.concatenate([[WHOLE], boxes(int(rng.integers(0, 8)))]) for i in range(5)}
    phrases = [
        phrase(boxes(int(rng.integers(1, 4))).tolist(), f"{i}.jpg", str(rng.choice(["people", "animals"])))
        for i in range(5)
        for _ in range(6)
    ]
    return phrases, regions, [int(rng.integers(0, len(regions[item.image_id]))) for item in phrases]


def iou(a: list[float], b: list[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def hits(region: list[float], truth: list[list[float]]) -> tuple[bool, bool]:
    columns = list(zip(*truth, strict=True))
    union = [min(columns[0]), min(columns[1]), max(columns[2]), max(columns[3])]
    x, y = (region[0] + region[2]) / 2, (region[1] + region[3]) / 2
    return iou(region, union) >= 0.5, any(b[0] <= x <= b[2] and b[1] <= y <= b[3] for b in truth)


@pytest.mark.parametrize("seed", range(5))
def test_figures_by_kind_equal_a_plain_loop(seed: int) -> None:
    phrases, regions, chosen = random_case(seed)

    measured = evaluate_grounding(phrases, regions, chosen)

    assert measured.total.phrases == sum(figures.phrases for figures in measured.by_kind.values()) == 30
    for kind, figures in {"": measured.total, **measured.by_kind}.items():
        rows = [
            (index, [hits(region, item.boxes.tolist()) for region in regions[item.image_id].tolist()])
            for item, index in zip(phrases, chosen, strict=True)
            if kind in ("", item.kind)
        ]
        for side, name in enumerate(("iou", "pointing")):
            columns = [(index, [hit[side] for hit in of_regions]) for index, of_regions in rows]
            assert getattr(figures.chosen, name) == pytest.approx(np.mean([h[i] for i, h in columns]))
            assert getattr(figures.whole_image, name) == pytest.approx(np.mean([h[0] for _, h in columns]))
            assert getattr(figures.best_possible, name) == pytest.approx(np.mean([max(h) for _, h in columns]))
            assert getattr(figures.chance, name) == pytest.approx(np.mean([np.mean(h) for _, h in columns]))


def test_what_cannot_be_measured_is_counted_and_no_region_is_a_miss() -> None:
    phrases = [phrase([WHOLE]), phrase([]), phrase([WHOLE], "b.jpg"), phrase([WHOLE])]
    regions = {"a.jpg": np.asarray([WHOLE], np.float32)}

    measured = evaluate_grounding(phrases, regions, [0, 0, 0, -1])

    assert (measured.without_boxes, measured.missing_regions, measured.without_region) == (1, 1, 1)
    assert measured.total.phrases == 2
    assert measured.total.chosen.iou == 0.5
    assert measured.total.best_possible.iou == 1.0
    text = str(measured)
    assert isinstance(measured, Grounding)
    assert "1 without true boxes" in text and "chosen 50.0 / 50.0" in text and "centre" in text


@pytest.mark.parametrize(
    ("true", "regions", "chosen", "message"),
    [
        ([WHOLE], [WHOLE], [0, 0], "1 phrases but 2 chosen"),
        ([WHOLE], [WHOLE, WHOLE], [2], "put on region 2, but the picture has 2"),
        ([WHOLE], [WHOLE], [-2], "put on region -2"),
        ([WHOLE], np.zeros((0, 4)), [-1], "region 0 of 0"),
        ([[10, 10, 10, 20]], [WHOLE], [0], r"true box 0 is \[10"),
        ([WHOLE], [WHOLE, [0, 0, np.nan, 5]], [0], "region 1 is"),
        ([WHOLE], [[0, 0, 50, 50]], [0], "100 x 100 px, but region 0 .* is 50 x 50 px; rescale"),
        ([], [WHOLE], [0], "none of 1 phrases can be measured"),
    ],
)
def test_what_makes_no_sense_is_refused(true: list, regions: list, chosen: list[int], message: str) -> None:
    with pytest.raises(VsalignError, match=message):
        evaluate_grounding([phrase(true)], {"a.jpg": np.asarray(regions, np.float32)}, chosen)
