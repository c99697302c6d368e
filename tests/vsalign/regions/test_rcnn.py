"""Faster R-CNN's regions are torchvision's own detections, and the whole picture before them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights, fasterrcnn_resnet50_fpn

from vsalign.errors import ConfigurationError, MissingInputError, ModelError
from vsalign.regions import ExtractorConfig, ExtractorFiles, build_extractor, extractor_of
from vsalign.regions.network import load_tensors, tensors_sha256
from vsalign.regions.rcnn import Torchvision, widened
from vsalign.regions.torchvision_models import padded

MODEL = "fasterrcnn_resnet50_fpn"
SIZE = 128
CLASSES = 6
PROPOSALS = {"training": 100, "testing": 100}
"""Instead of 1,000, with which random weights cost seconds a picture."""


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """Random weights (float16, to halve the files) whose scores spread, and whose boxes leave their proposals."""
    torch.manual_seed(0)
    model = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=CLASSES)
    model.roi_heads.box_predictor.cls_score.weight.data *= 0.3
    model.roi_heads.box_predictor.bbox_pred.weight.data *= 2
    return {name: tensor.half() for name, tensor in model.state_dict().items()}


def quick(extractor: Torchvision) -> Torchvision:
    extractor.model.rpn._post_nms_top_n = PROPOSALS
    return extractor


@pytest.fixture(scope="module")
def weights(state: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "detector.pth"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def detector(weights: Path) -> Torchvision:
    return quick(Torchvision(MODEL, str(weights), SIZE, top_k=19, nms=0.5, min_score=0.05))


@pytest.fixture(scope="module")
def reference(state: dict[str, torch.Tensor]) -> Any:
    """torchvision's own model, as it stands."""
    model = fasterrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        num_classes=CLASSES,
        min_size=SIZE,
        max_size=round(SIZE * 5 / 3),
        box_score_thresh=0.05,
        box_nms_thresh=0.5,
        box_detections_per_img=19,
    )
    model.load_state_dict(state)
    model.rpn._post_nms_top_n = PROPOSALS
    return model.eval()


@pytest.fixture(scope="module")
def pictures(make_picture) -> list[np.ndarray]:
    return [make_picture(0, 160, 120), make_picture(1, 100, 300), make_picture(2, 64, 64)]


def regions_of(detector: Torchvision, pictures: list[np.ndarray]) -> list:
    return detector.extract([detector.prepare(str(n), image) for n, image in enumerate(pictures)])


def test_regions_are_torchvisions_own_detections(detector, reference, pictures) -> None:
    with torch.inference_mode():
        expected = [reference([torch.from_numpy(image.copy()).permute(2, 0, 1) / 255])[0] for image in pictures]
    found = regions_of(detector, pictures)
    assert sum(len(each["scores"]) for each in expected) > 50  # there is something to compare
    assert len({round(score, 3) for score in expected[0]["scores"].tolist()}) > 5
    for regions, each in zip(found, expected, strict=True):
        np.testing.assert_allclose(regions.scores[1:], each["scores"].numpy(), rtol=1e-4)
        np.testing.assert_allclose(regions.boxes[1:], each["boxes"].numpy(), atol=0.01)


def test_regions_lie_in_the_picture_and_begin_with_the_whole(detector, pictures) -> None:
    for regions, image in zip(regions_of(detector, pictures), pictures, strict=True):
        height, width = image.shape[:2]
        assert regions.boxes[0].tolist() == [0, 0, width, height]
        assert 1 <= len(regions.boxes) <= 1 + 19
        assert len(regions.boxes) == len(regions.scores) == len(regions.features)
        assert regions.features.shape[1] == detector.dim == 1024
        assert (regions.boxes >= 0).all()
        assert (regions.boxes <= [width, height, width, height]).all()
        assert (regions.boxes[:, 2:] > regions.boxes[:, :2]).all()
        assert (np.diff(regions.scores[1:]) <= 0).all()
        assert regions.features.dtype == regions.boxes.dtype == np.float32


