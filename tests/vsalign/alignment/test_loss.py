"""The objectives against plain double loops, on one worker and on two."""

from __future__ import annotations

import importlib.util
import math
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from vsalign.alignment import AlignmentLoss, contrastive, hardest_negative, max_margin, negative_pairs, score
from vsalign.alignment.loss import violating_share

WORKER = Path(__file__).with_name("loss_worker.py")
SECONDS = 100


def double_loop(scores: Tensor, images: list[int], texts: list[int], margin: float) -> float:
    """Equation 9, with l over the pairs that are another image and another text."""
    total = 0.0
    for k in range(len(images)):
        for other in range(len(images)):
            if images[k] != images[other] and texts[k] != texts[other]:
                total += max(0.0, float(scores[k, other] - scores[k, k]) + margin)
                total += max(0.0, float(scores[other, k] - scores[k, k]) + margin)
    return total


@pytest.mark.parametrize("margin", [1.0, 0.3])
@pytest.mark.parametrize(
    ("images", "texts"),
    [
        ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5]),
        ([1, 1, 2, 3, 1], [1, 2, 3, 4, 5]),  # three captions of one image
        ([1, 2, 3, 4, 5], [7, 8, 7, 9, 8]),  # two images with the same caption, twice
        ([1, 1, 2, 3, 3], [5, 6, 5, 6, 6]),
    ],
)
def test_objective_is_the_double_loop_of_the_paper(images: list[int], texts: list[int], margin: float) -> None:
    scores = torch.randn(5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    found = max_margin(scores, negative_pairs(torch.tensor(images), torch.tensor(texts)), margin)

    assert float(found) == pytest.approx(double_loop(scores, images, texts, margin))


def test_true_pairs_are_never_pushed_apart() -> None:
    scores = torch.zeros(4, 4, requires_grad=True)
    negatives = negative_pairs(torch.tensor([1, 1, 2, 3]), torch.tensor([4, 5, 6, 4]))

    max_margin(scores, negatives, 1.0).backward()

    assert scores.grad is not None
    assert scores.grad[0, 1] == scores.grad[1, 0] == 0  # another caption of the image
    assert scores.grad[0, 3] == scores.grad[3, 0] == 0  # another image with the caption
    assert scores.grad[2, 3] > 0 and scores.grad[2, 2] < 0


@pytest.mark.parametrize(("images", "texts"), [([1], [1]), ([1, 1, 1], [1, 2, 3]), ([1, 2, 3], [4, 4, 4])])
def test_a_batch_without_negatives_costs_0_and_changes_nothing(images: list[int], texts: list[int]) -> None:
    count = len(images)
    v = torch.randn(count, 2, 3, requires_grad=True)
    s = torch.randn(2 * count, 3, requires_grad=True)
    mask = torch.ones(count, 2, dtype=torch.bool)

    loss = AlignmentLoss()(v, mask, s, torch.full((count,), 2), torch.tensor(images), torch.tensor(texts))
    loss.backward()

    assert loss.item() == 0
    assert v.grad is not None and s.grad is not None
    assert (v.grad == 0).all() and (s.grad == 0).all()


def test_the_objective_is_a_sum_over_score_and_margin() -> None:
    v = torch.randn(3, 4, 5, dtype=torch.float64)
    s = torch.randn(6, 5, dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0], [1, 1, 0, 0]]).bool()
    lengths = torch.tensor([1, 2, 3])

    loss = AlignmentLoss(partial(max_margin, margin=0.7))(v, mask, s, lengths, torch.arange(3), torch.arange(3))

    assert float(loss) == pytest.approx(double_loop(score(v, mask, s, lengths), [0, 1, 2], [0, 1, 2], 0.7))


