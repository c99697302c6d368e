"""Ranking both ways: sentences for pictures (annotation), pictures for sentences (search); paper section 8.

R@K is the share of queries whose first correct answer is among the first K, Med r the median 1-based rank of
the first correct answer. Truth goes by id, so any number of sentences a picture, in any order, is right.

Ties. A model that gives every candidate the same score knows nothing, and must measure as chance. So
candidates of equal score count as shuffled at random, and the expectation over the shuffles is taken exactly,
not drawn: with g candidates above the best correct one, and T candidates at its score of which t are correct,

    rank = g + (T + 1) / (t + 1)                     the mean rank of the first correct one
    hit@K = 1 - C(T - t, k) / C(T, k),  k = K - g    the probability that it is in the first K (0 if k <= 0)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vsalign.errors import VsalignError

RECALL_AT = (1, 5, 10)
BLOCK_BYTES = 32 * 2**20  # scores looked at at once; a guess that keeps the masks beside them under ~100 MB


@dataclass(frozen=True)
class Direction:
    """One direction of ranking: recall and chance in per cent by K, ranks 1-based, counts."""

    recall: dict[int, float]
    """R@K in per cent, expected over random orders of equal scores."""
    median_rank: float
    mean_rank: float
    queries: int
    """Queries with at least one correct candidate: those that the figures are over."""
    candidates: int
    left_out: int
    """Queries that no candidate answers, left out of the figures."""
    chance: dict[int, float]
    """R@K in per cent of scores that know nothing (all equal), on the same queries."""


@dataclass(frozen=True)
class Ranking:
    """Both directions of ranking, as `rank` measured them."""

    annotation: Direction
    """Query a picture, candidates all sentences; any sentence of the picture is correct."""
    search: Direction
    """Query a sentence, candidates all pictures."""
    folds: int = 1
    """Parts of the pictures that the figures are the mean of."""

    @property
    def rsum(self) -> float:
        """Sum of the six recalls, 0 to 600: R@1 + R@5 + R@10, annotation + search."""
        return sum(self.annotation.recall.values()) + sum(self.search.recall.values())

    def lines(self) -> list[str]:
        """The figures with their definition, one line of text each."""
        definition = (
            "R@K: per cent of queries whose first correct answer is in the top K (in brackets: of chance); "
            "Med r, mean r: its median and mean 1-based rank; equal scores count as shuffled"
        )
        rows = [definition]
        if self.folds > 1:
            rows.append(f"mean of {self.folds} folds, candidates of one fold at a time")
        for name, direction in (("annotation", self.annotation), ("search", self.search)):
            recalls = "  ".join(
                f"R@{k} {value:5.1f} ({direction.chance[k]:.1f})" for k, value in direction.recall.items()
            )
            left_out = f", {direction.left_out} without an answer left out" if direction.left_out else ""
            rows.append(
                f"{name:<10}  {recalls}  Med r {direction.median_rank:.1f}  "
                f"mean r {direction.mean_rank:.1f}  ({direction.queries} queries, "
                f"{direction.candidates} candidates{left_out})"
            )
        rows.append(f"RSUM (sum of the six R@K, 600 at most)  {self.rsum:.1f}")
        return rows

    def __str__(self) -> str:
        return "\n".join(self.lines())


def rank(scores: np.ndarray, image_ids: Sequence[str], caption_image_ids: Sequence[str]) -> Ranking:
    """Rank sentences for every picture and pictures for every sentence (paper.md section 8).

    scores: (N, M) floats, row = picture, column = sentence, greater = fits better. image_ids: N unique ids.
    caption_image_ids: the M ids of the pictures that the sentences belong to. Reads the scores in blocks of
    rows and never sorts them. Raises VsalignError on shapes that disagree, an id given twice, a score that is
    NaN or infinite, or no sentence that belongs to any of the pictures.
    """
    scores = np.asarray(scores)
    _check_shapes(scores, image_ids, caption_image_ids)
    if scores.dtype.kind != "f":
        scores = scores.astype(np.float64)
    _check_finite(scores, image_ids, caption_image_ids)
    codes = {image_id: code for code, image_id in enumerate(image_ids)}
    image_codes = np.arange(len(image_ids))
    caption_codes = np.asarray([codes.get(image_id, -1) for image_id in caption_image_ids])
    if not (caption_codes >= 0).any():
        raise VsalignError(
            f"none of the {len(caption_image_ids)} sentences belongs to one of the {len(image_ids)} pictures "
            f"(the first: {caption_image_ids[0]!r} and {image_ids[0]!r}); give both tables the same image_id."
        )
    return Ranking(
        annotation=_direction(scores, image_codes, caption_codes),
        search=_direction(scores.T, caption_codes, image_codes),
    )


def rank_folds(scores: np.ndarray, image_ids: Sequence[str], caption_image_ids: Sequence[str], folds: int) -> Ranking:
    """The mean of the rankings of `folds` equal parts of the pictures, each with its own sentences alone.

    COCO 1K is five parts of the 5,000 test pictures, in their order. Arguments as `rank`'s. Raises VsalignError as
    `rank`, and where the pictures cannot be shared equally.
    """
    if folds == 1:
        return rank(scores, image_ids, caption_image_ids)
    if folds < 1 or len(image_ids) % folds:
        raise VsalignError(f"{len(image_ids)} pictures cannot be shared equally by {folds} folds: give another number.")
    _check_shapes(np.asarray(scores), image_ids, caption_image_ids)
    size = len(image_ids) // folds
    fold_of = {image_id: row // size for row, image_id in enumerate(image_ids)}
    of_captions = np.array([fold_of.get(image_id, -1) for image_id in caption_image_ids])
    parts = []
    for fold in range(folds):
        rows = slice(fold * size, (fold + 1) * size)
        columns = np.flatnonzero(of_captions == fold).tolist()
        if not columns:
            raise VsalignError(f"fold {fold + 1} of {folds} has no sentence: give each picture its sentences.")
        own = [caption_image_ids[column] for column in columns]
        parts.append(rank(scores[rows][:, columns], image_ids[rows], own))
    return Ranking(_mean([part.annotation for part in parts]), _mean([part.search for part in parts]), folds)


def ranking_metrics(ranking: Ranking) -> dict[str, float]:
    """R@K of both directions and RSUM, per cent, by name."""
    figures = {
        f"{name}_r{k}": value
        for name, direction in (("annotation", ranking.annotation), ("search", ranking.search))
        for k, value in direction.recall.items()
    }
    return {**figures, "rsum": ranking.rsum}


def _mean(directions: Sequence[Direction]) -> Direction:
    """Figures are means over the folds, counts their sums; candidates are those of one query."""

    def recalls(name: str) -> dict[int, float]:
        return {k: float(np.mean([getattr(each, name)[k] for each in directions])) for k in RECALL_AT}

    return Direction(
        recall=recalls("recall"),
        median_rank=float(np.mean([each.median_rank for each in directions])),
        mean_rank=float(np.mean([each.mean_rank for each in directions])),
        queries=sum(each.queries for each in directions),
        candidates=max(each.candidates for each in directions),
        left_out=sum(each.left_out for each in directions),
        chance=recalls("chance"),
    )


def _check_shapes(scores: np.ndarray, image_ids: Sequence[str], caption_image_ids: Sequence[str]) -> None:
    """Raise VsalignError unless scores are (N >= 1, M >= 1) reals, N unique image ids and M caption ids."""
    expected = (len(image_ids), len(caption_image_ids))
    if scores.shape != expected or 0 in expected or scores.dtype.kind not in "fiu":
        raise VsalignError(
            f"scores of shape {scores.shape} and type {scores.dtype} do not fit {expected[0]} pictures and "
            f"{expected[1]} sentences; give one real number for each pair, at least one pair."
        )
    image_id, times = Counter(image_ids).most_common(1)[0]
    if times > 1:
        raise VsalignError(f"image_id {image_id!r} has {times} rows of scores; give each picture one row.")


def _check_finite(scores: np.ndarray, image_ids: Sequence[str], caption_image_ids: Sequence[str]) -> None:
    """Raise VsalignError that names the first cell which is NaN or infinite."""
    for start, block in _blocks(scores):
        finite = np.isfinite(block)
        if not finite.all():
            row, column = np.argwhere(~finite)[0]
            raise VsalignError(
                f"the score of picture {image_ids[start + row]!r} and sentence {column} (of picture "
                f"{caption_image_ids[column]!r}), cell [{start + row}, {column}], is {block[row, column]}; "
                f"mend the model or features that gave it, as no rank can be said of it."
            )


def _blocks(scores: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Give (first row, rows) of scores in contiguous blocks of about BLOCK_BYTES."""
    rows = max(1, BLOCK_BYTES // (scores.shape[1] * scores.itemsize))
    for start in range(0, len(scores), rows):
        yield start, np.ascontiguousarray(scores[start : start + rows])


def _direction(scores: np.ndarray, query_codes: np.ndarray, candidate_codes: np.ndarray) -> Direction:
    """Measure one direction: scores (Q, C); a candidate is correct for a query of the same code."""
    counts = [
        _count(block, query_codes[start : start + len(block)], candidate_codes) for start, block in _blocks(scores)
    ]
    above, tied, correct, answers = (np.concatenate(column) for column in zip(*counts, strict=True))
    answered = answers > 0
    above, tied, correct, answers = above[answered], tied[answered], correct[answered], answers[answered]
    ranks = above + (tied + 1) / (correct + 1)
    none = np.zeros_like(answers)
    candidates = none + len(candidate_codes)
    return Direction(
        recall={k: 100 * float(_hit(k - above, tied, correct).mean()) for k in RECALL_AT},
        median_rank=float(np.median(ranks)),
        mean_rank=float(ranks.mean()),
        queries=int(answered.sum()),
        candidates=len(candidate_codes),
        left_out=int((~answered).sum()),
        chance={k: 100 * float(_hit(k + none, candidates, answers).mean()) for k in RECALL_AT},
    )


def _count(
    block: np.ndarray, query_codes: np.ndarray, candidate_codes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Four counts, (rows,) int64 each, of a block's queries: candidates above the best correct one, at its
    score, the correct ones among the latter, all correct ones."""
    truth = query_codes[:, None] == candidate_codes[None, :]
    best = np.max(block, axis=1, where=truth, initial=-np.inf, keepdims=True)
    at_best = block == best
    above = np.count_nonzero(block > best, axis=1)
    tied = np.count_nonzero(at_best, axis=1)
    correct = np.count_nonzero(at_best & truth, axis=1)
    return above, tied, correct, np.count_nonzero(truth, axis=1)


def _hit(places: np.ndarray, tied: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """Probability (Q,) that one of `correct` among `tied` shuffled candidates lands in the first `places`."""
    miss = np.ones(len(places))
    for drawn in range(max(RECALL_AT)):
        left = np.clip(tied - correct - drawn, 0, None) / np.maximum(tied - drawn, 1)
        miss *= np.where(drawn < places, left, 1.0)
    return 1.0 - miss
