"""Several describers that say each word together: the mean of their probabilities."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from vsalign.errors import ModelError
from vsalign.generation.network import Context, DescriberNetwork, State


class Ensemble(DescriberNetwork):
    """Describers of the same features and vocabulary; their contexts and states stand one after the other."""

    def __init__(self, members: Sequence[DescriberNetwork]) -> None:
        """Raises ModelError where the members' features or vocabularies are of different sizes."""
        first = members[0]
        sizes = {(each.feature_dim, each.vocabulary_size) for each in members}
        if len(sizes) > 1:
            raise ModelError(f"describers of {sorted(sizes)} numbers a region and words say no sentence together")
        super().__init__(first.feature_dim, first.vocabulary_size, first.config)
        self._members = nn.ModuleList(members)
        self.to(first.mean.device)
        made = [_tried(each) for each in members]
        self.contexts = [len(context) for context, _ in made]
        self.states = [len(state) for _, state in made]
        self.outs = [state[0].shape[-1] for _, state in made]

    @property
    def members(self) -> Iterator[DescriberNetwork]:
        """The describers."""
        return iter(cast(Iterable[DescriberNetwork], self._members))

    def encode(self, features: Tensor, mask: Tensor) -> Context:
        return _flat(each.encode(features, mask) for each in self.members)

    def start(self, context: Context, described: Tensor) -> State:
        own = zip(self.members, _split(context, self.contexts), strict=True)
        return self._joined(each.start(its, described) for each, its in own)

    def step(self, context: Context, state: State, words: Tensor) -> State:
        outs, rest = state[0].split(self.outs, -1), _split(state[1:], [count - 1 for count in self.states])
        own = zip(self.members, _split(context, self.contexts), outs, rest, strict=True)
        return self._joined(each.step(its, (out, *others), words) for each, its, out, others in own)

    def logits(self, out: Tensor) -> Tensor:
        """The log of the mean probability."""
        own = zip(self.members, out.split(self.outs, -1), strict=True)
        each = torch.stack([member.logits(part).float().log_softmax(-1) for member, part in own])
        return each.logsumexp(0) - math.log(len(self._members))

    def _joined(self, states: Iterable[State]) -> State:
        """What `logits` reads of all, then the rest."""
        each = list(states)
        return (torch.cat([state[0] for state in each], -1), *_flat(state[1:] for state in each))


def _flat(parts: Iterable[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    return tuple(itertools.chain.from_iterable(parts))


def _split(tensors: tuple[Tensor, ...], counts: Sequence[int]) -> Iterator[tuple[Tensor, ...]]:
    following = iter(tensors)
    return (tuple(itertools.islice(following, count)) for count in counts)


@torch.no_grad()
def _tried(member: DescriberNetwork) -> tuple[Context, State]:
    """A context and a state, for their sizes."""
    features = member.mean.new_zeros(1, 1, member.feature_dim)
    context = member.encode(features, features.new_ones(1, 1, dtype=torch.bool))
    return context, member.start(context, features.new_zeros(1, dtype=torch.long))
