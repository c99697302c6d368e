"""Descriptions of images and regions: the Multimodal RNN, beam search, the nearest-neighbour baseline."""

from vsalign.generation.decode import DecodeOptions, Sentences, beam_search
from vsalign.generation.mrnn import MRNN, MRNNConfig

__all__ = ["MRNN", "DecodeOptions", "MRNNConfig", "Sentences", "beam_search"]
