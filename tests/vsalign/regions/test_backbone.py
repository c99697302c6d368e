"""What a detector stands on: `lite`, or a CNN of timm, which its folder then brings along."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from vsalign.checkpoint import BACKBONE, CONFIG, load_detector, save_detector
from vsalign.errors import ConfigurationError, MissingInputError, ModelError, VsalignError
from vsalign.regions import ExtractorConfig, build_extractor, extractor_of, said
from vsalign.regions.backbone import build_backbone, carried, map_channels
from vsalign.regions.detector import Detector, DetectorConfig
from vsalign.regions.network import MAP_CHANNELS
from vsalign.regions.timm_network import TimmMaps

SIDE = 128
CNNS = {
    "resnet18": (128, 256, 512),
    "mobilenetv3_small_050": (16, 24, 288),
    "tf_efficientnet_lite0": (40, 112, 1280),
    "convnext_atto": (80, 160, 320),
}
"""The last features are as many as the extractor timm:NAME gives: some networks widen behind their last block."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Whole models of random weights, classifier and all."""
    folder = tmp_path_factory.mktemp("timm")

    def path(name: str) -> str:
        file = folder / f"{name}.safetensors"
        if not file.exists():
            torch.manual_seed(0)
            save_file(timm.create_model(name).state_dict(), file)
        return str(file)

    return path


