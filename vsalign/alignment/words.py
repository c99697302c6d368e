"""The word side of the alignment model: a vector of the joint space for each word in its sentence's context.

The paper's (section 3.1.2):

x_t  = W_w I_t
e_t  = f(W_e x_t + b_e)
hf_t = f(e_t + W_f hf_{t-1} + b_f)        left to right
hb_t = f(e_t + W_b hb_{t+1} + b_b)        right to left
s_t  = f(W_d (hf_t + hb_t) + b_d)         f = ReLU

Beside it a BiGRU, and the frozen states of a pretrained sentence encoder.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from vsalign.alignment.config import AlignmentModelConfig
from vsalign.alignment.dropout import Dropout
from vsalign.alignment.projection import OUTPUT_INIT, Projection, rescale, unit

WORD_INIT = 0.1
"""Scale of the word vectors at the start; see vsalign.alignment.projection."""


class WordVectors(nn.Module):
    """What reads words by vectors of its own."""

    def __init__(self, vocabulary_size: int, config: AlignmentModelConfig) -> None:
        super().__init__()
        self.W_w = nn.Embedding(vocabulary_size, config.word_dim)

    def set_word_vectors(self, vectors: Mapping[int, np.ndarray], *, fixed: bool) -> None:
        """Give the words of these ids their vectors (word_dim,); `fixed`: none of W_w learns, as in the paper.

        Without vectors nothing changes.
        """
        if not vectors:
            return
        with torch.no_grad():
            for word, vector in vectors.items():
                self.W_w.weight[word] = torch.from_numpy(vector)
        self.W_w.weight.requires_grad_(not fixed)


class BRNN(WordVectors):
    """Words in their sentence's context: a vector of the joint space for each."""

    def __init__(self, vocabulary_size: int, config: AlignmentModelConfig) -> None:
        super().__init__(vocabulary_size, config)
        self.W_e = nn.Linear(config.word_dim, config.hidden)
        self.W_f = nn.Linear(config.hidden, config.hidden)
        self.W_b = nn.Linear(config.hidden, config.hidden)
        self.W_d = nn.Linear(config.hidden, config.h)
        self.dropout, self.normalise = Dropout(config.dropout), config.normalise
        nn.init.normal_(self.W_w.weight, std=WORD_INIT)
        rescale(self.W_d.weight, OUTPUT_INIT)
        # An identity keeps a ReLU recurrence from dying or exploding at the start (Le, Jaitly, Hinton 2015).
        for recurrent in (self.W_f, self.W_b):
            nn.init.eye_(recurrent.weight)
            rescale(recurrent.weight, 0.5)
            nn.init.zeros_(recurrent.bias)

    def forward(self, words: Tensor, lengths: Tensor, states: Tensor | None = None) -> Tensor:
        """words (M, T) ids, padded behind `lengths` (M,) -> s (W, h), the W = Σ lengths words, sentence by sentence."""
        order = lengths.argsort(descending=True, stable=True)
        sorted_lengths = lengths[order]
        steps = torch.arange(int(lengths.max()) if len(lengths) else 0, device=words.device)
        inside = steps < sorted_lengths[:, None]
        open_at = inside.sum(0).tolist()  # how many sentences have a word t: longest first, padding costs nothing
        e = torch.relu(self.W_e(self.dropout(self.W_w(words[order][:, : len(steps)]))))
        # Reversed within each sentence: position t holds word length - 1 - t.
        reverse = (sorted_lengths[:, None] - 1 - steps).clamp(min=0)[:, :, None].expand_as(e)
        hf = _recur(e, self.W_f, open_at)
        hb = _recur(e.gather(1, reverse), self.W_b, open_at).gather(1, reverse)
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order), device=order.device)
        both = (hf + hb)[rank][inside[rank]]
        return unit(torch.relu(self.W_d(self.dropout(both))), self.normalise)


def _recur(e: Tensor, recurrent: nn.Linear, open_at: list[int]) -> Tensor:
    """h_t = f(e_t + W h_{t-1} + b) over (M, T, hidden), where step t has its first open_at[t] sentences alone."""
    h = e.new_zeros(e.shape[0], e.shape[2])
    states = []
    for e_t, count in zip(e.unbind(1), open_at, strict=True):
        h = torch.relu(e_t[:count] + recurrent(h[:count]))
        states.append(nn.functional.pad(h, (0, 0, 0, e.shape[0] - count)))
    return torch.stack(states, 1) if states else e


class BiGRU(WordVectors):
    """s_t from gated recurrent units in both directions, whose states are averaged; the field's usual word side."""

    def __init__(self, vocabulary_size: int, config: AlignmentModelConfig) -> None:
        super().__init__(vocabulary_size, config)
        self.dropout = Dropout(config.dropout)
        self.units = nn.GRU(config.word_dim, config.hidden, batch_first=True, bidirectional=True)
        self.W_d = Projection(config.hidden, config)
        nn.init.normal_(self.W_w.weight, std=WORD_INIT)

    def forward(self, words: Tensor, lengths: Tensor, states: Tensor | None = None) -> Tensor:
        """words (M, T) ids, padded behind `lengths` (M,) -> s (W, h), the W = Σ lengths words, sentence by sentence."""
        inside = torch.arange(words.shape[1], device=words.device) < lengths[:, None]
        some = lengths > 0
        read = self.dropout(self.W_w(words[some]))
        packed = nn.utils.rnn.pack_padded_sequence(read, lengths[some].cpu(), batch_first=True, enforce_sorted=False)
        both, _ = nn.utils.rnn.pad_packed_sequence(self.units(packed)[0], batch_first=True)
        out: Tensor = self.W_d(both.unflatten(2, (2, -1)).mean(2)[inside[some][:, : both.shape[1]]])
        return out


class LanguageWords(nn.Module):
    """s_t from the frozen state of word t in a pretrained sentence encoder (vsalign.language)."""

    def __init__(self, config: AlignmentModelConfig) -> None:
        super().__init__()
        self.W_d = Projection(config.state_dim, config)

    def forward(self, words: Tensor, lengths: Tensor, states: Tensor | None = None) -> Tensor:
        """states (W, state_dim) -> s (W, h). Raises ValueError without states."""
        if states is None:
            raise ValueError("a model of text='language' needs the words' states")
        out: Tensor = self.W_d(states.float())
        return out
