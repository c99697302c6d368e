"""What an alignment model makes of a split: scores of all its images with all its sentences, its phrases' regions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from vsalign.alignment import AlignmentModel, SentenceReader, decode_labels
from vsalign.alignment.annotate import Annotator, batches, pairs_with_regions
from vsalign.alignment.placing import MeanBoxes
from vsalign.evaluation.grounding import NO_REGION, Choice
from vsalign.evaluation.ranking import Ranking, rank_folds
from vsalign.storage import TableReader
from vsalign.training.stream import PairStream, Text
from vsalign.training.texts import Caption

SENTENCES = 512
"""Sentences encoded at once."""
IMAGES = 256
"""Images projected at once."""


@torch.inference_mode()
def score_matrix(
    model: AlignmentModel, regions: TableReader, captions: Sequence[Caption], reader: SentenceReader
) -> tuple[np.ndarray, list[str], list[Caption]]:
    """S (N, M) float32 of the images that the captions speak of, with the image ids (N) and captions (M) of its sides.

    Both are in the captions' order. Captions without a word, or whose image the regions table lacks, are left out.
    Beside S and its images' v (N, R, h), memory holds the words of SENTENCES sentences.
    """
    model.eval()
    texts = {caption.image_id: [Text([0])] for caption in captions if caption.tokens}
    stream = PairStream(regions, texts, seed=0)
    found = [image_id for ids in stream.image_ids for image_id in ids]
    known = set(found)
    used = [caption for caption in captions if caption.tokens and caption.image_id in known]
    row = {image_id: number for number, image_id in enumerate(dict.fromkeys(caption.image_id for caption in used))}
    rows = np.array([row[image_id] for image_id in found])
    device = next(model.parameters()).device
    sides = [(model.regions(features.to(device)), mask.to(device)) for features, mask in stream.images(IMAGES)]
    scores = np.empty((len(row), len(used)), np.float32)
    by_length = sorted(range(len(used)), key=lambda number: len(used[number].tokens))
    for start in range(0, len(used), SENTENCES):
        columns = by_length[start : start + SENTENCES]
        s, lengths = _sentences(model, [used[column] for column in columns], reader)
        for number, (v, mask) in enumerate(sides):
            those = rows[number * IMAGES : number * IMAGES + len(v)]
            scores[those[:, None], columns] = model.score(v, mask, s, lengths).cpu().numpy()
    return scores, list(row), used


def _sentences(
    model: AlignmentModel, captions: Sequence[Caption], reader: SentenceReader
) -> tuple[torch.Tensor, torch.Tensor]:
    """s (W, h) and lengths (M,)."""
    sentences = reader.read([caption.tokens for caption in captions]).to(next(model.parameters()).device)
    return model.sentences(*sentences), sentences.lengths


def evaluate_ranking(
    model: AlignmentModel, regions: TableReader, captions: Sequence[Caption], reader: SentenceReader, folds: int = 1
) -> Ranking:
    """Ranking of a split's images and captions by the model (paper, section 4.1); the mean over `folds` parts."""
    scores, image_ids, used = score_matrix(model, regions, captions, reader)
    return rank_folds(scores, image_ids, [caption.image_id for caption in used], folds)


@torch.inference_mode()
def phrase_regions(
    annotator: Annotator,
    regions: TableReader,
    captions: Mapping[str, Caption],
    phrases: Sequence[tuple[str, str, int, int]],
    betas: Sequence[float],
) -> list[list[int]]:
    """For each beta, the region of each phrase: the label of its words, taken as one, in the best labelling (MRF).

    captions: by caption_id. phrases: (image_id, caption_id, start, end in words, end exclusive). -1 where the regions
    table lacks the image, or the words lie behind the place where the sentence was cut.
    """
    chosen = [[NO_REGION] * len(phrases) for _ in betas]
    for found in _phrases_on_regions(annotator, regions, captions, phrases):
        numbers, starts, rows = [], [], []
        for phrase in found:
            numbers.append(phrase.number)
            starts.append(phrase.start)
            likings = phrase.likings
            together = likings[phrase.start : phrase.end].sum(0, keepdim=True)
            rows.append(torch.cat([likings[: phrase.start], together, likings[phrase.end :]]))
        if rows:
            padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
            words = torch.tensor([len(row) for row in rows])
            for regions_of, beta in zip(chosen, betas, strict=True):
                labels = decode_labels(padded, words, beta)[torch.arange(len(rows)), torch.tensor(starts)]
                for number, region in zip(numbers, labels.tolist(), strict=True):
                    regions_of[number] = region
    return chosen


@torch.inference_mode()
def phrase_boxes(
    annotator: Annotator,
    means: MeanBoxes,
    regions: TableReader,
    captions: Mapping[str, Caption],
    phrases: Sequence[tuple[str, str, int, int]],
) -> list[Choice]:
    """The mean box (4,) xyxy px of each phrase; arguments and -1 as `phrase_regions`'."""
    chosen: list[Choice] = [NO_REGION] * len(phrases)
    for found in _phrases_on_regions(annotator, regions, captions, phrases):
        for each in found:
            own, whole = (some.mean(0)[None] for some in (each.products[each.start : each.end], each.products))
            chosen[each.number] = means.boxes(own, whole, each.boxes[None])[0].numpy()
    return chosen


@dataclass(frozen=True)
class _Placed:
    """A phrase, words [start, end) of its sentence of T words, on R regions."""

    number: int
    start: int
    end: int
    likings: torch.Tensor
    """(T, R)."""
    products: torch.Tensor
    """(T, R)."""
    boxes: torch.Tensor
    """(R, 4)."""


def _phrases_on_regions(
    annotator: Annotator,
    regions: TableReader,
    captions: Mapping[str, Caption],
    phrases: Sequence[tuple[str, str, int, int]],
) -> Iterator[list[_Placed]]:
    """A batch of sentences at a time, the phrases that have words and regions."""
    of_pair: dict[tuple[str, str], list[int]] = {}
    for number, (image_id, caption_id, _, _) in enumerate(phrases):
        of_pair.setdefault((image_id, caption_id), []).append(number)
    wanted: dict[str, list[dict[str, Any]]] = {}
    for image_id, caption_id in of_pair:
        if tokens := captions[caption_id].tokens:
            wanted.setdefault(image_id, []).append({"caption_id": caption_id, "tokens": tokens})
    for pairs in batches(pairs_with_regions(wanted, regions)):
        unary, lengths, _, products = annotator.likings(pairs)
        found: list[_Placed] = []
        for row, (pair, length) in enumerate(zip(pairs, lengths.tolist(), strict=True)):
            count = len(pair.boxes)
            own = unary[row, :length], products[row, :length, :count], torch.from_numpy(np.array(pair.boxes))
            for number in of_pair[pair.image_id, pair.caption_id]:
                start, end = phrases[number][2], min(phrases[number][3], length)
                if start < end:
                    found.append(_Placed(number, start, end, *own))
        yield found
