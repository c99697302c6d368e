"""Ranking against a plain loop that draws its ties, and the inputs of cases.md."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest

from vsalign.errors import VsalignError
from vsalign.evaluation import ranking
from vsalign.evaluation.ranking import Ranking, rank, rank_folds


def ranks_of_all_orders(scores: list[float], correct: list[bool]) -> list[int]:
    """Rank of the first correct candidate under every order of the candidates, ties broken by the order."""
    found = []
    for order in itertools.permutations(range(len(scores))):
        ranked = sorted(order, key=lambda index: -scores[index])  # stable: the order breaks the ties
        found.append(1 + next(place for place, index in enumerate(ranked) if correct[index]))
    return found


def brute_force(scores: np.ndarray, query_ids: list[str], candidate_ids: list[str]) -> dict[str, float]:
    """Mean rank, median of the mean ranks and R@K of the expectation over all orders of the candidates."""
    ranks, hits = [], {k: [] for k in (1, 5, 10)}
    for row, query in zip(scores.tolist(), query_ids, strict=True):
        correct = [candidate == query for candidate in candidate_ids]
        if any(correct):
            of_orders = np.asarray(ranks_of_all_orders(row, correct))
            ranks.append(of_orders.mean())
            for k in hits:
                hits[k].append((of_orders <= k).mean())
    figures = {f"r{k}": 100 * float(np.mean(shares)) for k, shares in hits.items()}
    return {
        **figures,
        "mean": float(np.mean(ranks)),
        "median": float(np.median(ranks)),
        "queries": len(ranks),
    }


def figures(direction: ranking.Direction) -> dict[str, float]:
    recalls = {f"r{k}": value for k, value in direction.recall.items()}
    return {
        **recalls,
        "mean": direction.mean_rank,
        "median": direction.median_rank,
        "queries": direction.queries,
    }


@pytest.mark.parametrize("seed", range(12))
def test_ties_count_as_the_mean_over_all_orders_in_both_directions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image_ids = [f"folder/{number}.jpg" for number in range(int(rng.integers(1, 7)))]
    caption_ids = [image_ids[0], *rng.choice([*image_ids, "elsewhere.jpg"], size=int(rng.integers(1, 6)))]
    rng.shuffle(caption_ids)
    scores = rng.integers(0, 3, size=(len(image_ids), len(caption_ids))).astype(np.float32)

    measured = rank(scores, image_ids, caption_ids)

    assert figures(measured.annotation) == pytest.approx(brute_force(scores, image_ids, caption_ids))
    assert figures(measured.search) == pytest.approx(brute_force(scores.T, caption_ids, image_ids))


def test_distinct_scores_of_shuffled_zero_to_seven_captions_match_a_plain_sort() -> None:
    rng = np.random.default_rng(3)
    image_ids = [f"{number}.jpg" for number in range(60)]
    caption_ids = [image_id for number, image_id in enumerate(image_ids) for _ in range(number % 8)]
    rng.shuffle(caption_ids)
    scores = rng.standard_normal((60, len(caption_ids))).astype(np.float32)
    scores += 1.5 * (np.asarray(image_ids)[:, None] == np.asarray(caption_ids)[None])

    measured = rank(scores, image_ids, caption_ids)

    for direction, table, queries, candidates in (
        (measured.annotation, scores, image_ids, caption_ids),
        (measured.search, scores.T, caption_ids, image_ids),
    ):
        ranks = [
            1 + [candidates[index] == query for index in np.argsort(-row)].index(True)
            for row, query in zip(table, queries, strict=True)
            if query in candidates
        ]
        assert direction.queries == len(ranks)
        assert direction.left_out == len(queries) - len(ranks)
        assert direction.median_rank == np.median(ranks)
        assert direction.mean_rank == pytest.approx(np.mean(ranks))
        for k in (1, 5, 10):
            assert direction.recall[k] == pytest.approx(100 * np.mean(np.asarray(ranks) <= k))
    assert measured.annotation.left_out == 8  # pictures without a caption


@pytest.mark.parametrize("value", [0.0, -7.5, 1e30])
def test_constant_scores_measure_as_chance(value: float) -> None:
    image_ids = [f"{number}.jpg" for number in range(40)]
    caption_ids = image_ids * 5

    measured = rank(np.full((40, 200), value, np.float32), image_ids, caption_ids)

    assert measured.search.recall == pytest.approx({1: 100 / 40, 5: 100 * 5 / 40, 10: 100 * 10 / 40})
    assert measured.search.mean_rank == measured.search.median_rank == 20.5
    assert measured.annotation.recall[1] == pytest.approx(100 * 5 / 200)
    missed_by_five = np.prod([(195 - drawn) / (200 - drawn) for drawn in range(5)])
    assert measured.annotation.recall[5] == pytest.approx(100 * (1 - missed_by_five))
    assert measured.annotation.recall == pytest.approx(measured.annotation.chance)
    assert measured.search.recall == pytest.approx(measured.search.chance)


def test_fewer_than_ten_candidates_and_a_perfect_model_give_a_hundred() -> None:
    measured = rank(np.eye(3), ["a", "b", "c"], ["a", "b", "c"])

    assert measured.annotation.recall == measured.search.recall == {1: 100.0, 5: 100.0, 10: 100.0}
    assert measured.annotation.chance == pytest.approx({1: 100 / 3, 5: 100.0, 10: 100.0})
    assert measured.rsum == pytest.approx(600)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_no_number_is_refused_by_cell(value: float) -> None:
    scores = np.zeros((4, 5))
    scores[2, 3] = value

    with pytest.raises(VsalignError, match=r"picture 'c' and sentence 3 \(of picture 'd'\), cell \[2, 3\]"):
        rank(scores, list("abcd"), list("abcda"))


@pytest.mark.parametrize(
    ("scores", "image_ids", "caption_ids", "message"),
    [
        (np.zeros((2, 3)), ["a", "b"], ["a", "b"], r"shape \(2, 3\)"),
        (np.zeros((0, 0)), [], [], "at least one pair"),
        (np.zeros((2, 1), np.complex64), ["a", "b"], ["a"], "complex64"),
        (np.zeros((2, 1)), ["a", "a"], ["a"], "'a' has 2 rows"),
        (np.zeros((1, 2)), ["a.jpg"], ["a", "b"], r"none of the 2 sentences.*'a' and 'a\.jpg'"),
    ],
)
def test_what_cannot_be_ranked_is_refused(
    scores: np.ndarray, image_ids: list[str], caption_ids: list[str], message: str
) -> None:
    with pytest.raises(VsalignError, match=message):
        rank(scores, image_ids, caption_ids)


def test_blocks_give_the_same_figures_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    image_ids = [str(number) for number in range(400)]
    caption_ids = [str(number) for number in rng.permutation(np.repeat(np.arange(400), 5))]
    scores = rng.integers(0, 50, size=(400, 2000)).astype(np.float32)  # 3.2 MB, many ties
    whole = rank(scores, image_ids, caption_ids)
    monkeypatch.setattr(ranking, "BLOCK_BYTES", 2**16)

    tracemalloc.start()
    blocks = rank(scores, image_ids, caption_ids)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert blocks == whole
    assert peak < scores.nbytes / 2


def test_lines_say_the_definition_beside_the_number() -> None:
    measured = rank(np.eye(2), ["a", "b"], ["a", "elsewhere"])

    text = str(measured)
    assert isinstance(measured, Ranking)
    assert "first correct answer is in the top K" in text
    assert "R@1 100.0 (50.0)" in text
    assert "1 queries, 2 candidates, 1 without an answer left out" in text
    assert "RSUM" in text and "600.0" in text


def test_folds_are_ranked_alone_and_their_figures_averaged() -> None:
    rng = np.random.default_rng(3)
    image_ids = [f"{number}.jpg" for number in range(12)]
    of_captions = [*image_ids, *rng.permutation(image_ids)[:7].tolist(), "elsewhere.jpg"]
    scores = rng.standard_normal((12, len(of_captions)))

    found = rank_folds(scores, image_ids, of_captions, 3)

    parts = []
    for start in (0, 4, 8):
        own = image_ids[start : start + 4]
        columns = [column for column, image_id in enumerate(of_captions) if image_id in own]
        parts.append(rank(scores[start : start + 4][:, columns], own, [of_captions[column] for column in columns]))
    for side in ("annotation", "search"):
        sides = [getattr(part, side) for part in parts]
        mean = getattr(found, side)
        assert mean.recall == {k: pytest.approx(np.mean([each.recall[k] for each in sides])) for k in (1, 5, 10)}
        assert mean.median_rank == pytest.approx(np.mean([each.median_rank for each in sides]))
        assert mean.queries == sum(each.queries for each in sides)
    assert found.annotation.queries == 12 and "mean of 3 folds" in str(found)
    assert rank_folds(scores, image_ids, of_captions, 1) == rank(scores, image_ids, of_captions)


def test_folds_that_cannot_be_are_refused() -> None:
    scores = np.ones((4, 2))
    with pytest.raises(VsalignError, match="4 pictures cannot be shared equally by 3 folds"):
        rank_folds(scores, list("abcd"), ["a", "b"], 3)
    with pytest.raises(VsalignError, match="fold 2 of 2 has no sentence"):
        rank_folds(scores, list("abcd"), ["a", "b"], 2)
    with pytest.raises(VsalignError, match="do not fit"):
        rank_folds(scores, list("abcd"), ["a"], 2)
