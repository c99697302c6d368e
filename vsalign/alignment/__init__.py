"""The alignment model of the paper: regions and words in one space, its score, objective and segments."""

from vsalign.alignment.defrag import defrag
from vsalign.alignment.loss import MaxMarginLoss, max_margin, negative_pairs
from vsalign.alignment.model import AlignmentModel, AlignmentModelConfig
from vsalign.alignment.score import score
from vsalign.alignment.segment import Segment, decode_labels, segments

__all__ = [
    "AlignmentModel",
    "AlignmentModelConfig",
    "MaxMarginLoss",
    "Segment",
    "decode_labels",
    "defrag",
    "max_margin",
    "negative_pairs",
    "score",
    "segments",
]
