"""Regions of pictures: boxes and features (paper, section 3.1.1)."""

from vsalign.regions.base import Prepared, RegionExtractor, Regions, to_float16, whole_image
from vsalign.regions.config import ExtractorConfig, build_extractor, extractor_of

__all__ = [
    "ExtractorConfig",
    "Prepared",
    "RegionExtractor",
    "Regions",
    "build_extractor",
    "extractor_of",
    "to_float16",
    "whole_image",
]
