"""Sentences drawn at random, word by word, as likely as the model says."""

from __future__ import annotations

import torch
from torch import Tensor

from vsalign.generation.network import DescriberNetwork, never_said
from vsalign.text import END, PAD


@torch.no_grad()
def draw(
    model: DescriberNetwork,
    features: Tensor,
    mask: Tensor,
    described: Tensor,
    count: int,
    max_words: int = 20,
    temperature: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """`count` sentences of each view (B): word ids (B, count, T), PAD behind, and how many words each has (B, count).

    END, where a sentence comes to one, is its last word; PAD, START and UNK are never drawn. Features as
    DescriberNetwork.encode's. temperature: logits are divided by it. The random numbers are torch's own.
    """
    context = model.encode(features, mask)
    state = tuple(each.expand(-1, count, -1) for each in model.start(context, described))
    banned = never_said(described.device)
    going = torch.ones(len(described), count, dtype=torch.bool, device=described.device)
    words: list[Tensor] = []
    for _ in range(max_words):
        logits = (model.logits(state[0]).float() / temperature).index_fill(-1, banned, -torch.inf)
        word = logits.softmax(-1).flatten(0, 1).multinomial(1).view(going.shape)
        words.append(torch.where(going, word, PAD))
        going = going & (word != END)
        if not bool(going.any()):
            break
        state = model.step(context, state, word)
    found = torch.stack(words, 2)
    return found, (found != PAD).sum(2)