def pair_of(images: list[int], texts: list[int]) -> tuple[Tensor, Tensor]:
    scores = torch.randn(len(images), len(images), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return scores.requires_grad_(), negative_pairs(torch.tensor(images), torch.tensor(texts))


@pytest.mark.parametrize(("images", "texts"), [([1, 2, 3, 4], [1, 2, 3, 4]), ([1, 1, 2, 3], [1, 2, 3, 1])])
def test_hardest_negative_is_the_largest_hinge_of_each_side(images: list[int], texts: list[int]) -> None:
    scores, negatives = pair_of(images, texts)
    expected, plain = 0.0, scores.tolist()
    for k in range(4):
        wrong = [other for other in range(4) if negatives[k, other]]
        expected += max([0.0, *(plain[k][other] - plain[k][k] + 0.5 for other in wrong)])
        expected += max([0.0, *(plain[other][k] - plain[k][k] + 0.5 for other in wrong)])

    found = hardest_negative(scores, negatives, 0.5)
    found.backward()

    assert float(found) == pytest.approx(expected)
    assert scores.grad is not None and scores.grad.isfinite().all()


@pytest.mark.parametrize(("images", "texts"), [([1, 2, 3, 4], [1, 2, 3, 4]), ([1, 1, 2, 3], [1, 2, 3, 1])])
def test_contrastive_is_the_cross_entropy_over_true_and_wrong_pairs(images: list[int], texts: list[int]) -> None:
    scores, negatives = pair_of(images, texts)
    expected = 0.0
    for k in range(4):
        wrong = [other for other in range(4) if negatives[k, other]]
        for row in (scores[k].tolist(), scores[:, k].tolist()):
            expected -= math.log(math.exp(row[k] / 0.3) / sum(math.exp(row[other] / 0.3) for other in [k, *wrong]))

    found = contrastive(scores, negatives, 0.3)
    found.backward()

    assert float(found) == pytest.approx(expected)
    assert scores.grad is not None and scores.grad.isfinite().all()
    assert (scores.grad[~negatives & ~torch.eye(4, dtype=torch.bool)] == 0).all()


@pytest.mark.parametrize("objective", [hardest_negative, contrastive])
def test_without_negatives_nothing_is_learned(objective: Any) -> None:
    scores, negatives = pair_of([1, 1, 1], [1, 2, 3])

    found = objective(scores, negatives)
    found.backward()

    assert found.item() == 0 and (scores.grad == 0).all()


def worker_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("loss_worker", WORKER)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def part(seed: int, count: int, regions: int, words: int, images: int = 1000, texts: int = 1000) -> dict[str, Tensor]:
    """One worker's pairs, with at most so many regions and words."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(1, regions + 1, (count,), generator=generator)
    counts[0] = regions
    return {
        "features": torch.randn(count, regions, 4, generator=generator, dtype=torch.float64),
        "region_mask": torch.arange(regions) < counts[:, None],
        "words": torch.randint(3, 20, (count, words), generator=generator),
        "lengths": torch.randint(1, words + 1, (count,), generator=generator),
        "image_keys": torch.randint(images, (count,), generator=generator),
        "text_keys": torch.randint(texts, (count,), generator=generator) + 2**62,
    }


def together(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The parts of both workers as one batch."""

    def widened(name: str) -> Tensor:
        width = max(each[name].shape[1] for each in parts)
        return torch.cat(
            [
                torch.cat([each[name], each[name].new_zeros(len(each[name]), width - each[name].shape[1], *rest)], 1)
                for each in parts
                for rest in (each[name].shape[2:],)
            ]
        )

    wide = {name: widened(name) for name in ("features", "region_mask", "words")}
    return {**wide, **{name: torch.cat([each[name] for each in parts]) for name in parts[0] if name not in wide}}


CASES: dict[str, dict[str, Any]] = {
    "same sizes": {"workers": [part(1, 8, 4, 5), part(2, 8, 4, 5)]},
    "other numbers of words": {"workers": [part(3, 8, 4, 2), part(4, 8, 4, 9)]},
    "other numbers of regions": {"workers": [part(5, 8, 7, 5), part(6, 8, 2, 4)]},
    "shared images and texts": {"workers": [part(7, 8, 3, 4, images=4), part(8, 8, 3, 4, texts=3)]},
    "one pair each": {"workers": [part(9, 1, 2, 3), part(10, 1, 5, 1)]},
    "no negatives": {"workers": [part(11, 4, 2, 3, images=1), part(12, 4, 2, 3, images=1)]},
    "the best recipe's": {"workers": [part(15, 8, 4, 5), part(16, 8, 6, 9)], "best": True},
    "frozen regions": {
        "workers": [part(13, 8, 4, 5), part(14, 8, 3, 5)],
        "frozen": ["regions.W_m.weight", "regions.W_m.bias"],
    },
}


@pytest.fixture(scope="module")
def of_two_workers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """What each of two workers made of each case."""
    folder = tmp_path_factory.mktemp("loss")
    cases = [{"seed": 5, "margin": 1.0, "frozen": [], "best": False, **case} for case in CASES.values()]
    torch.save(cases, folder / "cases.pt")
    files = [folder / f"{rank}.pt" for rank in (0, 1)]
    workers = [
        subprocess.Popen([sys.executable, WORKER, str(rank), folder / "meeting", folder / "cases.pt", file])
        for rank, file in enumerate(files)
    ]
    try:
        assert [worker.wait(SECONDS) for worker in workers] == [0, 0]
    finally:
        for worker in workers:
            worker.kill()
    found = [torch.load(file, weights_only=True) for file in files]
    return {name: [each[number] for each in found] for number, name in enumerate(CASES)}


@pytest.mark.parametrize("name", CASES)
def test_two_workers_learn_what_one_with_both_batches_does(
    name: str, of_two_workers: dict[str, list[dict[str, Any]]]
) -> None:
    case = {"seed": 5, "margin": 1.0, "frozen": [], "best": False, **CASES[name]}
    module = worker_module()

    alone = module.loss_and_gradients(case, module.model_of(case), together(case["workers"]))

    assert (float(alone["loss"]) > 0) == (name != "no negatives")
    for worker in of_two_workers[name]:
        torch.testing.assert_close(worker["loss"], alone["loss"])
        for parameter, gradient in alone["gradients"].items():
            if parameter in case["frozen"]:
                assert gradient is None and worker["gradients"][parameter] is None
            else:
                torch.testing.assert_close(worker["gradients"][parameter], gradient, rtol=1e-5, atol=1e-8)


def test_violating_is_the_share_of_wrong_pairs_that_score_above_a_right_one() -> None:
    scores = torch.tensor([[1.0, 2.0, 0.0], [0.5, 1.0, 0.9], [0.0, 0.0, 3.0]])
    no_images = negative_pairs(torch.tensor([1, 1, 2]), torch.tensor([1, 2, 3]))

    assert violating_share(scores, negative_pairs(torch.arange(3), torch.arange(3))) == pytest.approx(1 / 6)
    assert violating_share(scores, no_images) == 0.0  # the two of one image are no wrong pairs
    assert violating_share(scores, torch.zeros(3, 3, dtype=torch.bool)) == 0.0
