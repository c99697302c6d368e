"""Descriptions of images and regions: two describers, beam search and sampling, the nearest-neighbour baseline."""

from vsalign.generation.attention import Attention
from vsalign.generation.decode import DecodeOptions, Sentences, beam_search, n_best
from vsalign.generation.ensemble import Ensemble
from vsalign.generation.mrnn import MRNN
from vsalign.generation.network import DescriberConfig, DescriberNetwork

DESCRIBERS: dict[str, type[DescriberNetwork]] = {"mrnn": MRNN, "attention": Attention}
"""By DescriberConfig.describer."""

__all__ = [
    "DESCRIBERS",
    "MRNN",
    "Attention",
    "DecodeOptions",
    "DescriberConfig",
    "DescriberNetwork",
    "Ensemble",
    "Sentences",
    "beam_search",
    "n_best",
]
