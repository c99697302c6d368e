"""Pictures for people: boxes and phrases drawn on a picture, and the gallery page of a descriptions table."""

from vsalign.pictures.drawing import Phrase, draw_alignment
from vsalign.pictures.gallery import GalleryOptions, GallerySummary, main, write_gallery
from vsalign.pictures.palette import PALETTE, colour

__all__ = [
    "PALETTE",
    "GalleryOptions",
    "GallerySummary",
    "Phrase",
    "colour",
    "draw_alignment",
    "main",
    "write_gallery",
]
