"""Readers of the field's data sets, one file a format, and rendered scenes with their truth."""

from __future__ import annotations

from vsalign.datasets.captions import read_captions
from vsalign.datasets.records import CaptionRecord, PhraseTruth, Reading

__all__ = ["CaptionRecord", "PhraseTruth", "Reading", "read_captions"]
