"""Pictures as the networks take them."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from PIL import Image

from vsalign.regions.network import resize


def by_pillow(image: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)).transpose(2, 0, 1)


@pytest.mark.parametrize(("width", "height"), [(90, 60), (128, 128), (500, 375), (1, 300)])
def test_a_resized_picture_has_pillows_pixels_but_for_rounding(make_picture, width: int, height: int) -> None:
    image = make_picture(0, width, height)
    own, theirs = resize(image, 128).numpy().astype(int), by_pillow(image, 128).astype(int)
    assert own.shape == (3, 128, 128) and own.std() > 10
    assert np.abs(own - theirs).max() <= 2 and (own != theirs).mean() < 0.01


@pytest.mark.parametrize("size", [60, 128])
def test_a_read_only_or_mirrored_picture_is_resized_in_silence(make_picture, size: int) -> None:
    image = make_picture(0, 60, 60)
    image.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole, mirrored = resize(image, size), resize(image[:, ::-1], size)
    for own, theirs in ((whole, image), (mirrored, np.ascontiguousarray(image[:, ::-1]))):
        assert np.abs(own.numpy().astype(int) - by_pillow(theirs, size)).max() <= 2