def test_features_are_the_box_heads_of_those_boxes(detector, reference, pictures) -> None:
    image = pictures[0]
    regions = regions_of(detector, [image])[0]
    with torch.inference_mode():
        images, _ = reference.transform([torch.from_numpy(image.copy()).permute(2, 0, 1) / 255])
        (inner_height, inner_width), (height, width) = images.image_sizes[0], image.shape[:2]
        boxes = torch.from_numpy(regions.boxes) * torch.tensor([inner_width / width, inner_height / height] * 2)
        heads, maps = reference.roi_heads, reference.backbone(images.tensors)
        expected = heads.box_head(heads.box_roi_pool(maps, [boxes], images.image_sizes))
    np.testing.assert_allclose(regions.features, expected.numpy(), rtol=1e-2, atol=1e-3 * float(expected.abs().max()))


def test_no_detection_leaves_the_whole_picture(weights, pictures) -> None:
    sure = quick(Torchvision(MODEL, str(weights), SIZE, min_score=0.999999))
    for regions in regions_of(sure, pictures):
        assert (len(regions.boxes), regions.features.shape, regions.scores.tolist()) == (1, (1, 1024), [1.0])


@pytest.mark.parametrize(("width", "height"), [(1, 1), (5000, 1), (1, 5000), (2000, 5), (3, 900)])
def test_slender_pictures_have_regions(detector, make_picture, width: int, height: int) -> None:
    """torchvision's own resizing would leave 0 px of the short side, and stop the run."""
    regions = regions_of(detector, [make_picture(0, width, height)])[0]
    assert regions.boxes[0].tolist() == [0, 0, width, height]
    assert (regions.boxes <= [width, height, width, height]).all()
    assert np.isfinite(regions.features).all()


def test_a_slender_picture_first_leaves_the_others_as_they_are(detector, weights, make_picture, pictures) -> None:
    """torchvision takes the strides of its maps from the first batch, whose padding is over half of it here."""
    fresh = quick(Torchvision(MODEL, str(weights), SIZE))
    assert fresh.prepare("x", make_picture(0, 1000, 188)).pixels.shape[1:] == (40, 213)
    regions_of(fresh, [make_picture(0, 1000, 188)])
    for one, two in zip(regions_of(fresh, pictures), regions_of(detector, pictures), strict=True):
        assert one.features.tobytes() == two.features.tobytes()
    scales = [1 / 4, 1 / 8, 1 / 16, 1 / 32]
    assert fresh.model.roi_heads.box_roi_pool.scales == scales


def test_what_a_picture_gets_does_not_hang_on_the_pictures_beside_it(detector, pictures) -> None:
    sizes = {padded(detector.prepare("x", image).pixels, 32) for image in pictures}
    assert len(sizes) == len(pictures)  # together they would all be padded further
    doubled = [pictures[at] for at in (0, 1, 0, 2, 1)]
    alone = [regions_of(detector, [image])[0] for image in doubled]
    for one, two in zip(regions_of(detector, doubled), alone, strict=True):
        np.testing.assert_allclose(one.scores, two.scores, rtol=1e-4)
        np.testing.assert_allclose(one.boxes, two.boxes, atol=0.01)
        np.testing.assert_allclose(one.features, two.features, rtol=1e-3, atol=1e-4 * float(two.features.max()))


def test_common_pictures_are_not_drawn_out(make_picture) -> None:
    image = make_picture(0, 640, 480)
    assert widened(image, 800, 1333) is image
    assert widened(make_picture(0, 5000, 1), 800, 1333).shape == (32, 1333, 3)


def test_large_pictures_are_held_resized(detector, make_picture) -> None:
    """A batch of photographs at full size, as float32, would cost gigabytes."""
    prepared = detector.prepare("x", make_picture(0, 4000, 3000))
    assert prepared.pixels.shape[1:] == (128, 170)
    assert (prepared.width, prepared.height) == (4000, 3000)


def test_a_safetensors_file_of_the_same_tensors_gives_the_same_regions(detector, state, pictures, tmp_path) -> None:
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, tmp_path / "detector.safetensors")
    other = quick(Torchvision(MODEL, str(tmp_path / "detector.safetensors"), SIZE))
    one, two = regions_of(detector, pictures[:1])[0], regions_of(other, pictures[:1])[0]
    assert one.features.tobytes() == two.features.tobytes()
    assert other.identity() == detector.identity()


