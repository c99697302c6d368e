"""Every detection model of torchvision gives its own detections, and of each picture what it gives of it alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import get_model
from torchvision.ops import roi_align

from vsalign.regions.placement import Placement
from vsalign.regions.pooling import enough_samples
from vsalign.regions.rcnn import Torchvision
from vsalign.regions.torchvision_models import model_names

SIZE = 96
CLASSES = 6
TOP_K, NMS, MIN_SCORE = 12, 0.4, 0.1
SMALL = "ssdlite320_mobilenet_v3_large"
"""A model of 3 million weights, for what does not hang on the model."""

SHARPNESS = {"retinanet_resnet50_fpn": 20.0, "ssd300_vgg16": 0.2}
"""By what random classifiers are multiplied, so that scores are neither all alike nor all 1."""


def tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1) / 255


def lively(model: Any, pictures: list[np.ndarray]) -> None:
    """Give a model of random weights the statistics of some pictures, without which its maps are 0 or beyond
    measure, and boxes and scores that spread."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    two_stage = hasattr(model, "roi_heads")
    with torch.no_grad():
        if norms:
            for norm in norms:
                norm.momentum = None  # the average of what it sees, not a moving one
            seen = model.transform.eval()([tensor(image) for image in pictures])[0]
            maps = model.backbone.train()(seen.tensors)
            if not two_stage:
                model.head.train()(list(maps.values()))
        if two_stage:
            model.roi_heads.box_predictor.bbox_pred.weight *= 2
            return
        head = model.head.classification_head
        last = [head.cls_logits] if hasattr(head, "cls_logits") else [list(m.modules())[-1] for m in head.module_list]
        for layer in last:
            layer.weight *= SHARPNESS.get(model.kind, 1.0)
            if hasattr(head, "cls_logits"):
                layer.bias.fill_(-2.0)  # from the -4.6 of a head that has learned nothing


class Forbidden(nn.Module):
    """In place of what finds masks and keypoints: regions do without."""

    def forward(self, *_: Any) -> None:
        raise AssertionError("a head ran whose output nobody reads")


class Case:
    """torchvision's model of random weights as it stands, and the extractor on the same weights."""

    def __init__(self, name: str, folder: Path, make_picture: Any) -> None:
        torch.manual_seed(0)
        two_stage = "rcnn" in name
        fixed = "ssd" in name
        options = {"box_score_thresh": MIN_SCORE, "box_nms_thresh": NMS, "box_detections_per_img": TOP_K}
        if not two_stage:
            options = {"score_thresh": MIN_SCORE, "nms_thresh": NMS, "detections_per_img": TOP_K}
        if not fixed:
            options |= {"min_size": SIZE, "max_size": SIZE * 2 if "_320_" in name else round(SIZE * 5 / 3)}
        if two_stage:
            options |= {"rpn_post_nms_top_n_test": 40}
        self.reference = get_model(name, weights=None, weights_backbone=None, num_classes=CLASSES, **options)
        self.reference.kind = name
        lively(self.reference, [make_picture(seed, SIZE, SIZE) for seed in range(4)])
        self.reference.eval().requires_grad_(False)
        path = folder / f"{name}.pth"
        torch.save(self.reference.state_dict(), path)
        self.extractor = Torchvision(name, str(path), 0 if fixed else SIZE, TOP_K, NMS, MIN_SCORE)
        path.unlink()
        if two_stage:
            self.extractor.model.rpn._post_nms_top_n["testing"] = 40
            heads = self.extractor.model.roi_heads
            for part in ("mask_roi_pool", "mask_head", "keypoint_roi_pool", "keypoint_head"):
                if getattr(heads, part) is not None:
                    setattr(heads, part, Forbidden())
        self.pictures = [make_picture(1, 160, 120), make_picture(2, 90, 170), make_picture(3, 240, 180)]
        self.regions = self.of(self.pictures)

    def of(self, pictures: list[np.ndarray]) -> list:
        return self.extractor.extract([self.extractor.prepare(str(n), image) for n, image in enumerate(pictures)])


@pytest.fixture(scope="module", params=model_names())
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, make_picture: Any) -> Case:
    return Case(request.param, tmp_path_factory.mktemp("weights"), make_picture)


def test_regions_of_a_batch_are_the_detections_that_torchvision_gives_of_each_picture(case) -> None:
    for image, regions in zip(case.pictures, case.regions, strict=True):
        height, width = image.shape[:2]
        with torch.inference_mode():
            expected = case.reference([tensor(image)])[0]
        scores = expected["scores"].numpy()
        assert len(scores) >= 5  # there is something to compare
        assert len(np.unique(scores.round(3))) >= 4
        np.testing.assert_allclose(regions.scores, [1, *scores], rtol=1e-3)
        np.testing.assert_allclose(regions.boxes[1:], expected["boxes"].numpy(), atol=0.02)
        assert regions.boxes[0].tolist() == [0, 0, width, height]
        assert regions.features.shape == (1 + len(scores), case.extractor.dim)
        assert np.isfinite(regions.features).all()
        assert regions.boxes.dtype == regions.scores.dtype == regions.features.dtype == np.float32


