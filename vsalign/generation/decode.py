"""Batched beam search: all pictures and hypotheses in one tensor, fixed shapes, no Python loop over hypotheses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

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

    PAD, START and UNK are never generated. A finished hypothesis beats an unfinished one only if it is more probable
    than every hypothesis that could still grow past it, so the search stops when no open one can win.
    With beam >= vocabulary ** (words - 1) it is exhaustive.
    """
    batch, beam = len(features), options.beam
    vocabulary = model.vocabulary_size
    device = features.device
    h = torch.zeros(batch, model.config.hidden, device=device)
    words = torch.full((batch,), START, device=device)
    h = model.step(words, h, model.image_bias(features))
    banned = torch.tensor([PAD, START, UNK], device=device)
    best_log_prob = torch.full((batch,), -torch.inf, device=device)  # of a finished hypothesis
    best = torch.zeros(batch, options.max_words, dtype=torch.long, device=device)
    best_length = torch.zeros(batch, dtype=torch.long, device=device)
    log_prob = torch.zeros(batch, 1, device=device)
    history = torch.zeros(batch, 1, 0, dtype=torch.long, device=device)
    h = h[:, None]
    for t in range(options.max_words + 1):
        step = model.logits(h).log_softmax(-1).index_fill(-1, banned, -torch.inf)
        ended, end_slot = (log_prob + step[:, :, END]).max(1)
        better = ended > best_log_prob
        rows = torch.arange(batch, device=device)
        best_log_prob = torch.where(better, ended, best_log_prob)
        best_length = torch.where(better, t, best_length)
        best[:, :t] = torch.where(better[:, None], history[rows, end_slot], best[:, :t])
        if t == options.max_words or bool((best_log_prob >= log_prob.max(1).values).all()):
            break
        step[:, :, END] = -torch.inf
        total = (log_prob[:, :, None] + step).flatten(1)
        log_prob, index = total.topk(min(beam, total.shape[1]), dim=1)
        parent, word = index // vocabulary, index % vocabulary
        history = torch.cat([history.gather(1, parent[:, :, None].expand(-1, -1, t)), word[:, :, None]], 2)
        h = h.gather(1, parent[:, :, None].expand(-1, -1, h.shape[2]))
        h = model.step(word.flatten(), h.flatten(0, 1), None).unflatten(0, (batch, -1))
    return _sentences(best, best_length, best_log_prob, history, log_prob)


def _sentences(
    best: Tensor, best_length: Tensor, best_log_prob: Tensor, history: Tensor, log_prob: Tensor
) -> Sentences:
    """Finished sentences where there is one; else the best unfinished."""
    words, log_probs, finished = [], [], []
    open_log_prob, slot = log_prob.max(1)
    for row, ended in enumerate((best_log_prob > -torch.inf).tolist()):
        ids = best[row, : int(best_length[row])] if ended else history[row, int(slot[row])]
        words.append(ids.tolist())
        log_probs.append(float(best_log_prob[row] if ended else open_log_prob[row]))
        finished.append(ended)
    return Sentences(words, log_probs, finished)
