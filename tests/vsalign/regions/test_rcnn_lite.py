"""`rcnn-lite`: the boxes of a trained detector, and features pooled from the map or from crops."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from vsalign.boxes import box_iou
from vsalign.checkpoint import save_detector
from vsalign.errors import ConfigurationError, MissingInputError, ModelError
from vsalign.regions import ExtractorConfig, ExtractorFiles, build_extractor, extractor_of, said
from vsalign.regions.detector import LIKE_WHOLE, Detector, DetectorConfig
from vsalign.regions.lite import Given, Lite
from vsalign.regions.pooled import fixed_boxes
from vsalign.regions.rcnn_lite import RcnnLite

SIZES = ((90, 60), (60, 90), (500, 20), (64, 64))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, lite: Lite) -> str:
    """A detector that was never trained: its boxes are its anchors, its scores differ a little."""
    torch.manual_seed(0)
    detector = Detector(DetectorConfig(input_size=128, channels=16, hidden=16))
    torch.nn.init.normal_(detector.score.weight, std=1.0)
    url = str(tmp_path_factory.mktemp("models") / "detector")
    save_detector(url, detector, lite.identity(), {}, "for the tests alone")
    return url


@pytest.fixture(scope="module")
def extractor(folder: str) -> RcnnLite:
    return RcnnLite(folder)


def extract(extractor: RcnnLite | Given | Lite, make_picture: Callable[..., np.ndarray]) -> list:
    return extractor.extract(
        [extractor.prepare(str(n), make_picture(n, width, height)) for n, (width, height) in enumerate(SIZES)]
    )


def test_the_whole_picture_then_detections_by_falling_score(extractor, make_picture) -> None:
    for regions, (width, height) in zip(extract(extractor, make_picture), SIZES, strict=True):
        assert regions.boxes[0].tolist() == [0, 0, width, height] and regions.scores[0] == 1
        assert 2 < len(regions.boxes) <= 20
        assert regions.features.shape == (len(regions.boxes), 1280) and np.isfinite(regions.features).all()
        assert (np.diff(regions.scores[1:]) <= 0).all() and 0 < regions.scores[1] < 1
        assert (regions.boxes >= 0).all() and (regions.boxes <= [width, height, width, height]).all()
        assert (regions.boxes[:, 2:] > regions.boxes[:, :2]).all()


def test_the_default_finds_finite_features_in_pictures_of_any_shape() -> None:
    extractor, shapes = RcnnLite(), ((1, 1), (3, 1), (5000, 1), (1, 5000), (8000, 20), (20_000, 1000))
    for width, height in shapes:
        (regions,) = extractor.extract([extractor.prepare("a", np.full((height, width, 3), 90, np.uint8))])
        assert regions.boxes[0].tolist() == [0, 0, width, height]
        assert (regions.boxes[:, 2:] > regions.boxes[:, :2]).all() and (regions.boxes >= 0).all()
        assert (regions.boxes <= [width, height, width, height]).all() and np.isfinite(regions.features).all()


def test_no_two_detections_overlap_more_than_nms_and_none_is_the_whole(folder, make_picture) -> None:
    strict, loose = RcnnLite(folder, nms=0.3), RcnnLite(folder, nms=0.9)
    # A square picture: squashing keeps its IoUs.
    for extractor, limit in ((strict, 0.3), (loose, 0.9)):
        boxes = extract(extractor, make_picture)[3].boxes
        overlap = box_iou(boxes, boxes) - np.eye(len(boxes))
        assert overlap[1:, 1:].max() <= limit + 1e-4
        assert overlap[0].max() < LIKE_WHOLE + 1e-4
    assert overlap[1:, 1:].max() > 0.3


def test_top_k_and_min_score_cut_the_same_list(folder, extractor, make_picture) -> None:
    everything = extract(extractor, make_picture)
    few = extract(RcnnLite(folder, top_k=3), make_picture)
    middle = float(np.median(everything[0].scores[1:]))
    good = extract(RcnnLite(folder, min_score=middle), make_picture)
    for all_of, first in zip(everything, few, strict=True):
        assert first.boxes.tolist() == all_of.boxes[:4].tolist()
    assert 1 < len(good[0].boxes) < len(everything[0].boxes)
    assert good[0].scores[1:].min() >= middle


def test_the_features_are_those_of_the_same_boxes_given(extractor, make_picture, coco) -> None:
    found = extract(extractor, make_picture)
    listed = {}
    for n, ((width, height), regions) in enumerate(zip(SIZES, found, strict=True)):
        boxes = regions.boxes[1:].astype(float)
        corner = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
        listed[str(n)] = (width, height, np.column_stack([corner, regions.scores[1:]]).tolist())
    given = extract(Given(coco(listed), input_size=128), make_picture)
    for one, other in zip(found, given, strict=True):
        np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-3)
        np.testing.assert_allclose(one.features, other.features, rtol=1e-3, atol=1e-3)


def test_identity_tells_the_detector_and_its_options_and_rebuilds_it(folder, extractor) -> None:
    identity = extractor.identity()
    assert identity["name"] == "rcnn-lite" and len(identity["detector_sha256"]) == 64
    assert extractor_of(identity, ExtractorConfig(weights=folder)).identity() == identity
    for options in ({"top_k": 3}, {"nms": 0.4}, {"min_score": 0.1}, {"pooling": "crop"}):
        other = build_extractor(ExtractorConfig(weights=folder, **options))
        assert other.identity() != identity
        assert extractor_of(other.identity(), ExtractorConfig(weights=folder)).identity() == other.identity()


def test_the_terms_of_the_detector_and_the_backbone_are_said(extractor) -> None:
    line = said(extractor)
    assert "for the tests alone" in line and "Apache-2.0" in line and "1280 numbers a region" in line
    assert " 13 MB of weights in each process" in line  # 3.4 million numbers of the backbone, and few of this detector


def test_the_default_detector_is_of_a_distribution_of_its_own(monkeypatch) -> None:
    assert "non-commercial" in said(RcnnLite())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingInputError, match="pip install ./models .* --extractor.name lite"):
        RcnnLite()


def test_a_detector_of_another_backbone_is_refused(tmp_path: Path) -> None:
    detector = Detector(DetectorConfig(input_size=64, channels=16, hidden=16))
    save_detector(str(tmp_path / "other"), detector, {"name": "lite", "dim": 1280, "weights_sha256": "0" * 64}, {})
    with pytest.raises(ModelError, match="trained on a backbone of other weights"):
        RcnnLite(str(tmp_path / "other"))
    with pytest.raises(MissingInputError, match="there is no model at .*nowhere"):
        RcnnLite(str(tmp_path / "nowhere"))


def test_a_crop_is_what_the_network_gives_of_that_part_alone(make_picture) -> None:
    """The paper's own pooling, section 3.1.1: each box cropped, warped and passed through the network."""
    image = make_picture(0, 224, 224)
    crop, whole = Lite(input_size=64, pooling="crop"), Lite(input_size=224)
    regions = crop.extract([crop.prepare("x", image)])[0]
    assert regions.boxes.tolist() == (fixed_boxes() * 224).tolist()
    left, top, right, bottom = (int(value) for value in regions.boxes[5])
    part = image[top:bottom, left:right]
    alone = whole.extract([whole.prepare("x", part)])[0]
    # Region 0 of either: the average over the map of what went through the network.
    np.testing.assert_allclose(regions.features[5], alone.features[0], rtol=0.1, atol=0.12)
    assert np.abs(regions.features[4] - alone.features[0]).max() > 0.5
    assert crop.identity() == {**Lite(input_size=64).identity(), "pooling": "crop"}


