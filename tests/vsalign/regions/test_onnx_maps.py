"""ONNX Runtime beside torch, on the same weights and pictures."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
import torch
from torch import nn

from vsalign.errors import ConfigurationError
from vsalign.regions import ExtractorConfig, build_extractor, settled
from vsalign.regions.lite import lite_network
from vsalign.regions.onnx_maps import OnnxMaps, onnx_model
from vsalign.regions.placement import Placement

SIDES = [64, 96, 448]


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (120, 160, 3), dtype=np.uint8)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("count", [1, 3])
def test_maps_are_torchs(side: int, count: int) -> None:
    network = Placement().put(lite_network())
    pixels = torch.randint(
        0, 256, (count, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    with torch.inference_mode():
        expected = network.maps(pixels)
    found = OnnxMaps(network)(pixels)
    assert [each.shape for each in found] == [each.shape for each in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert theirs.abs().max() > 0.1
        assert (ours - theirs).abs().max() < 2e-5 * theirs.abs().max()


@pytest.mark.parametrize("name", ["lite", "rcnn-lite"])
@pytest.mark.parametrize("pooling", ["map", "crop", "both"])
def test_an_extractor_gives_the_same_regions_by_either(name: str, pooling: str) -> None:
    found = {}
    for runtime in ("torch", "onnxruntime"):
        extractor = build_extractor(ExtractorConfig(name=name, pooling=pooling, device="cpu", runtime=runtime))
        assert extractor.runtime == runtime
        found[runtime] = extractor.extract([extractor.prepare(f"{seed}.jpg", picture(seed)) for seed in range(3)])
    # A found box that moves by a hundredth of a pixel is another crop, by a rounding of its pixels.
    share = 5e-3 if name == "rcnn-lite" and pooling != "map" else 1e-4
    for ours, theirs in zip(found["onnxruntime"], found["torch"], strict=True):
        np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=0.01)
        np.testing.assert_allclose(ours.features, theirs.features, atol=share * np.abs(theirs.features).max())


def test_auto_takes_it_where_it_is_installed_and_says_so() -> None:
    config = ExtractorConfig(name="lite", input_size=64, device="cpu")
    extractor = build_extractor(config)
    assert extractor.runtime == settled(config, extractor).runtime == "onnxruntime"
    with mock.patch("vsalign.regions.onnx_maps.installed", return_value=False):
        without = build_extractor(config)
    assert without.runtime == settled(config, without).runtime == "torch"
    assert without.identity() == extractor.identity()


def test_it_is_refused_where_it_cannot_be_had() -> None:
    with pytest.raises(ConfigurationError, match="timm:resnet18"):
        ExtractorConfig(name="timm:resnet18", runtime="onnxruntime")
    with (
        mock.patch("vsalign.regions.onnx_maps.installed", return_value=False),
        pytest.raises(ConfigurationError, match=r"vsalign\[onnx\]"),
    ):
        build_extractor(ExtractorConfig(name="lite", device="cpu", runtime="onnxruntime"))


def test_a_layer_that_has_no_translation_is_refused() -> None:
    network = Placement().put(lite_network())
    network.stem = nn.Sequential(network.stem, nn.GELU())
    with pytest.raises(NotImplementedError, match="GELU"):
        onnx_model(network)


def test_each_number_of_threads_has_a_session_of_its_own() -> None:
    network = Placement().put(lite_network())
    maps = OnnxMaps(network)
    pixels = torch.zeros((1, 3, 64, 64), dtype=torch.uint8)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 1):
            torch.set_num_threads(count)
            maps(pixels)
    finally:
        torch.set_num_threads(threads)
    assert sorted(maps._sessions) == [1, 2]
