"""`timm:<name>`: any backbone, fixed boxes or given ones, local weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from vsalign.errors import ConfigurationError, MissingInputError, ModelError
from vsalign.regions import ExtractorConfig, build_extractor, extractor_of, reads_boxes, said
from vsalign.regions.pooled import fixed_boxes
from vsalign.regions.pooling import enough_samples, pool, pooling_matrix

# A CNN, a transformer of tokens, one whose maps are channels-last; each with its own picture size.
NAMES = {"resnet18": 64, "vit_tiny_patch16_224": 0, "swin_tiny_patch4_window7_224": 0, "mobilenetv3_small_050": 96}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Whole models, classifier and all, as people download them."""
    folder = tmp_path_factory.mktemp("timm")
    for name in NAMES:
        torch.manual_seed(0)
        save_file(timm.create_model(name).state_dict(), folder / f"{name}.safetensors")
    return {name: str(folder / f"{name}.safetensors") for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_the_features_are_means_of_timms_own_map(name: str, weights, make_picture) -> None:
    config = ExtractorConfig(name=f"timm:{name}", weights=weights[name], input_size=NAMES[name])
    extractor = build_extractor(config)
    regions = extractor.extract([extractor.prepare("x", make_picture(0, 80, 80))])[0]
    assert regions.boxes.shape == (20, 4) and regions.features.shape == (20, extractor.dim)
    model = timm.create_model(name, num_classes=0)
    model.load_state_dict(load_file(weights[name]), strict=False)
    facts = model.pretrained_cfg
    pixels = extractor.prepare("x", make_picture(0, 80, 80)).pixels / 255
    centred = (pixels - torch.tensor(facts["mean"]).view(3, 1, 1)) / torch.tensor(facts["std"]).view(3, 1, 1)
    with torch.inference_mode():
        own = model.eval().forward_features(centred[None])
    if own.ndim == 3:
        own = own[:, model.num_prefix_tokens :]
        own = own.unflatten(1, (round(own.shape[1] ** 0.5), -1)).permute(0, 3, 1, 2)
    elif getattr(model, "output_fmt", "NCHW") == "NHWC":
        own = own.permute(0, 3, 1, 2)
    rows, columns = own.shape[2:]
    matrix = pooling_matrix(torch.from_numpy(fixed_boxes()), torch.ones(2), (rows, columns), enough_samples(rows))
    np.testing.assert_allclose(regions.features, pool(own, [matrix])[0].numpy(), rtol=1e-3, atol=1e-3)
    assert np.abs(regions.features[1] - regions.features[9]).max() > 1e-4


def test_a_transformers_grid_is_the_right_way_round(weights, make_picture) -> None:
    """Row by row, the class token left out."""
    name = "vit_tiny_patch16_224"
    extractor = build_extractor(ExtractorConfig(name=f"timm:{name}", weights=weights[name], device="cpu"))
    with torch.inference_mode():
        tokens = extractor.network.model.forward_features(torch.rand(1, 3, 224, 224))[:, 1:]
        grid = extractor.network._on_grid(torch.cat([tokens[:, :1], tokens], dim=1))
    assert torch.equal(grid[0, :, 3, 5], tokens[0, 3 * 14 + 5])


def test_given_boxes_and_crops_go_with_any_backbone(weights, make_picture, coco) -> None:
    boxes = coco({"x": (80, 60, [[0, 0, 40, 30], [10, 10, 60, 40]])})
    for pooling in ("map", "crop", "both"):
        config = ExtractorConfig(
            name="timm:resnet18", weights=weights["resnet18"], input_size=64, boxes=boxes, pooling=pooling
        )
        extractor = build_extractor(config)
        regions = extractor.extract([extractor.prepare("x", make_picture(0, 80, 60))])[0]
        assert regions.boxes.tolist() == [[0, 0, 80, 60], [0, 0, 40, 30], [10, 10, 70, 50]]
        assert reads_boxes(extractor.identity())
        assert extractor_of(extractor.identity(), config).identity() == extractor.identity()
    assert len(extractor.boxes_sha256) == 64


def test_identity_and_terms(weights) -> None:
    config = ExtractorConfig(name="timm:resnet18", weights=weights["resnet18"], input_size=64)
    extractor = build_extractor(config)
    identity = extractor.identity()
    assert identity == {
        "name": "timm:resnet18", "dim": 512, "weights_sha256": extractor.weights_sha256, "input_size": 64
    }  # fmt: skip
    assert not reads_boxes(identity)
    assert extractor_of(identity, config).identity() == identity
    assert "terms of the weights file" in said(extractor)


def test_the_same_tensors_in_a_pth_are_the_same_weights(weights, tmp_path: Path) -> None:
    torch.save(load_file(weights["resnet18"]), tmp_path / "w.pth")
    one, other = (
        build_extractor(ExtractorConfig(name="timm:resnet18", weights=path, input_size=64))
        for path in (weights["resnet18"], str(tmp_path / "w.pth"))
    )
    assert one.identity() == other.identity()


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"name": "timm:resnet81", "weights": "w"}, ConfigurationError, "did you mean resnet"),
        ({"name": "timm:resnet18"}, ConfigurationError, "needs --extractor.weights"),
        ({"name": "timm:resnet18", "weights": "/nowhere.pth"}, MissingInputError, "/nowhere.pth"),
        ({"name": "timm:resnet18", "weights": "VIT"}, ModelError, "holds no weights of timm's resnet18"),
        ({"name": "timm:vit_tiny_patch16_224", "weights": "VIT", "input_size": 100}, ConfigurationError, "100"),
    ],
)
def test_a_mistake_is_one_sentence(options: dict, kind: type, said: str, weights) -> None:
    options = {**options, "weights": options.get("weights", "").replace("VIT", weights["vit_tiny_patch16_224"])}
    with pytest.raises(kind, match=said) as error:
        build_extractor(ExtractorConfig(**options))
    assert "\n" not in str(error.value)


def test_a_download_that_fails_is_one_sentence(monkeypatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise OSError("no route to the hub\nand more")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(MissingInputError, match="cannot be downloaded .no route to the hub.: name a local copy"):
        build_extractor(ExtractorConfig(name="timm:resnet18", weights="pretrained"))
