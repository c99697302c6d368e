"""Eight colours that colour-blind people tell apart, and the ink that is readable on each."""

from __future__ import annotations

import numpy as np

RGB = tuple[int, int, int]

PALETTE: tuple[RGB, ...] = (
    (0xE6, 0x9F, 0x00),  # orange
    (0x56, 0xB4, 0xE9),  # sky
    (0x00, 0x9E, 0x73),  # green
    (0xF0, 0xE4, 0x42),  # yellow
    (0x00, 0x72, 0xB2),  # blue
    (0xD5, 0x5E, 0x00),  # vermilion
    (0xCC, 0x79, 0xA7),  # pink
    (0x88, 0x22, 0x55),  # wine, Paul Tol's: Okabe and Ito's eighth is black
)
"""Okabe and Ito, "Color Universal Design" (2008); black, which is lost in shadows, is replaced."""

NEUTRAL: RGB = (0xC8, 0xC8, 0xC8)
"""The colour of the whole image, which is no object; light enough to differ from pink without green cones."""


def colour(index: int) -> RGB:
    """The sRGB colour (0 to 255) of a colour index; any integer, the palette repeats."""
    return PALETTE[index % len(PALETTE)]


def luminance(rgb: RGB) -> float:
    """Relative luminance, 0 (black) to 1 (white), of an sRGB colour (WCAG 2.2)."""
    channel = np.asarray(rgb, dtype=np.float64) / 255
    linear = np.where(channel <= 0.04045, channel / 12.92, ((channel + 0.055) / 1.055) ** 2.4)
    return float(linear @ np.array([0.2126, 0.7152, 0.0722]))


def contrast(first: RGB, second: RGB) -> float:
    """The contrast ratio of two sRGB colours, 1 to 21 (WCAG 2.2; text wants 4.5)."""
    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


def ink(background: RGB) -> RGB:
    """Black or white, whichever is more readable on the background."""
    black, white = (0, 0, 0), (255, 255, 255)
    return black if contrast(background, black) >= contrast(background, white) else white


def css_colour(rgb: RGB) -> str:
    """The colour as #rrggbb."""
    return "#{:02x}{:02x}{:02x}".format(*rgb)


def colour_classes() -> str:
    """CSS classes c0 (neutral), c1, c2, …: --c is the colour, --on the ink that is readable on it."""
    return "".join(
        f".c{number}{{--c:{css_colour(rgb)};--on:{css_colour(ink(rgb))}}}\n"
        for number, rgb in enumerate((NEUTRAL, *PALETTE))
    )
