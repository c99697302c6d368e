"""Regions of pictures: boxes and features (paper, section 3.1.1)."""

from vsalign.regions.base import Prepared, RegionExtractor, Regions, to_float16, whole_image
from vsalign.regions.config import (
    ExtractorConfig,
    ExtractorFiles,
    build_extractor,
    extractor_of,
    reads_boxes,
    said,
    settled,
    takes_boxes,
)

__all__ = [
    "ExtractorConfig",
    "ExtractorFiles",
    "Prepared",
    "RegionExtractor",
    "Regions",
    "build_extractor",
    "extractor_of",
    "reads_boxes",
    "said",
    "settled",
    "takes_boxes",
    "to_float16",
    "whole_image",
]