def test_both_poolings_stand_side_by_side(make_picture) -> None:
    images = [make_picture(seed, 96, 64) for seed in range(2)]
    found = {}
    for pooling in ("crop", "map", "both"):
        extractor = Lite(input_size=64, pooling=pooling)
        found[pooling] = extractor.extract([extractor.prepare(str(n), image) for n, image in enumerate(images)])
        assert extractor.dim == found[pooling][0].features.shape[1] == (2560 if pooling == "both" else 1280)
    for crop, whole, both in zip(*found.values(), strict=True):
        np.testing.assert_array_equal(both.boxes, whole.boxes)
        np.testing.assert_allclose(both.features[:, :1280], crop.features, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(both.features[:, 1280:], whole.features, rtol=1e-4, atol=1e-4)
    assert extractor_of(extractor.identity()).dim == 2560


def test_a_precision_for_gpus_is_refused_on_a_cpu() -> None:
    with pytest.raises(ConfigurationError, match="bfloat16 is for a GPU"):
        build_extractor(ExtractorConfig(name="lite", device="cpu", precision="bfloat16"))


def test_a_gpu_that_is_not_there_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigurationError, match="sees no CUDA device"):
        build_extractor(ExtractorConfig(name="lite", device="cuda"))


def test_given_boxes_are_pooled_in_place_of_its_own_by_the_same_identity(folder, make_picture, tmp_path) -> None:
    own = RcnnLite(folder, top_k=5, pooling="both")
    image = make_picture(0, 90, 60)
    (found,) = own.extract([own.prepare("a.jpg", image)])
    rows = [
        {"image_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": score}
        for (x1, y1, x2, y2), score in zip(found.boxes[1:].tolist(), found.scores[1:].tolist(), strict=True)
    ]
    file = tmp_path / "boxes.json"
    images = [{"id": 1, "file_name": "a.jpg", "width": 90, "height": 60}]
    file.write_text(json.dumps({"images": images, "annotations": rows}))

    given = extractor_of(own.identity(), ExtractorFiles(weights=folder, boxes=str(file)))
    (again,) = given.extract([given.prepare("a.jpg", image)])

    assert given.identity() == own.identity()
    np.testing.assert_allclose(again.boxes, found.boxes, atol=1e-4)
    np.testing.assert_allclose(again.features, found.features, rtol=1e-3, atol=1e-3)
