"""Batched beam search, and sampling: all views and hypotheses in one tensor, no Python loop over hypotheses.

A view is an image with the region that is described.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from vsalign.errors import ConfigurationError
from vsalign.generation.network import Context, DescriberNetwork, State, never_said
from vsalign.text import END, PAD

BLOCK = 64
"""Words whose greatest logit is taken first: the k best words are in the k best blocks."""


@dataclass(frozen=True)
class DecodeOptions:
    """How a sentence is looked for."""

    beam: int = 5
    """Hypotheses kept at each step (the paper has 7); 1 is the argmax."""
    max_words: int = 20
    """A sentence that has not ended here is given as it is, finished = false."""
    length_norm: float = 0.5
    """Sentences are compared by log-probability / (words + 1) ** length_norm: 0, the paper's, prefers short ones, 1 is
    the mean of a word. The default was chosen on Flickr8k's tune split (docs/results.md)."""
    no_repeat: int = 0
    """No sequence of so many words comes twice in a sentence; 0: all may."""

    def __post_init__(self) -> None:
        if self.beam < 1 or self.max_words < 1:
            raise ConfigurationError(f"beam {self.beam} and max_words {self.max_words}: both are at least 1")
        if not 0 <= self.length_norm <= 1 or self.no_repeat < 0:
            raise ConfigurationError(
                f"length_norm {self.length_norm}, no_repeat {self.no_repeat}: the first lies in [0, 1], the second is "
                "0 or more"
            )


class Sentences(NamedTuple):
    """The best sentences of each view, or one."""

    words: list[list[int]]
    """Word ids, without START, END, PAD, UNK."""
    log_probs: list[float]
    """Natural log of the sentence's probability, END included where it is finished."""
    finished: list[bool]


class Open(NamedTuple):
    """The open hypotheses of the views that go on, of t words each."""

    views: Tensor
    """(B,) which views these are."""
    context: Context
    state: State
    log_prob: Tensor
    """(B, K), falling."""
    history: Tensor
    """(B, K, t)."""

    def only(self, rows: Tensor) -> Open:
        """Those of some views."""
        return Open(
            self.views[rows], tuple(each[rows] for each in self.context), tuple(each[rows] for each in self.state),
            self.log_prob[rows], self.history[rows],
        )  # fmt: skip


@torch.inference_mode()
def beam_search(model: DescriberNetwork, context: Context, described: Tensor, options: DecodeOptions) -> Sentences:
    """The best sentence that beam search finds for each view: context of `model.encode`, described (B,).

    PAD, START and UNK are never generated, and a sentence has a word where there is any to say. At each step the `beam`
    best continuations of all hypotheses are kept; END finishes a sentence where it is among them, so that a beam of 1
    is the argmax. Log-probabilities only fall, so a view is done when its best finished sentence is at least as good as
    any open one may become; where that is not reached with max_words words, the best open one is given, finished =
    false.
    With beam >= vocabulary ** max_words the search is exhaustive.
    """
    return best_of(n_best(model, context, described, options, 1))


def best_of(found: list[Sentences]) -> Sentences:
    """The first sentence of each view."""
    return Sentences(*([each[field][0] for each in found] for field in range(3)))  # type: ignore[arg-type]


@torch.inference_mode()
def n_best(
    model: DescriberNetwork, context: Context, described: Tensor, options: DecodeOptions, count: int
) -> list[Sentences]:
    """The `count` best sentences of each view, best first; fewer where fewer were found; as `beam_search` otherwise.

    At the limit the best open one comes before finished ones that it might have beaten.
    """
    model.eval()
    views, device = len(described), described.device
    pool = Pool(views, count, options, device)
    state = model.start(context, described)
    none, history = torch.zeros(views, 1, device=device), torch.zeros(views, 1, 0, dtype=torch.long, device=device)
    opened = Open(torch.arange(views, device=device), context, state, none, history)
    while len(opened.views):
        t = opened.history.shape[2]
        ended, grown, parent, word = continuations(model, opened, options)
        pool.finish(opened, ended, grown[:, -1])
        going = ~pool.done(opened.views, grown[:, 0])
        rows = going.nonzero().squeeze(1)
        if len(rows) < len(going):
            opened, grown, parent, word = opened.only(rows), grown[rows], parent[rows], word[rows]
        if t == options.max_words or not len(rows):
            pool.give_up(opened, grown[:, 0])
            break
        opened = advanced(model, opened, grown, parent, word)
    return pool.sentences()


