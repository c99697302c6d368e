"""The Multimodal RNN that describes an image or a region (paper, section 3.2).

b_v = W_hi · CNN(I)
h_t = f(W_hx x_t + W_hh h_{t-1} + b_h + 1[t = 1] ⊙ b_v)        f = ReLU
y_t = softmax(W_oh h_t + b_o)

Beyond the paper, where asked for: b_v has W_hw · CNN(whole image) beside.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vsalign.generation.network import Context, DescriberConfig, DescriberNetwork, State, begun


class MRNN(DescriberNetwork):
    """The paper's describer: the described region biases the first step."""

    def __init__(self, feature_dim: int, vocabulary_size: int, config: DescriberConfig) -> None:
        super().__init__(feature_dim, vocabulary_size, config)
        self.x = nn.Embedding(vocabulary_size, config.word_dim)
        self.W_hi = nn.Linear(feature_dim, config.hidden, bias=False)
        self.W_hx = nn.Linear(config.word_dim, config.hidden)
        self.W_hh = nn.Linear(config.hidden, config.hidden, bias=False)
        self.W_oh = nn.Linear(config.hidden, vocabulary_size)
        self.W_hw = nn.Linear(feature_dim, config.hidden, bias=False) if config.whole else None
        self.dropout = nn.Dropout(config.dropout)
        nn.init.eye_(self.W_hh.weight)  # keeps a ReLU recurrence alive at the start (Le, Jaitly, Hinton 2015)

    def encode(self, features: Tensor, mask: Tensor) -> Context:
        """b_v (B, R, hidden) of each region."""
        seen = self.dropout(self.standardised(features))
        b_v = self.W_hi(seen)
        return (b_v if self.W_hw is None else b_v + self.W_hw(seen[:, :1]),)

    def start(self, context: Context, described: Tensor) -> State:
        b_v = context[0][torch.arange(len(described), device=described.device), described]
        words = begun(described)
        return (torch.relu(self.W_hx(self.dropout(self.x(words))) + b_v[:, None]),)

    def step(self, context: Context, state: State, words: Tensor) -> State:
        return (torch.relu(self.W_hx(self.dropout(self.x(words))) + self.W_hh(state[0])),)

    def logits(self, out: Tensor) -> Tensor:
        found: Tensor = self.W_oh(self.dropout(out))
        return found
