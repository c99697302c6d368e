"""The detectron2 extractor's regions are detectron2's own detections, and the whole picture before them."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from vsalign.errors import ConfigurationError, MissingInputError, ModelError
from vsalign.regions import extractor_of
from vsalign.regions.base import Regions
from vsalign.regions.config import ExtractorFiles
from vsalign.regions.detectron import Detectron2
from vsalign.regions.placement import Placement

pytestmark = pytest.mark.detectron2

SIZE = 128

BASES = {
    "fpn": "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml",
    "c4": "COCO-Detection/faster_rcnn_R_50_C4_1x.yaml",
    "dc5": "COCO-Detection/faster_rcnn_R_50_DC5_1x.yaml",
    "mask c4": "COCO-InstanceSegmentation/mask_rcnn_R_50_C4_1x.yaml",
    "keypoints": "COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x.yaml",
    "cascade": "Misc/cascade_mask_rcnn_R_50_FPN_1x.yaml",
    "panoptic": "COCO-PanopticSegmentation/panoptic_fpn_R_50_1x.yaml",
    "conv head": "Misc/mask_rcnn_R_50_FPN_3x_gn.yaml",
}
"""Of the model zoo: one of each kind of head."""

SMALL = {
    "PIXEL_STD": [57.0, 57.0, 57.0],
    "RESNETS": {"STEM_OUT_CHANNELS": 8, "RES2_OUT_CHANNELS": 16, "WIDTH_PER_GROUP": 8, "NORM": "FrozenBN"},
    "FPN": {"OUT_CHANNELS": 16, "NORM": ""},
    "RPN": {"POST_NMS_TOPK_TEST": 60},
    "ROI_BOX_HEAD": {"FC_DIM": 24, "CONV_DIM": 8, "NORM": ""},
    "ROI_MASK_HEAD": {"CONV_DIM": 8, "NORM": ""},
    "ROI_KEYPOINT_HEAD": {"CONV_DIMS": [8, 8]},
    "SEM_SEG_HEAD": {"CONVS_DIM": 8, "NORM": ""},
}
"""Few channels, so that a picture takes a moment."""


@dataclass(frozen=True)
class Built:
    """A small detector of random weights, as files, and detectron2's own way of asking it."""

    config: str
    weights: str

    def extractor(self, **options: Any) -> Detectron2:
        return Detectron2(self.config, self.weights, **{"input_size": SIZE, **options})

    def predictor(self) -> Any:
        from detectron2.engine import DefaultPredictor

        settings = cpu_settings(self.config)
        settings.MODEL.WEIGHTS = self.weights
        settings.INPUT.MIN_SIZE_TEST, settings.INPUT.MAX_SIZE_TEST = SIZE, 213
        settings.TEST.DETECTIONS_PER_IMAGE = 19
        return DefaultPredictor(settings)


def cpu_settings(config: str) -> Any:
    from detectron2.config import get_cfg

    settings = get_cfg()
    settings.merge_from_file(config, allow_unsafe=False)
    settings.MODEL.DEVICE = "cpu"
    return settings


def zoo(name: str) -> str:
    import detectron2

    return str(Path(str(detectron2.__file__)).parent / "model_zoo" / "configs" / name)


def write_config(path: Path, base: str, **model: Any) -> str:
    path.write_text(json.dumps({"_BASE_": zoo(base), "MODEL": {**SMALL, **model}}))  # JSON is YAML
    return str(path)


