"""Self-critical training: sentences that the model draws are paid by their CIDEr-D.

Rennie et al., "Self-critical Sequence Training for Image Captioning" (CVPR 2017); the baseline of a sentence is the
mean of the others drawn for its image (Luo, "A Better Variant of Self-Critical Sequence Training", 2020).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from vsalign.evaluation.cider import CiderD
from vsalign.generation import DecodeOptions, DescriberNetwork, beam_search
from vsalign.generation.network import never_said
from vsalign.generation.sample import draw
from vsalign.text import END, START, Vocabulary
from vsalign.training.loop import Cost
from vsalign.training.stream import Batch, PairStream, key_of
from vsalign.training.texts import Caption
from vsalign.training.workers import mean_over_workers

VALIDATION = DecodeOptions(beam=3)
IMAGES = 256
"""Described at once in validation."""


class Consensus:
    """CIDEr-D against the captions of images, which are known by the keys of their ids."""

    def __init__(self, captions: Iterable[Caption], vocabulary: Vocabulary) -> None:
        references: dict[str, list[list[int]]] = {}
        for caption in captions:
            if caption.tokens:
                references.setdefault(caption.image_id, []).append(vocabulary.encode(caption.tokens))
        self.images = list(references)
        self._plain = CiderD({key_of(image_id): own for image_id, own in references.items()})
        # END counts as a word: else sentences that break off before it are paid best.
        self._ended = CiderD({key_of(image_id): [[*ids, END] for ids in own] for image_id, own in references.items()})

    def rewards(self, keys: Sequence[int], drawn: Sequence[Sequence[Sequence[int]]]) -> Tensor:
        """CIDEr-D (B, K), 0 to 10, of the K sentences of each image, END included where they came to one."""
        return torch.tensor([[self._ended(key, ids) for ids in own] for key, own in zip(keys, drawn, strict=True)])

    @torch.inference_mode()
    def of_split(self, model: DescriberNetwork, stream: PairStream) -> tuple[float, list[list[int]]]:
        """The mean CIDEr-D, 0 to 10, of the whole images' best sentences, and these, in the order of `all_pairs`."""
        model.eval()
        device = model.mean.device
        found: list[float] = []
        said: list[list[int]] = []
        for batch in stream.all_pairs(IMAGES):
            context = model.encode(batch.features.to(device), batch.region_mask.to(device))
            sentences = beam_search(model, context, batch.described.to(device), VALIDATION)
            found += map(self._plain, batch.image_keys.tolist(), sentences.words)
            said += sentences.words
        return sum(found) / len(found), said


def paid_by(consensus: Consensus, model: DescriberNetwork, draws: int, precision: str) -> Cost:
    """The cost whose gradient makes drawn sentences likelier by what they are paid above the others of their image."""

    def cost(trained: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        device = model.mean.device
        batch = batch.to(device)
        # Drawn and learned without dropout: by one and the same distribution.
        model.eval()
        words, lengths = draw(model, batch.features, batch.region_mask, batch.described, draws)
        sentences = [
            [ids[:length] for ids, length in zip(own, ends, strict=True)]
            for own, ends in zip(words.tolist(), lengths.tolist(), strict=True)
        ]
        reward = consensus.rewards(batch.image_keys.tolist(), sentences).to(device)
        advantage = (reward - reward.mean(1, keepdim=True)) * (draws / (draws - 1))
        inputs = nn.functional.pad(words[..., :-1], (1, 0), value=START)
        inside = torch.arange(words.shape[2], device=device) < lengths[..., None]
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            logits = trained(batch.features, batch.region_mask, batch.described, inputs, lengths)
        # What is never drawn has no part in the softmax either: else probability flees there.
        logits = logits.float().index_fill(-1, never_said(device), -torch.inf)
        log_prob = -nn.functional.cross_entropy(logits, words[inside], reduction="none")
        value = -(advantage[..., None].expand_as(words)[inside] * log_prob).sum()
        return value / mean_over_workers(int(lengths.sum())), {"reward": float(reward.mean())}

    return cost