def test_features_are_pooled_from_the_models_own_maps(case) -> None:
    model, (image, regions) = case.reference, list(zip(case.pictures, case.regions, strict=True))[1]
    with torch.inference_mode():
        images = model.transform([tensor(image)])[0]
        (inner_height, inner_width), (height, width) = images.image_sizes[0], image.shape[:2]
        boxes = torch.from_numpy(regions.boxes) * torch.tensor([inner_width / width, inner_height / height] * 2)
        maps = model.backbone(images.tensors)
        if hasattr(model, "roi_heads"):
            heads = model.roi_heads
            expected = heads.box_head(heads.box_roi_pool(maps, [boxes], images.image_sizes))
        else:
            coarse = maps["1" if model.kind == SMALL else "2"]  # at a stride of 32, of SSD300 30
            scale = coarse.shape[3] / images.tensors.shape[3]
            samples = enough_samples(max(coarse.shape[2:]))
            expected = roi_align(coarse, [boxes], 1, scale, samples, aligned=True).flatten(1)
    spread = float(expected.std(0).mean())
    assert spread > 1e-2  # one box's feature is not another's
    np.testing.assert_allclose(regions.features, expected.numpy(), rtol=1e-3, atol=1e-2 * spread)


def test_a_slender_picture_has_regions(case, make_picture) -> None:
    """1 px wide, torchvision's own resizing would leave nothing of it; and it leaves the pictures after it alone."""
    regions = case.of([make_picture(0, 1, 500)])[0]
    assert regions.boxes[0].tolist() == [0, 0, 1, 500]
    assert (regions.boxes >= 0).all()
    assert (regions.boxes <= [1, 500, 1, 500]).all()
    assert np.isfinite(regions.features).all()


def test_the_identity_names_the_model_and_its_size(case) -> None:
    sizes = {"ssd300_vgg16": (300, 512), SMALL: (320, 480)}
    size, dim = sizes.get(case.reference.kind, (SIZE, 1024 if "rcnn" in case.reference.kind else 256))
    assert case.extractor.identity() == {
        "name": "torchvision",
        "model": case.reference.kind,
        "dim": dim,
        "weights_sha256": case.extractor.weights_sha256,
        "input_size": size,
        "top_k": TOP_K,
        "nms": NMS,
        "min_score": MIN_SCORE,
    }


@pytest.mark.parametrize("name", [SMALL, "fasterrcnn_mobilenet_v3_large_fpn"])
def test_a_shortened_backbone_gives_nearly_the_same(tmp_path, make_picture, name: str) -> None:
    """In float16, on a CPU: what a GPU does, though slowly. The heads keep their digits."""
    case = Case(name, tmp_path, make_picture)
    torch.save(case.reference.state_dict(), tmp_path / "weights.pth")
    options = {**case.extractor.options, "weights": str(tmp_path / "weights.pth")}
    short = Torchvision(**options, placement=Placement(dtype=torch.float16))
    heads = short.model.roi_heads if hasattr(short.model, "roi_heads") else short.model.head
    assert {each.dtype for each in short.model.backbone.parameters()} == {torch.float16}
    assert {each.dtype for each in heads.parameters()} == {torch.float32}
    for image, full in zip(case.pictures, case.regions, strict=True):
        regions = short.extract([short.prepare("x", image)])[0]
        difference = np.linalg.norm(regions.features[0] - full.features[0])
        assert 0 < difference < 0.1 * np.linalg.norm(full.features[0])
        assert regions.boxes.dtype == regions.scores.dtype == regions.features.dtype == np.float32


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["fasterrcnn_resnet50_fpn", "retinanet_resnet50_fpn_v2", "ssd300_vgg16"])
def test_a_gpu_finds_the_same(tmp_path, make_picture, name: str) -> None:
    case = Case(name, tmp_path, make_picture)
    torch.save(case.reference.state_dict(), tmp_path / "weights.pth")
    options = {**case.extractor.options, "weights": str(tmp_path / "weights.pth")}
    case.extractor = Torchvision(**options, placement=Placement.of("cuda"))
    if hasattr(case.reference, "roi_heads"):
        case.extractor.model.rpn._post_nms_top_n["testing"] = 40
    for there, here in zip(case.of(case.pictures), case.regions, strict=True):
        np.testing.assert_allclose(there.scores, here.scores, rtol=1e-2)
        same = np.isclose(there.boxes, here.boxes, atol=0.5).all(1)
        assert same.mean() > 0.8  # two of nearly one score may change places
        tolerance = 1e-2 * np.abs(here.features).max()
        np.testing.assert_allclose(there.features[same], here.features[same], rtol=1e-2, atol=tolerance)