@torch.no_grad()
def spread(model: Any, image: np.ndarray) -> None:
    """Rescale the last layers until scores differ and boxes leave their proposals."""
    predictors = model.roi_heads.box_predictor
    for predictor in predictors if isinstance(predictors, torch.nn.ModuleList) else [predictors]:
        seen: list[torch.Tensor] = []
        hook = predictor.cls_score.register_forward_hook(lambda _, given, __, seen=seen: seen.append(given[0]))
        model.inference([{"image": torch.from_numpy(image.copy()).permute(2, 0, 1).float()}])
        hook.remove()
        for layer in (predictor.cls_score, predictor.bbox_pred):
            output = seen[0].flatten(1) @ layer.weight.T
            scale = 2 / output.std(0).mean()
            layer.weight *= scale
            layer.bias.copy_(-output.mean(0) * scale)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, make_picture) -> Callable[[str], Built]:
    made: dict[str, Built] = {}

    def build(kind: str) -> Built:
        if kind not in made:
            from detectron2.modeling import build_model

            folder = tmp_path_factory.mktemp("detectron2")
            head = {"ROI_BOX_HEAD": {**SMALL["ROI_BOX_HEAD"], "NUM_CONV": 2, "NUM_FC": 0}}
            config = write_config(folder / "config.yaml", BASES[kind], **(head if kind == "conv head" else {}))
            torch.manual_seed(0)
            model = build_model(cpu_settings(config)).eval()
            spread(model, make_picture(0, 160, 128))
            torch.save(model.state_dict(), folder / "weights.pth")
            made[kind] = Built(config, str(folder / "weights.pth"))
        return made[kind]

    return build


@pytest.fixture(scope="module")
def fpn(built) -> Built:
    return built("fpn")


@pytest.fixture(scope="module")
def detector(fpn) -> Detectron2:
    return fpn.extractor()


@pytest.fixture(scope="module")
def pictures(make_picture) -> list[np.ndarray]:
    return [make_picture(0, 160, 120), make_picture(1, 100, 300), make_picture(2, 320, 240), make_picture(3, 64, 64)]


def regions_of(detector: Detectron2, pictures: list[np.ndarray]) -> list[Regions]:
    return detector.extract([detector.prepare(str(n), image) for n, image in enumerate(pictures)])


def own_features(model: Any, pixels: torch.Tensor, boxes: Any) -> torch.Tensor:
    """What detectron2's heads make of Boxes of a picture (3, H, W) that it resized."""
    heads, maps = model.roi_heads, model.backbone(model.preprocess_image([{"image": pixels}]).tensor)
    read = [maps[name] for name in heads.in_features]
    if hasattr(heads, "res5"):
        return heads._shared_roi_transform(read, [boxes]).mean(dim=[2, 3])
    pooled = heads.box_pooler(read, [boxes])
    if isinstance(heads.box_head, torch.nn.ModuleList):
        return heads.box_head[-1](pooled)
    vectors = heads.box_head(pooled)
    return vectors if vectors.dim() == 2 else vectors.mean(dim=[2, 3])


@pytest.mark.parametrize("kind", BASES)
@torch.no_grad()
def test_regions_are_detectron2s_own(built, pictures, kind: str) -> None:
    from detectron2.structures import Boxes

    detector, predictor = built(kind).extractor(), built(kind).predictor()
    assert detector.dim == {"c4": 128, "mask c4": 128, "conv head": 8}.get(kind, 24)
    found = 0
    for image in pictures:
        [regions] = regions_of(detector, [image])
        expected = predictor(image[:, :, ::-1])["instances"]
        np.testing.assert_array_equal(regions.boxes[1:], expected.pred_boxes.tensor.numpy())
        np.testing.assert_array_equal(regions.scores[1:], expected.scores.numpy())

        resized = predictor.aug.get_transform(image).apply_image(image)[:, :, ::-1]
        pixels = torch.from_numpy(resized.astype("float32").transpose(2, 0, 1))
        ratio = [resized.shape[1] / image.shape[1], resized.shape[0] / image.shape[0]] * 2
        boxes = Boxes(torch.from_numpy(regions.boxes) * torch.tensor(ratio))
        features = own_features(predictor.model, pixels, boxes).numpy()
        np.testing.assert_allclose(regions.features, features, rtol=1e-4, atol=1e-5 * np.abs(features).max())
        assert len({row.tobytes() for row in regions.features}) > len(regions.features) // 2
        found += len(expected)
    assert found > 40  # there is something to compare
    assert len({round(score, 3) for score in expected.scores.tolist()}) > 5


