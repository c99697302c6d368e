"""A describer that looks at all regions again at every word: an LSTM with attention.

v_i = ReLU(LayerNorm(W_v · CNN(I_i) + b_v))
h_t, c_t = LSTM([x_t ; o_{t-1}], h_{t-1}, c_{t-1})        h_0, c_0, o_0 from the described region's v
a_t = softmax_i((W_q h_t) · v_i / √n)
o_t = tanh(W_o [h_t ; Σ_i a_ti v_i])
y_t = softmax(X o_t + b)                                  X: the word vectors x

After Xu et al., "Show, Attend and Tell" (ICML 2015), with the products and the fed-back output of Luong et al.,
"Effective Approaches to Attention-based Neural Machine Translation" (EMNLP 2015), and tied word vectors (Press and
Wolf, EACL 2017).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vsalign.alignment.dropout import Dropout
from vsalign.generation.network import Context, DescriberConfig, DescriberNetwork, State, begun

WORD_INIT = 0.1
"""Scale of the word vectors at the start."""


class Attention(DescriberNetwork):
    """Its state: o (B, K, word_dim), h and c (B, K, hidden)."""

    def __init__(self, feature_dim: int, vocabulary_size: int, config: DescriberConfig) -> None:
        super().__init__(feature_dim, vocabulary_size, config)
        hidden, word_dim = config.hidden, config.word_dim
        self.x = nn.Embedding(vocabulary_size, word_dim)
        self.W_v = nn.Linear(feature_dim, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.W_0 = nn.Linear(hidden, 2 * hidden + word_dim)
        self.lstm = nn.LSTMCell(2 * word_dim, hidden)
        self.W_q = nn.Linear(hidden, hidden, bias=False)
        self.W_o = nn.Linear(2 * hidden, word_dim)
        self.b = nn.Parameter(torch.zeros(vocabulary_size))
        self.dropout = Dropout(config.dropout)
        nn.init.normal_(self.x.weight, std=WORD_INIT)

    def encode(self, features: Tensor, mask: Tensor) -> Context:
        """v (B, R, hidden) and the mask (B, R)."""
        v = torch.relu(self.norm(self.W_v(self.dropout(self.standardised(features)))))
        return v, mask

    def start(self, context: Context, described: Tensor) -> State:
        v, _ = context
        own = v[torch.arange(len(described), device=described.device), described]
        sizes = [self.config.hidden, self.config.hidden, self.config.word_dim]
        h, c, o = torch.tanh(self.W_0(self.dropout(own)))[:, None].split(sizes, -1)
        return self.step(context, (o, h, c), begun(described))

    def step(self, context: Context, state: State, words: Tensor) -> State:
        v, mask = context
        o, h, c = state
        read = torch.cat([self.dropout(self.x(words)), o], -1)
        h, c = self.lstm(read.flatten(0, 1), (h.flatten(0, 1), c.flatten(0, 1)))
        h, c = h.view(*words.shape, -1), c.view(*words.shape, -1)
        products = (self.W_q(h) @ v.transpose(1, 2)) * self.config.hidden**-0.5
        seen = products.masked_fill(~mask[:, None], -torch.inf).softmax(-1) @ v
        o = torch.tanh(self.W_o(self.dropout(torch.cat([h, seen], -1))))
        return o, h, c

    def logits(self, out: Tensor) -> Tensor:
        return nn.functional.linear(self.dropout(out), self.x.weight, self.b)
