"""The sizes and parts of the alignment model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vsalign.errors import ConfigurationError


@dataclass(frozen=True)
class AlignmentModelConfig:
    """The sizes of the alignment model."""

    h: int = 1000
    """Dimensions of the joint space (the paper cross-validates 1000 to 1600)."""
    hidden: int = 512
    """Units of each direction of the BRNN (the paper: 300 to 600) or BiGRU."""
    word_dim: int = 300
    """Dimensions of a word vector (the paper's word2vec)."""
    dropout: float = 0.2
    """Share of units dropped while training, on every layer but the recurrent ones (the paper does not say how many;
    chosen on Flickr8k's tune split)."""
    text: Literal["brnn", "gru", "language"] = "brnn"
    """brnn: the paper's. gru: gated units in its place. language: states of a pretrained sentence encoder, which stays
    as it is (the extra `language`)."""
    state_dim: int = 384
    """Numbers of such a state; all-MiniLM-L6-v2's."""
    residual: bool = False
    """A perceptron of one hidden layer beside each of the two projections into the joint space."""
    normalise: bool = False
    """Regions and words of length 1, and the mean over words in place of their sum, which favours long sentences."""
    score: Literal["maxsim", "symmetric", "defrag"] = "maxsim"
    """maxsim: every word's best region (the paper's). symmetric: every region's best word too; means in place of sums.
    defrag: every region above 0, the paper's baseline."""

    def __post_init__(self) -> None:
        if min(self.h, self.hidden, self.word_dim, self.state_dim) < 1 or not 0 <= self.dropout < 1:
            raise ConfigurationError(
                f"h {self.h}, hidden {self.hidden}, word_dim {self.word_dim}, state_dim {self.state_dim}, "
                f"dropout {self.dropout}: "
                "sizes are at least 1, dropout lies in [0, 1)"
            )