def test_regions_lie_in_the_picture_and_begin_with_the_whole(detector, pictures) -> None:
    for regions, image in zip(regions_of(detector, pictures), pictures, strict=True):
        height, width = image.shape[:2]
        assert regions.boxes[0].tolist() == [0, 0, width, height]
        assert regions.scores[0] == 1
        assert 5 < len(regions.boxes) == len(regions.scores) == len(regions.features) <= 1 + 19
        assert (regions.boxes >= 0).all() and (regions.boxes <= [width, height, width, height]).all()
        assert (regions.boxes[:, 2:] > regions.boxes[:, :2]).all()
        assert (np.diff(regions.scores[1:]) <= 0).all()
        assert regions.features.dtype == regions.boxes.dtype == regions.scores.dtype == np.float32


@pytest.mark.parametrize("kind", ["fpn", "c4"])
def test_a_batch_gives_what_each_picture_gives_alone(built, pictures, kind: str) -> None:
    detector = built(kind).extractor()
    batch = [*pictures, pictures[0]]
    for together, image in zip(regions_of(detector, batch), batch, strict=True):
        [alone] = regions_of(detector, [image])
        np.testing.assert_allclose(together.boxes, alone.boxes, atol=0.01)
        np.testing.assert_allclose(together.scores, alone.scores, rtol=1e-4)
        np.testing.assert_allclose(together.features, alone.features, rtol=1e-3, atol=1e-4 * alone.features.max())


def test_pictures_are_prepared_alike_in_many_threads(detector, pictures) -> None:
    with ThreadPoolExecutor(4) as pool:
        prepared = list(pool.map(lambda n: detector.prepare(str(n), pictures[n % len(pictures)]), range(40)))
    for number, each in enumerate(prepared):
        assert each.image_id == str(number)
        assert torch.equal(each.pixels, detector.prepare("x", pictures[number % len(pictures)]).pixels)


def test_channels_are_in_the_order_of_the_config(fpn, tmp_path, make_picture) -> None:
    config = json.loads(Path(fpn.config).read_text())
    (tmp_path / "rgb.yaml").write_text(json.dumps({**config, "INPUT": {"FORMAT": "RGB"}}))
    image = make_picture(0, 160, 128)
    red_first = Detectron2(str(tmp_path / "rgb.yaml"), fpn.weights, SIZE)
    assert torch.equal(red_first.prepare("x", image).pixels, torch.from_numpy(image.copy()).permute(2, 0, 1))
    assert torch.equal(fpn.extractor().prepare("x", image).pixels, red_first.prepare("x", image).pixels.flip(0))


def test_no_detection_leaves_the_whole_picture(fpn, pictures) -> None:
    for regions in regions_of(fpn.extractor(min_score=0.9999999), pictures):
        assert (len(regions.boxes), regions.features.shape, regions.scores.tolist()) == (1, (1, 24), [1.0])


@pytest.mark.parametrize(("width", "height"), [(1, 1), (5000, 1), (1, 5000), (2000, 5), (3, 900)])
@pytest.mark.parametrize("kind", ["fpn", "c4"])
def test_slender_pictures_have_regions(built, make_picture, kind: str, width: int, height: int) -> None:
    """detectron2's own resizing would leave 0 px of the short side, and stop the run."""
    [regions] = regions_of(built(kind).extractor(), [make_picture(0, width, height)])
    assert regions.boxes[0].tolist() == [0, 0, width, height]
    assert (regions.boxes <= [width, height, width, height]).all()
    assert np.isfinite(regions.features).all()