def test_downloaded_weights_have_the_identity_of_a_local_copy(detector, state, monkeypatch) -> None:
    monkeypatch.setattr(FasterRCNN_ResNet50_FPN_Weights, "get_state_dict", lambda *_, **__: state)
    assert Torchvision(MODEL, "COCO_V1", SIZE).identity() == detector.identity()


def test_weights_that_cannot_be_downloaded_are_one_sentence(monkeypatch) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise URLError("no route")

    monkeypatch.setattr(FasterRCNN_ResNet50_FPN_Weights, "get_state_dict", offline)
    with pytest.raises(
        MissingInputError, match="COCO_V1 of faster.* cannot be downloaded .*no route.*name a local copy"
    ):
        Torchvision(MODEL, "COCO_V1", SIZE)


def test_the_identity_tells_names_types_shapes_and_values_apart() -> None:
    kept = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor(3)}
    assert tensors_sha256(dict(reversed(kept.items()))) == tensors_sha256(kept)
    others = [
        {"c": kept["a"], "b": kept["b"]},
        {"a": kept["a"].view(torch.int32), "b": kept["b"]},
        {"a": kept["a"].reshape(1, 2), "b": kept["b"]},
        {"a": torch.tensor([1.0, 2.5]), "b": kept["b"]},
        {"a": kept["a"].bfloat16(), "b": kept["b"]},
    ]
    assert len({tensors_sha256(state) for state in [kept, *others]}) == 6


def test_an_identity_rebuilds_its_extractor(detector, weights) -> None:
    assert detector.identity() == {
        "name": "torchvision",
        "model": MODEL,
        "dim": 1024,
        "weights_sha256": detector.weights_sha256,
        "input_size": SIZE,
        "top_k": 19,
        "nms": 0.5,
        "min_score": 0.05,
    }
    assert extractor_of(detector.identity(), ExtractorFiles(weights=str(weights))).identity() == detector.identity()


class Payload:
    """A pickle that would run code where it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_pickle_of_code_is_refused_and_not_run(tmp_path) -> None:
    for write in (torch.save, lambda thing, path: path.write_bytes(pickle.dumps(thing))):
        write(Payload(tmp_path / "ran"), tmp_path / "evil.pth")
        with pytest.raises(ModelError, match="evil.pth is no weights file that can be loaded as tensors only"):
            Torchvision(MODEL, str(tmp_path / "evil.pth"), SIZE)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"not weights", b"\x80\x02}q\x00."])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_file_of_something_else_is_refused(tmp_path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"weights.{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="weights"):
        Torchvision(MODEL, str(path), SIZE)


def test_a_checkpoint_around_the_state_dict_is_refused(tmp_path) -> None:
    torch.save({"model": {"weight": torch.zeros(2)}, "epoch": 3}, tmp_path / "checkpoint.pth")
    with pytest.raises(ModelError, match="save the model's state_dict.. alone"):
        load_tensors(tmp_path / "checkpoint.pth")


def test_weights_of_other_shapes_are_refused(state, tmp_path) -> None:
    changed = {**state, "roi_heads.box_head.fc7.weight": torch.zeros(3, 3).half()}
    torch.save(changed, tmp_path / "shapes.pth")
    with pytest.raises(ModelError, match="no state dict of torchvision's fasterrcnn_resnet50_fpn"):
        Torchvision(MODEL, str(tmp_path / "shapes.pth"), SIZE)
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ModelError, match="no state dict of torchvision's fasterrcnn_resnet50_fpn"):
        Torchvision(MODEL, str(tmp_path / "other.pth"), SIZE)


def test_missing_weights_are_named(tmp_path) -> None:
    with pytest.raises(MissingInputError, match="nowhere.pth"):
        build_extractor(ExtractorConfig(name="torchvision", weights=str(tmp_path / "nowhere.pth")))
    with pytest.raises(ConfigurationError, match="needs --extractor.weights"):
        build_extractor(ExtractorConfig(name="torchvision"))
