"""The image-sentence score against a plain triple loop, and its gradients against those of the naive expression."""

from __future__ import annotations

import importlib

import pytest
import torch
from torch import Tensor

from vsalign.alignment import score

SCORE = importlib.import_module("vsalign.alignment.score")  # the package gives the function of that name


def problem(
    regions: list[int], lengths: list[int], h: int = 5, dtype: torch.dtype = torch.float64, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """v (N, R, h), mask, s (W, h), lengths of images with such numbers of regions and sentences of such lengths."""
    generator = torch.Generator().manual_seed(seed)
    v = torch.randn(len(regions), max(regions), h, generator=generator, dtype=dtype)
    mask = torch.arange(max(regions)) < torch.tensor(regions)[:, None]
    s = torch.randn(sum(lengths), h, generator=generator, dtype=dtype)
    return v, mask, s, torch.tensor(lengths)


def triple_loop(v: Tensor, mask: Tensor, s: Tensor, lengths: Tensor) -> list[list[float]]:
    """Equation 8, word by word and region by region."""
    scores = []
    for image in range(len(v)):
        row, first = [], 0
        for length in lengths.tolist():
            total = 0.0
            for word in range(first, first + length):
                total += max(
                    sum(a * b for a, b in zip(v[image, region].tolist(), s[word].tolist(), strict=True))
                    for region in range(v.shape[1])
                    if mask[image, region]
                )
            row.append(total)
            first += length
        scores.append(row)
    return scores


def naive(v: Tensor, mask: Tensor, s: Tensor) -> Tensor:
    """max_i v_i · s_t of all images and words at once."""
    return (v @ s.t()).masked_fill(~mask[:, :, None], -torch.inf).max(1).values


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])
@pytest.mark.parametrize(("block_bytes", "block_words"), [(1, 1), (400, 5), (2**26, 2**11)])
@pytest.mark.parametrize("learning", [False, True])
def test_score_is_the_triple_loop_of_the_paper(
    monkeypatch: pytest.MonkeyPatch,
    dtype: torch.dtype,
    tolerance: float,
    block_bytes: int,
    block_words: int,
    learning: bool,
) -> None:
    monkeypatch.setattr(SCORE, "BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(SCORE, "BLOCK_WORDS", block_words)
    case = problem([3, 1, 5, 2, 4, 5, 1], [4, 0, 1, 7, 2], dtype=dtype)
    case[0].requires_grad_(learning)

    found = score(*case)

    assert found.dtype == dtype and found.requires_grad == learning
    assert found.shape == (7, 5)
    torch.testing.assert_close(
        found.double(), torch.tensor(triple_loop(*case), dtype=torch.float64), rtol=0, atol=tolerance
    )
    assert (found[:, 1] == 0).all()  # the sentence without words


def test_blocks_change_neither_score_nor_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(block_bytes: int) -> tuple[Tensor, ...]:
        monkeypatch.setattr(SCORE, "BLOCK_BYTES", block_bytes)
        monkeypatch.setattr(SCORE, "BLOCK_WORDS", max(2, block_bytes))
        v, mask, s, lengths = problem([2, 6, 1, 4], [3, 1, 2])
        v.requires_grad_(), s.requires_grad_()
        found = score(v, mask, s, lengths)
        found.square().sum().backward()
        assert v.grad is not None and s.grad is not None
        return found.detach(), v.grad, s.grad

    for one, other in zip(measured(1), measured(2**26), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_gradients_are_those_of_the_naive_expression() -> None:
    v, mask, s, _ = problem([4, 2, 1], [3, 2], seed=3)
    weight = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    weight[0] = 0  # an image without a gradient
    expected, found = [], []
    words = torch.ones(5, dtype=torch.long)  # each a sentence of its own

    def ours(v: Tensor, mask: Tensor, s: Tensor) -> Tensor:
        return score(v, mask, s, words)

    for best, gradients in ((naive, expected), (ours, found)):
        leaf_v, leaf_s = v.clone().requires_grad_(), s.clone().requires_grad_()
        (best(leaf_v, mask, leaf_s) * weight).sum().backward()
        gradients += [leaf_v.grad, leaf_s.grad]

    torch.testing.assert_close(found, expected)
    assert (found[0][1, 2:] == 0).all()  # regions that are not there learn nothing


def test_gradients_pass_gradcheck() -> None:
    v, mask, s, lengths = problem([3, 2], [2, 0, 1], h=3, seed=5)

    assert torch.autograd.gradcheck(
        lambda regions, words: score(regions, mask, words, lengths), (v.requires_grad_(), s.requires_grad_())
    )


def test_only_the_side_that_learns_gets_gradients() -> None:
    v, mask, s, lengths = problem([2, 3], [2, 2])
    s.requires_grad_()

    score(v, mask, s, lengths).sum().backward()

    assert v.grad is None
    assert s.grad is not None and s.grad.abs().sum() > 0


def test_among_equal_regions_the_first_learns_alone() -> None:
    v = torch.ones(1, 3, 2, dtype=torch.float64, requires_grad=True)
    s = torch.ones(1, 2, dtype=torch.float64)

    score(v, torch.ones(1, 3, dtype=torch.bool), s, torch.tensor([1])).sum().backward()

    assert v.grad is not None
    assert v.grad[0].tolist() == [[1, 1], [0, 0], [0, 0]]


@pytest.mark.parametrize("regions", [255, 256, 257, 40_000])
def test_the_winner_is_right_whatever_the_number_of_regions(regions: int) -> None:
    v = torch.zeros(2, regions, 2)
    v[0, -1, 0], v[1, regions // 2, 0] = 3, 2
    v.requires_grad_()

    found = score(v, torch.ones(2, regions, dtype=torch.bool), torch.tensor([[1.0, 0.0]]), torch.tensor([1]))
    found.sum().backward()

    assert found[:, 0].tolist() == [3, 2]
    assert v.grad is not None
    assert v.grad.nonzero().tolist() == [[0, regions - 1, 0], [1, regions // 2, 0]]


def test_no_sentence_and_no_word_give_empty_scores() -> None:
    v, mask, _, _ = problem([2, 1], [1])

    assert score(v, mask, v.new_zeros(0, 5), torch.tensor([], dtype=torch.long)).shape == (2, 0)
    assert score(v, mask, v.new_zeros(0, 5), torch.tensor([0, 0])).tolist() == [[0, 0], [0, 0]]


def test_half_precision_is_summed_in_float32() -> None:
    v, mask, s, lengths = problem([20, 7], [300, 12], h=64, dtype=torch.float32)
    v, s = v.bfloat16().requires_grad_(), s.bfloat16().requires_grad_()

    found = score(v, mask, s, lengths)
    found.sum().backward()

    exact = score(v.float(), mask, s.float(), lengths)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, rtol=2e-3, atol=0)
    assert v.grad is not None and v.grad.dtype == torch.bfloat16 and s.grad is not None


def test_the_symmetric_score_adds_what_each_region_finds_in_the_sentence() -> None:
    v, mask, s, lengths = problem([3, 1, 5, 2], [4, 0, 1, 7])

    found = SCORE.symmetric(v, mask, s, lengths)

    for image in range(len(v)):
        for sentence, words in enumerate(s.split(lengths.tolist())):
            products = v[image][mask[image]] @ words.t()
            expected = float(products.max(0).values.mean() + products.max(1).values.mean()) if len(words) else 0.0
            assert float(found[image, sentence]) == pytest.approx(expected, abs=1e-12)


def test_the_symmetric_scores_gradients_are_those_of_the_plain_expression() -> None:
    v, mask, s, lengths = problem([3, 1, 5, 2], [4, 1, 7])
    v.requires_grad_(), s.requires_grad_()
    weight = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (SCORE.symmetric(v, mask, s, lengths) * weight).sum().backward()
    found = v.grad, s.grad
    v.grad = s.grad = None

    rows = []
    for image in range(len(v)):
        products = [v[image][mask[image]] @ words.t() for words in s.split(lengths.tolist())]
        rows.append(torch.stack([each.max(0).values.mean() + each.max(1).values.mean() for each in products]))
    (torch.stack(rows) * weight).sum().backward()
    for ours, plain in zip(found, (v.grad, s.grad), strict=True):
        torch.testing.assert_close(ours, plain)
