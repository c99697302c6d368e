"""The alignment model of the paper: regions and words in one space, its score, objective and segments."""

from vsalign.alignment.config import AlignmentModelConfig
from vsalign.alignment.defrag import defrag
from vsalign.alignment.loss import AlignmentLoss
from vsalign.alignment.model import AlignmentModel
from vsalign.alignment.objectives import contrastive, hardest_negative, max_margin, negative_pairs
from vsalign.alignment.score import score
from vsalign.alignment.segment import Segment, decode_labels, segments
from vsalign.alignment.sentences import LanguageModel, SentenceReader, Sentences

__all__ = [
    "AlignmentLoss",
    "AlignmentModel",
    "AlignmentModelConfig",
    "LanguageModel",
    "Segment",
    "SentenceReader",
    "Sentences",
    "contrastive",
    "decode_labels",
    "defrag",
    "hardest_negative",
    "max_margin",
    "negative_pairs",
    "score",
    "segments",
]