@pytest.fixture(scope="module")
def folder(weights: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector on resnet18 that was never trained."""
    backbone = build_backbone("timm:resnet18", weights("resnet18"), SIDE)
    torch.manual_seed(0)
    config = DetectorConfig(input_size=SIDE, channels=16, hidden=16, maps=map_channels(backbone.network))
    path = tmp_path_factory.mktemp("models") / "detector"
    save_detector(str(path), Detector(config), backbone.identity(), {}, "mine alone", carried(backbone.network))
    return path


@pytest.mark.parametrize("name", CNNS)
def test_the_maps_are_timms_own(name: str, weights: Callable[[str], str]) -> None:
    backbone = build_backbone(f"timm:{name}", weights(name), SIDE)
    assert map_channels(backbone.network) == CNNS[name] and backbone.dim == CNNS[name][2]
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (2, 3, SIDE, SIDE), dtype=torch.uint8, generator=random)
    with torch.inference_mode():
        maps = backbone.network.maps(pixels)
    assert [each.shape[1:] for each in maps] == [
        (width, SIDE // s, SIDE // s) for width, s in zip(CNNS[name], (8, 16, 32), strict=True)
    ]
    extractor = build_extractor(ExtractorConfig(name=f"timm:{name}", weights=weights(name), input_size=SIDE))
    model = timm.create_model(name, features_only=True, out_indices=(-3, -2)).eval()
    own = {key.replace("_", "."): value for key, value in load_file(weights(name)).items()}
    taken = model.state_dict()
    model.load_state_dict({key: own[key.replace("_", ".")] for key in taken})
    with torch.inference_mode():
        torch.testing.assert_close(maps[-1], extractor.network.maps(pixels)[-1])
        for found, expected in zip(maps[:2], model(extractor.network._normalised(pixels)), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_lite_is_the_packages_and_is_not_carried() -> None:
    lite = build_backbone("lite", "", 64)
    assert lite.identity()["name"] == "lite" and map_channels(lite.network) == MAP_CHANNELS
    assert carried(lite.network) is None


@pytest.mark.parametrize(
    ("name", "file", "kind", "sentence"),
    [
        ("vit_tiny_patch16_224", True, ConfigurationError, "has no maps at strides 8, 16, 32 px"),
        ("inception_v3", True, ConfigurationError, "has no maps at strides 8, 16, 32 px"),
        ("resnet18", False, ConfigurationError, "--backbone timm:resnet18 needs --backbone-weights"),
        ("resnet81", True, ConfigurationError, "did you mean resnet"),
    ],
)
def test_a_network_that_no_detector_can_read_is_one_sentence(
    name: str, file: bool, kind: type[VsalignError], sentence: str, weights: Callable[[str], str]
) -> None:
    given = weights("resnet18" if name == "resnet81" else name) if file else ""
    side = 224 if name.startswith("vit") else SIDE
    with pytest.raises(kind, match=sentence) as error:
        build_backbone(f"timm:{name}", given, side)
    assert "\n" not in str(error.value)


def test_other_mistakes_are_one_sentence_too(tmp_path: Path, weights: Callable[[str], str]) -> None:
    for name, given, kind, sentence in (
        ("resnet18", "", ConfigurationError, "there is no backbone 'resnet18': give lite, or timm:NAME"),
        ("lite", "w.pth", ConfigurationError, "--backbone-weights w.pth is for timm:NAME"),
        ("timm:resnet18", str(tmp_path / "w.pth"), MissingInputError, "w.pth: correct --backbone-weights"),
        ("timm:resnet34", weights("resnet18"), ModelError, "holds no weights of timm's resnet34"),
    ):
        with pytest.raises(kind, match=sentence):
            build_backbone(name, given, SIDE)


def test_a_detectors_folder_needs_nothing_else(folder: Path, weights: Any, make_picture: Any, tmp_path: Path) -> None:
    """Copied elsewhere, it gives resnet18's features of what it finds; and a model trained on them finds it again."""
    shutil.copytree(folder, tmp_path / "copy")
    config = ExtractorConfig(name="rcnn-lite", weights=str(tmp_path / "copy"))
    extractor = build_extractor(config)
    batch = [extractor.prepare(str(n), make_picture(n, 90, 60 + n)) for n in range(2)]
    for regions in extractor.extract(batch):
        assert 2 < len(regions.boxes) <= 20 and regions.features.shape == (len(regions.boxes), 512)
        assert np.ptp(regions.features, axis=0).max() > 1e-3
    own = build_extractor(ExtractorConfig(name="timm:resnet18", weights=weights("resnet18"), input_size=SIDE))
    whole = own.extract([own.prepare("0", make_picture(0, 90, 60))])[0]
    np.testing.assert_allclose(extractor.extract(batch)[0].features[0], whole.features[0], rtol=1e-4, atol=1e-4)
    identity = extractor.identity()
    assert identity["weights_sha256"] == own.identity()["weights_sha256"] and identity["dim"] == 512
    assert extractor_of(identity, config).identity() == identity
    assert "mine alone; the backbone: the terms of the weights file" in said(extractor)


def test_the_folder_says_what_it_carries(folder: Path) -> None:
    loaded = load_detector(str(folder))
    assert loaded.model.config.maps == CNNS["resnet18"] and loaded.extractor["name"] == "timm:resnet18"
    assert loaded.backbone is not None and not any(name.startswith("fc.") for name in loaded.backbone.tensors)
    facts = json.loads((folder / CONFIG).read_text())["backbone"]
    assert facts["sha256"] in (folder / "model_card.md").read_text()


def test_a_folder_whose_backbone_is_absent_or_altered_is_refused(folder: Path, tmp_path: Path) -> None:
    for name in ("absent", "altered", "unsaid"):
        shutil.copytree(folder, tmp_path / name)
    (tmp_path / "absent" / BACKBONE).unlink()
    data = (tmp_path / "altered" / BACKBONE).read_bytes()
    (tmp_path / "altered" / BACKBONE).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    config = json.loads((tmp_path / "unsaid" / CONFIG).read_text())
    del config["backbone"]
    (tmp_path / "unsaid" / CONFIG).write_text(json.dumps(config))
    for name, sentence in (
        ("absent", "lacks a file"),
        ("altered", f"{BACKBONE} is not the file that {CONFIG} names"),
        ("unsaid", "lacks its backbone timm:resnet18"),
    ):
        with pytest.raises(ModelError, match=sentence):
            build_extractor(ExtractorConfig(name="rcnn-lite", weights=str(tmp_path / name)))


def test_a_detector_saved_over_another_keeps_nothing_of_it(folder: Path, lite: Any, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "model")
    save_detector(str(tmp_path / "model"), Detector(DetectorConfig(input_size=64)), lite.identity(), {})
    assert not (tmp_path / "model" / BACKBONE).exists()
    assert load_detector(str(tmp_path / "model")).backbone is None


def test_weights_that_do_not_fit_the_name_are_refused(folder: Path) -> None:
    backbone = load_detector(str(folder)).backbone
    assert backbone is not None
    with pytest.raises(ModelError, match="holds no weights of timm's resnet34"):
        TimmMaps("resnet34", backbone.tensors, SIDE)