def continuations(
    model: DescriberNetwork, opened: Open, options: DecodeOptions
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """log-probabilities of END after each hypothesis (B, K), and the `beam` best words after any of a view's.

    These (B, K'), falling, with the hypotheses that they follow and the words.
    """
    logits = model.logits(opened.state[0]).float()
    base = opened.log_prob - logits.logsumexp(-1)
    logits.index_fill_(-1, never_said(logits.device), -torch.inf)
    if options.no_repeat:
        forbid_repeats(logits, opened.history, options.no_repeat)
    ended = base + logits[..., END]
    logits[..., END] = -torch.inf
    values, words = greatest(logits, options.beam)
    total = (base[..., None] + values).flatten(1)
    grown, index = total.topk(min(options.beam, total.shape[1]), dim=1)
    if not opened.history.shape[2]:
        ended = ended.masked_fill(grown[:, :1] > -torch.inf, -torch.inf)
    return ended, grown, index // values.shape[2], words.flatten(1).gather(1, index)


def greatest(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` greatest of the last dimension, falling, and where they are: topk, by blocks' greatest first."""
    width = logits.shape[-1]
    if count * BLOCK * 2 > width:
        return logits.topk(min(count, width), dim=-1)
    blocks = torch.nn.functional.pad(logits, (0, -width % BLOCK), value=-torch.inf).unflatten(-1, (-1, BLOCK))
    which = blocks.amax(-1).topk(count, dim=-1).indices
    found = blocks.gather(-2, which[..., None].expand(*which.shape, BLOCK))
    values, places = found.flatten(-2).topk(count, dim=-1)
    return values, which.gather(-1, places // BLOCK) * BLOCK + places % BLOCK


def forbid_repeats(logits: Tensor, history: Tensor, size: int) -> None:
    """Set to -inf, in place, the words (B, K, vocabulary) that would end a sequence of `size` words a second time."""
    if history.shape[2] < size:
        return
    runs = history.unfold(2, size, 1)
    again = (runs[..., :-1] == history[:, :, None, history.shape[2] - size + 1 :]).all(-1)
    logits.scatter_(2, torch.where(again, runs[..., -1], PAD), -torch.inf)


def advanced(model: DescriberNetwork, opened: Open, log_prob: Tensor, parent: Tensor, word: Tensor) -> Open:
    """The hypotheses one word longer: that of `parent` (B, K) and `word` (B, K)."""
    rows = torch.arange(len(parent), device=parent.device)[:, None]
    state = model.step(opened.context, tuple(each[rows, parent] for each in opened.state), word)
    history = torch.cat([opened.history[rows, parent], word[:, :, None]], 2)
    return opened._replace(state=state, log_prob=log_prob, history=history)


class Pool:
    """The best finished sentences of each view so far."""

    def __init__(self, views: int, count: int, options: DecodeOptions, device: torch.device) -> None:
        self.options = options
        self.score = torch.full((views, count), -torch.inf, device=device)
        self.log_prob = torch.full((views, count), -torch.inf, device=device)
        self.words = torch.zeros(views, count, options.max_words, dtype=torch.long, device=device)
        self.length = torch.zeros(views, count, dtype=torch.long, device=device)
        self.finished = torch.zeros(views, count, dtype=torch.bool, device=device)

    def compared(self, log_prob: Tensor, words: int) -> Tensor:
        """What sentences are compared by."""
        return log_prob / (words + 1) ** self.options.length_norm

    def finish(self, opened: Open, ended: Tensor, last: Tensor) -> None:
        """Take in hypotheses that end here: `ended` (B, K), where that is no less probable than `last` (B,)."""
        t = opened.history.shape[2]
        ended = torch.where(ended >= last[:, None], ended, -torch.inf)
        if not bool((ended > -torch.inf).any()):
            return
        views = opened.views
        score = torch.cat([self.score[views], self.compared(ended, t)], 1)
        best, slot = score.topk(self.score.shape[1], dim=1)
        padded = torch.nn.functional.pad(opened.history, (0, self.options.max_words - t))
        words = torch.cat([self.words[views], padded], 1)
        self.words[views] = words.gather(1, slot[:, :, None].expand(-1, -1, words.shape[2]))
        for kept, new in (
            (self.log_prob, ended),
            (self.length, torch.full_like(ended, t, dtype=torch.long)),
            (self.finished, ended > -torch.inf),
        ):
            kept[views] = torch.cat([kept[views], new], 1).gather(1, slot)
        self.score[views] = best

    def done(self, views: Tensor, open_log_prob: Tensor) -> Tensor:
        """Whether (B,) no open hypothesis can become better than those here; open_log_prob (B,): the best one's."""
        worst = self.score[views, -1]
        return (worst >= self.compared(open_log_prob, self.options.max_words)) & (worst > -torch.inf)

    def give_up(self, opened: Open, longer: Tensor) -> None:
        """At the limit: the best open hypothesis of each view comes first, where a longer sentence could be the best.

        longer: (B,) log-probabilities of their best continuations.
        """
        log_prob, t = opened.log_prob[:, 0], opened.history.shape[2]
        found = self.score[opened.views, 0]
        late = ~((found >= self.compared(longer, t)) & (found > -torch.inf))
        views = opened.views[late]
        # An open hypothesis of probability 0 has banned words: there was nothing else to say.
        length = t * (log_prob[late] > -torch.inf)
        for kept, new in (
            (self.words, torch.nn.functional.pad(opened.history[late, 0], (0, self.options.max_words - t))),
            (self.length, length),
            (self.log_prob, log_prob[late]),
            (self.score, torch.full_like(log_prob[late], torch.inf)),
            (self.finished, torch.zeros_like(length, dtype=torch.bool)),
        ):
            kept[views] = torch.cat([new[:, None], kept[views, :-1]], 1)

    def sentences(self) -> list[Sentences]:
        """Of each view, best first."""
        found = []
        fields = (self.words, self.length, self.log_prob, self.score, self.finished)
        for words, lengths, log_probs, scores, finished in zip(*(each.tolist() for each in fields), strict=True):
            kept = [place for place, score in enumerate(scores) if score > -torch.inf]
            found.append(
                Sentences(
                    [words[place][: lengths[place]] for place in kept],
                    [log_probs[place] for place in kept],
                    [finished[place] for place in kept],
                )
            )
        return found
