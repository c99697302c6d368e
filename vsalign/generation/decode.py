"""Batched beam search: all pictures and hypotheses in one tensor, fixed shapes, no Python loop over hypotheses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vsalign.errors import ConfigurationError
from vsalign.generation.mrnn import MRNN
from vsalign.text import END, PAD, START, UNK


@dataclass(frozen=True)
class DecodeOptions:
    """How a sentence is looked for."""

    beam: int = 7
    """Hypotheses kept at each step (the paper's 7); 1 is the argmax."""
    max_words: int = 20
    """A sentence that has not ended here is given as it is, finished = false."""

    def __post_init__(self) -> None:
        if self.beam < 1 or self.max_words < 1:
            raise ConfigurationError(f"beam {self.beam} and max_words {self.max_words}: both are at least 1")


class Sentences(NamedTuple):
    """The best sentence of each input."""

    words: list[list[int]]
    """Word ids, without START, END, PAD, UNK."""
    log_probs: list[float]
    """Natural log of the sentence's probability, END included where it is finished."""
    finished: list[bool]


@torch.inference_mode()
def beam_search(model: MRNN, features: Tensor, options: DecodeOptions) -> Sentences:
    """The most probable sentence that beam search finds for each feature vector, (B, D).

    PAD, START and UNK are never generated. At each step the `beam` best continuations of all hypotheses are kept; END
    finishes a sentence where it is among them, so that a beam of 1 is the argmax. Log-probabilities only fall, so the
    search ends when the best finished sentence is at least as probable as every open one; where that is not reached
    with max_words words, the best open one is given, finished = false.
    With beam >= vocabulary ** max_words the search is exhaustive.
    """
    model.eval()
    batch, beam = len(features), options.beam
    vocabulary = model.vocabulary_size
    device = features.device
    rows = torch.arange(batch, device=device)
    banned = torch.tensor([PAD, START, UNK], device=device)
    h = model.step(
        torch.full((batch,), START, device=device),
        torch.zeros(batch, model.config.hidden, device=device),
        model.image_bias(features),
    )[:, None]
    best_log_prob = torch.full((batch,), -torch.inf, device=device)  # of a finished sentence
    best = torch.zeros(batch, options.max_words, dtype=torch.long, device=device)
    best_length = torch.zeros(batch, dtype=torch.long, device=device)
    log_prob = torch.zeros(batch, 1, device=device)  # of the open hypotheses, which have t words
    history = torch.zeros(batch, 1, 0, dtype=torch.long, device=device)
    for t in range(options.max_words + 1):
        total = log_prob[:, :, None] + model.logits(h).log_softmax(-1).index_fill(-1, banned, -torch.inf)
        ended, end_slot = total[:, :, END].max(1)
        total[:, :, END] = -torch.inf
        grown, index = total.flatten(1).topk(min(beam, total.shape[1] * vocabulary), dim=1)
        better = (ended > best_log_prob) & (ended >= grown[:, -1])
        best_log_prob = torch.where(better, ended, best_log_prob)
        best_length = torch.where(better, t, best_length)
        best[:, :t] = torch.where(better[:, None], history[rows, end_slot], best[:, :t])
        finished = (best_log_prob >= grown[:, 0]) & (best_log_prob > -torch.inf)
        if t == options.max_words or bool(finished.all()):
            break
        log_prob = grown
        parent, word = index // vocabulary, index % vocabulary
        history = torch.cat([history.gather(1, parent[:, :, None].expand(-1, -1, t)), word[:, :, None]], 2)
        h = h.gather(1, parent[:, :, None].expand(-1, -1, h.shape[2]))
        h = model.step(word.flatten(), h.flatten(0, 1), None).unflatten(0, (batch, -1))
    return _sentences(finished, best, best_length, best_log_prob, history, log_prob)


def _sentences(
    finished: Tensor, best: Tensor, best_length: Tensor, best_log_prob: Tensor, history: Tensor, log_prob: Tensor
) -> Sentences:
    """The best finished sentence where `finished` (B,), else the best open hypothesis."""
    open_log_prob, slot = log_prob.max(1)
    # An open hypothesis of probability 0 has banned words: there was nothing else to say.
    length = torch.where(finished, best_length, history.shape[2] * (open_log_prob > -torch.inf))
    unfinished = history[torch.arange(len(slot), device=slot.device), slot]
    unfinished = nn.functional.pad(unfinished, (0, best.shape[1] - unfinished.shape[1]))
    sentences = torch.where(finished[:, None], best, unfinished)
    words = [sentence[:end] for sentence, end in zip(sentences.tolist(), length.tolist(), strict=True)]
    return Sentences(words, torch.where(finished, best_log_prob, open_log_prob).tolist(), finished.tolist())
