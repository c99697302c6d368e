"""Random describers, and plain searches of one sentence, that the batched ones are compared with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vsalign.generation import DESCRIBERS, DescriberConfig, DescriberNetwork
from vsalign.text import END, PAD, START, UNK

SPECIAL = {PAD, START, END, UNK}
D = 3
REGIONS = 2


def bias(model: DescriberNetwork) -> Tensor:
    """Of the words."""
    found: Tensor = model.W_oh.bias if model.config.describer == "mrnn" else model.b  # type: ignore[assignment,union-attr]
    return found


def network(vocabulary: int = 7, seed: int = 0, end: float = 0.0, describer: str = "mrnn") -> DescriberNetwork:
    """A random model; the greater `end`, the sooner it ends."""
    torch.manual_seed(seed)
    config = DescriberConfig(describer=describer, hidden=5, word_dim=4)  # type: ignore[arg-type]
    model = DESCRIBERS[describer](D, vocabulary, config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.8 if describer == "mrnn" else 2.0)
    with torch.no_grad():
        bias(model)[END] += end
        bias(model)[[PAD, START, UNK]] += 2  # what must not be said is likely
    return model


def feature(seed: int, count: int = 1) -> Tensor:
    return torch.randn(count, REGIONS, D, generator=torch.Generator().manual_seed(seed))


def views(model: DescriberNetwork, images: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
    """The second region of each image."""
    with torch.no_grad():
        context = model.encode(images, torch.ones(images.shape[:2], dtype=torch.bool))
    return context, torch.ones(len(images), dtype=torch.long)


class Following:
    """log p of each next word after some words, for one image; every answer is remembered."""

    def __init__(self, model: DescriberNetwork, image: Tensor) -> None:
        self.model = model
        self.known: dict[tuple[int, ...], tuple[tuple[Tensor, ...], list[float]]] = {}
        self.context, described = views(model, image)
        with torch.no_grad():
            self._remember((), model.start(self.context, described))

    def _remember(self, words: tuple[int, ...], state: tuple[Tensor, ...]) -> None:
        self.known[words] = state, self.model.logits(state[0]).log_softmax(-1)[0, 0].tolist()

    def __call__(self, words: tuple[int, ...]) -> list[float]:
        if words not in self.known:
            self(words[:-1])
            with torch.no_grad():
                self._remember(
                    words, self.model.step(self.context, self.known[words[:-1]][0], torch.tensor([words[-1:]]))
                )
        return self.known[words][1]

    def log_prob(self, words: tuple[int, ...]) -> float:
        return sum(self(words[:t])[word] for t, word in enumerate(words))

    def real_words(self) -> list[int]:
        return [word for word in range(self.model.vocabulary_size) if word not in SPECIAL]

    def may_follow(self, words: Sequence[int]) -> list[int]:
        """The same with END, which no sentence begins with."""
        return [*([END] if words else []), *self.real_words()]


Found = tuple[list[int], float, bool]


def greedy(model: DescriberNetwork, image: Tensor, max_words: int) -> Found:
    """The most probable next word, again and again."""
    following, words, total = Following(model, image), [], 0.0
    for _ in range(max_words + 1):
        following_words = following(tuple(words))
        word = max(following.may_follow(words), key=following_words.__getitem__)
        if word == END:
            return words, total + following_words[END], True
        if len(words) == max_words:
            break
        words, total = [*words, word], total + following_words[word]
    return words, total, False


MODELS = [(seed, end) for seed in range(6) for end in (-3.0, 0.0, 2.0, 4.0)]
