"""The Multimodal RNN that describes an image or a region (paper, section 3.2).

b_v = W_hi · CNN(I)
h_t = f(W_hx x_t + W_hh h_{t-1} + b_h + 1[t = 1] ⊙ b_v)        f = ReLU
y_t = softmax(W_oh h_t + b_o)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vsalign.errors import ConfigurationError


@dataclass(frozen=True)
class MRNNConfig:
    """The sizes of the Multimodal RNN."""

    hidden: int = 512
    """Units of the recurrent layer (the paper's 512)."""
    word_dim: int = 300
    """Dimensions of a word vector."""
    dropout: float = 0.5
    """Share of units dropped while training, on every layer but the recurrent one."""

    def __post_init__(self) -> None:
        if min(self.hidden, self.word_dim) < 1 or not 0 <= self.dropout < 1:
            raise ConfigurationError(
                f"hidden {self.hidden}, word_dim {self.word_dim}, dropout {self.dropout}: "
                "sizes are at least 1, dropout lies in [0, 1)"
            )


class MRNN(nn.Module):
    """Words from a feature vector, standardised by the training set's mean and scale (a fixed affine map)."""

    mean: Tensor
    scale: Tensor

    def __init__(self, feature_dim: int, vocabulary_size: int, config: MRNNConfig) -> None:
        super().__init__()
        self.config, self.feature_dim, self.vocabulary_size = config, feature_dim, vocabulary_size
        self.register_buffer("mean", torch.zeros(feature_dim))
        self.register_buffer("scale", torch.ones(()))
        self.x = nn.Embedding(vocabulary_size, config.word_dim)
        self.W_hi = nn.Linear(feature_dim, config.hidden, bias=False)
        self.W_hx = nn.Linear(config.word_dim, config.hidden)
        self.W_hh = nn.Linear(config.hidden, config.hidden, bias=False)
        self.W_oh = nn.Linear(config.hidden, vocabulary_size)
        self.dropout = nn.Dropout(config.dropout)
        nn.init.eye_(self.W_hh.weight)  # keeps a ReLU recurrence alive at the start (Le, Jaitly, Hinton 2015)

    def standardise(self, mean: Tensor, scale: float) -> None:
        """Set the mean (D,) and the scale of the training features, once, before training."""
        self.mean.copy_(mean)
        self.scale.fill_(scale)

    def image_bias(self, features: Tensor) -> Tensor:
        """b_v: (B, D) -> (B, hidden)."""
        return self.W_hi(self.dropout((features - self.mean) / self.scale))

    def step(self, words: Tensor, h: Tensor, b_v: Tensor | None) -> Tensor:
        """h_t (B, hidden) from word ids (B,), h_{t-1} and, at t = 1, b_v."""
        z = self.W_hx(self.dropout(self.x(words))) + self.W_hh(h)
        return torch.relu(z if b_v is None else z + b_v)

    def logits(self, h: Tensor) -> Tensor:
        """(..., hidden) -> (..., vocabulary) before the softmax."""
        return self.W_oh(self.dropout(h))

    def forward(self, features: Tensor, words: Tensor, lengths: Tensor) -> Tensor:
        """Teacher forcing: features (B, D), inputs START w_1 .. w_n (B, T), lengths (B,) = n + 1 of each.

        The logits (W, vocabulary) of the W = Σ lengths steps, sentence by sentence: padding costs no softmax.
        """
        z = self.W_hx(self.dropout(self.x(words)))
        z = torch.cat([z[:, :1] + self.image_bias(features)[:, None], z[:, 1:]], 1)
        h = z.new_zeros(len(words), self.config.hidden)
        states = []
        for z_t in z.unbind(1):
            h = torch.relu(z_t + self.W_hh(h))
            states.append(h)
        inside = torch.arange(words.shape[1], device=words.device) < lengths[:, None]
        return self.logits(torch.stack(states, 1)[inside])
