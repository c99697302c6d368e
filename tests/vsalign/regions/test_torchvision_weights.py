"""torchvision's models by name: their weights from files and downloads, their sizes, and what is refused."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torchvision.models import get_model, get_model_weights

from vsalign.errors import ConfigurationError, MissingInputError, ModelError
from vsalign.regions.rcnn import Torchvision
from vsalign.regions.torchvision_models import detection_model, set_input_size

SMALL = "ssdlite320_mobilenet_v3_large"
"""A model of 3 million weights, for what does not hang on the model."""


def empty_state(name: str, **counts: int) -> dict[str, torch.Tensor]:
    """A state dict of a model's shapes, all zeros, that takes no room."""
    with torch.device("meta"):
        model = get_model(name, weights=None, weights_backbone=None, **counts)
    return {key: torch.zeros((), dtype=value.dtype).expand(value.shape) for key, value in model.state_dict().items()}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Weights of the small model, of four classes."""
    torch.save(empty_state(SMALL, num_classes=4), tmp_path / "small.pth")
    return tmp_path / "small.pth"


def test_classes_and_keypoints_are_counted_in_the_weights(tmp_path) -> None:
    torch.save(empty_state("keypointrcnn_resnet50_fpn", num_classes=3, num_keypoints=5), tmp_path / "points.pth")
    heads = detection_model("keypointrcnn_resnet50_fpn", str(tmp_path / "points.pth")).network.roi_heads
    assert heads.box_predictor.cls_score.out_features == 3
    assert heads.keypoint_predictor.kps_score_lowres.out_channels == 5


def test_an_unknown_model_names_the_closest_or_all(weights) -> None:
    with pytest.raises(ConfigurationError, match="no detection model 'fasterrcnn_resnet50'.*fasterrcnn_resnet50_fpn"):
        Torchvision("fasterrcnn_resnet50", str(weights))
    with pytest.raises(ConfigurationError, match="'yolo': choose one of fasterrcnn_.*ssd300_vgg16"):
        Torchvision("yolo", str(weights))
    with pytest.raises(ConfigurationError, match="no detection model 'resnet50'"):  # of torchvision, but no detector
        Torchvision("resnet50", str(weights))


def test_weights_are_needed_and_the_downloads_are_named() -> None:
    with pytest.raises(ConfigurationError, match="needs --extractor.weights: .*keypointrcnn.* COCO_LEGACY or COCO_V1"):
        Torchvision("keypointrcnn_resnet50_fpn")


def test_a_name_that_is_neither_file_nor_download_lists_the_downloads() -> None:
    with pytest.raises(ConfigurationError, match="no file COCO_V2, and .*: it has COCO_LEGACY, COCO_V1, DEFAULT$"):
        Torchvision("keypointrcnn_resnet50_fpn", "COCO_V2")
    with pytest.raises(MissingInputError, match="there is no weights file folder/COCO_V2"):
        Torchvision("keypointrcnn_resnet50_fpn", "folder/COCO_V2")


def test_a_download_is_checked_and_read_as_tensors_only(weights, monkeypatch) -> None:
    asked = []

    def download(member: Any, **options: Any) -> dict[str, torch.Tensor]:
        asked.append((member.name, options["check_hash"], options["weights_only"]))
        return torch.load(weights)

    monkeypatch.setattr(get_model_weights(SMALL), "get_state_dict", download)
    local, loaded = Torchvision(SMALL, str(weights)), Torchvision(SMALL, "DEFAULT")
    assert asked == [("COCO_V1", True, True)]  # what DEFAULT stands for
    assert loaded.identity() == local.identity()
    assert "COCO" in loaded.licence
    assert local.licence == "the terms of the weights file and its training data"


@pytest.mark.parametrize("error", [URLError("no route"), RuntimeError("invalid hash value\nof the file")])
def test_a_failed_download_is_one_sentence(monkeypatch, error: Exception) -> None:
    def download(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(get_model_weights(SMALL), "get_state_dict", download)
    with pytest.raises(MissingInputError, match="^the weights COCO_V1 of ssdlite.* downloaded .*: name a .*") as raised:
        Torchvision(SMALL, "COCO_V1")
    assert "\n" not in str(raised.value)


def wrong(name: str) -> dict[str, torch.Tensor]:
    state = empty_state(SMALL, num_classes=4)
    logits = "head.classification_head.module_list.0.1.weight"
    changes = {
        "another model": empty_state("ssd300_vgg16"),
        "no class": {**state, logits: torch.zeros(0, 672, 1, 1)},
        "a part of a class": {**state, logits: torch.zeros(25, 672, 1, 1)},
        "a flat classifier": {**state, logits: torch.tensor(1.0)},
        "one tensor less": {key: value for key, value in state.items() if key != "backbone.features.0.0.0.weight"},
        "one tensor more": {**state, "more": torch.zeros(1)},
        "one shape": {**state, "backbone.features.0.0.0.weight": torch.zeros(3)},
        "nothing": {},
    }
    return changes[name]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("another model", "it has no tensor head.classification_head.module_list.0.1.weight"),
        ("no class", "which is that of no number of outputs"),
        ("a part of a class", r"weight has the shape \(25, 672, 1, 1\), which is that of no number of outputs"),
        ("a flat classifier", "index out of range"),
        ("one tensor less", 'Missing key.s. in state_dict: "backbone.features.0.0.0.weight"'),
        ("one tensor more", 'Unexpected key.s. in state_dict: "more"'),
        ("one shape", "size mismatch for backbone.features.0.0.0.weight"),
        ("nothing", "it has no tensor"),
    ],
)
def test_weights_that_do_not_fit_are_one_sentence(tmp_path, change: str, said: str) -> None:
    torch.save(wrong(change), tmp_path / "wrong.pth")
    with pytest.raises(ModelError, match=f"no state dict of torchvision's {SMALL}: .*{said}") as raised:
        Torchvision(SMALL, str(tmp_path / "wrong.pth"))
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 350


def test_a_fixed_size_is_not_changed(weights) -> None:
    for size in (0, 320):
        assert Torchvision(SMALL, str(weights), size).identity()["input_size"] == 320
    with pytest.raises(ConfigurationError, match="input-size 640: ssdlite.* 320 x 320 px, and takes no other"):
        Torchvision(SMALL, str(weights), 640)


@pytest.mark.parametrize(
    ("name", "asked", "short", "long"),
    [
        ("fasterrcnn_resnet50_fpn", 0, 800, 1333),
        ("fasterrcnn_resnet50_fpn", 800, 800, 1333),
        ("fasterrcnn_resnet50_fpn", 1024, 1024, 1707),
        ("keypointrcnn_resnet50_fpn", 0, 800, 1333),
        ("fasterrcnn_mobilenet_v3_large_320_fpn", 0, 320, 640),
        ("fasterrcnn_mobilenet_v3_large_320_fpn", 320, 320, 640),
        ("fasterrcnn_mobilenet_v3_large_320_fpn", 448, 448, 896),
        ("retinanet_resnet50_fpn", 400, 400, 667),
    ],
)
def test_pictures_are_resized_as_the_model_would_at_that_size(name: str, asked: int, short: int, long: int) -> None:
    with torch.device("meta"):
        model = get_model(name, weights=None, weights_backbone=None).eval()
    assert set_input_size(model, name, asked) == short
    for height, width, expected in ((600, 600, (short, short)), (100, 1000, (long // 10, long))):
        assert model.transform.resize(torch.zeros(3, height, width))[0].shape[1:] == expected


def test_too_small_a_size_is_refused(tmp_path) -> None:
    torch.save(empty_state("fcos_resnet50_fpn"), tmp_path / "fcos.pth")
    with pytest.raises(ConfigurationError, match="input-size 32: give fcos_resnet50_fpn at least 64 px"):
        Torchvision("fcos_resnet50_fpn", str(tmp_path / "fcos.pth"), 32)


def test_nothing_is_warned_of_and_nothing_stays_without_numbers(weights) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = Torchvision(SMALL, str(weights)).model
    tensors = [*model.parameters(), *model.buffers()]
    assert {each.device.type for each in tensors} == {"cpu"}
    assert not any(each.requires_grad for each in tensors)