@pytest.mark.parametrize("kind", ["fpn", "c4"])
def test_a_backbone_in_16_bits_gives_nearly_the_same_features(built, pictures, kind: str) -> None:
    short = built(kind).extractor(placement=Placement(torch.device("cpu"), torch.bfloat16))
    for one, two in zip(regions_of(short, pictures), regions_of(built(kind).extractor(), pictures), strict=True):
        assert one.features.dtype == one.boxes.dtype == np.float32
        np.testing.assert_allclose(one.features[0], two.features[0], atol=0.05 * np.abs(two.features[0]).max())


def test_large_pictures_are_held_resized(detector, make_picture) -> None:
    prepared = detector.prepare("x", make_picture(0, 4000, 3000))
    assert (prepared.pixels.shape, prepared.pixels.dtype) == ((3, 128, 171), torch.uint8)
    assert (prepared.width, prepared.height) == (4000, 3000)


def test_the_identity_tells_whatever_changes_regions(fpn, detector, tmp_path) -> None:
    identity = detector.identity()
    options = {"input_size": SIZE, "top_k": 19, "nms": 0.5, "min_score": 0.05}
    hashes = {key: identity[key] for key in ("weights_sha256", "config_sha256")}
    assert identity == {"name": "detectron2", "dim": 24, **hashes, **options}
    assert fpn.extractor().identity() == identity == fpn.extractor(input_size=identity["input_size"]).identity()
    changed = [{"nms": 0.3}, {"top_k": 5}, {"min_score": 0.2}, {"input_size": 96}]
    others = [fpn.extractor(**options).identity() for options in changed]
    config = write_config(tmp_path / "anchors.yaml", BASES["fpn"], ANCHOR_GENERATOR={"OFFSET": 0.5})
    others.append(Detectron2(config, fpn.weights, SIZE).identity())
    assert len({json.dumps(each) for each in [identity, *others]}) == 6
    assert others[-1]["weights_sha256"] == identity["weights_sha256"]
    files = ExtractorFiles(weights=fpn.weights, model=fpn.config, device="cpu")
    assert extractor_of(identity, files).identity() == identity


def test_where_files_lie_is_no_part_of_the_identity(fpn, detector, tmp_path) -> None:
    elsewhere = {**json.loads(Path(fpn.config).read_text()), "OUTPUT_DIR": "elsewhere"}
    elsewhere["MODEL"] = {**elsewhere["MODEL"], "DEVICE": "cuda:3", "WEIGHTS": "elsewhere.pkl"}
    (tmp_path / "config.yaml").write_text(json.dumps(elsewhere))
    state = torch.load(fpn.weights, weights_only=True)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, tmp_path / "weights.safetensors")
    torch.save({"model": state, "optimizer": {"state": {0: [1]}}, "iteration": 3}, tmp_path / "checkpoint.pth")
    for weights in ("weights.safetensors", "checkpoint.pth"):
        other = Detectron2(str(tmp_path / "config.yaml"), str(tmp_path / weights), SIZE)
        assert other.identity() == detector.identity()


def test_the_configs_own_size_is_used_unless_another_is_given(fpn) -> None:
    own = fpn.extractor(input_size=0)
    assert (own.short, own.long) == (800, 1333)
    assert own.identity() == fpn.extractor(input_size=800).identity()
    with pytest.raises(ConfigurationError, match="input-size 32: give detectron2 at least 64 px"):
        fpn.extractor(input_size=32)


def test_weights_that_do_not_fit_are_refused(fpn, tmp_path) -> None:
    state = torch.load(fpn.weights, weights_only=True)
    torch.save({**state, "roi_heads.box_head.fc2.weight": torch.zeros(3, 3)}, tmp_path / "shapes.pth")
    with pytest.raises(ModelError, match="not those of .*size mismatch for roi_heads.box_head.fc2.weight"):
        Detectron2(fpn.config, str(tmp_path / "shapes.pth"))
    with pytest.raises(MissingInputError, match="nowhere.pth"):
        Detectron2(fpn.config, str(tmp_path / "nowhere.pth"))
