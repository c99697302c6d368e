"""The score beside its bare matrix products, the training step beside one that keeps them, and the MRF beside a loop.

python -m tests.benchmarks.score --coco --json FILE       (pip install maxsim-cpu: the kernel that is compared with)

All in one process, in turns: the score of 1,000 images with 5,000 sentences (20 regions, 12 words) beside the same
matrix products alone; forward and backward of a batch beside the plain expression that keeps all products; the MRF over
4,000 sentences beside two loops over sentences. Memory is what a
process of its own grew by at its largest.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tests.benchmarks.record import Measured, write_record
from vsalign.alignment import decode_labels, score
from vsalign.alignment.score import BLOCK_BYTES, BLOCK_WORDS
from vsalign.allocator import keep_freed_memory
from vsalign.evaluation.ranking import rank
from vsalign.evaluation.retrieval import SENTENCES

REGIONS, WORDS = 20, 12


def problem(images: int, sentences: int, h: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """v (N, R, h), region_mask (N, R), s (W, h), lengths (M,)."""
    torch.manual_seed(0)
    v, s = torch.randn(images, REGIONS, h), torch.randn(sentences * WORDS, h)
    return v, torch.ones(images, REGIONS, dtype=torch.bool), s, torch.full((sentences,), WORDS)


def products_alone(v: Tensor, s: Tensor) -> None:
    """The products of all regions with all words, in the score's own blocks."""
    rows = v.flatten(0, 1)
    height = max(1, BLOCK_BYTES // (BLOCK_WORDS * v.element_size()))
    for start in range(0, len(rows), height):
        for first in range(0, len(s), BLOCK_WORDS):
            rows[start : start + height] @ s[first : first + BLOCK_WORDS].t()


def keeping_products(v: Tensor, region_mask: Tensor, s: Tensor, lengths: Tensor) -> Tensor:
    """The score as one would write it: (N, R, W) in memory."""
    products = (v @ s.t()).masked_fill(~region_mask[:, :, None], -torch.inf)
    sentence = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    best = products.max(1).values
    return best.new_zeros(len(v), len(lengths)).index_add(1, sentence, best)


def step(scorer: Callable[..., Tensor], v: Tensor, region_mask: Tensor, s: Tensor, lengths: Tensor) -> None:
    """Forward and backward of the objective's hinges over a batch."""
    v, s = v.detach().requires_grad_(), s.detach().requires_grad_()
    scores = scorer(v, region_mask, s, lengths)
    truth = scores.diagonal()
    ((scores - truth[:, None] + 1).clamp(min=0) + (scores - truth[None, :] + 1).clamp(min=0)).sum().backward()


def viterbi_loop(unary: Tensor, lengths: Tensor, beta: float) -> list[list[int]]:
    """The best labels of each sentence, sentence by sentence: Viterbi over all pairs of labels, in NumPy."""
    found = []
    for rows, length in zip(unary.numpy(), lengths.tolist(), strict=True):
        transitions = beta * np.eye(rows.shape[1], dtype=rows.dtype)
        value, came_from = rows[0], []
        for row in rows[1:length]:
            reached = value[:, None] + transitions
            came_from.append(reached.argmax(0))
            value = row + reached.max(0)
        labels = [int(value.argmax())]
        for origin in reversed(came_from):
            labels.append(int(origin[labels[-1]]))
        found.append(labels[::-1])
    return found


def mrf_loop(unary: Tensor, lengths: Tensor, beta: float) -> list[list[int]]:
    """The same in plain Python, by the trick of vsalign.alignment.segment: one pass over the labels a word."""
    found = []
    for rows, length in zip(unary.tolist(), lengths.tolist(), strict=True):
        value, came_from = list(rows[0]), []
        for t in range(1, length):
            best = max(range(len(value)), key=value.__getitem__)
            origin = [label if value[label] >= value[best] - beta else best for label in range(len(value))]
            value = [rows[t][label] + max(value[label], value[best] - beta) for label in range(len(value))]
            came_from.append(origin)
        label = max(range(len(value)), key=value.__getitem__)
        labels = [label]
        for origin in reversed(came_from):
            label = origin[label]
            labels.append(label)
        found.append(labels[::-1])
    return found


def seconds(function: Callable[[], object]) -> float:
    """Of one call."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def grown(function: Callable[..., Callable[[], object]], *arguments: object) -> int:
    """Bytes that a fresh process's size grew by at most in a call of what `function(*arguments)` gives."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(_grown, function, arguments).result()


def _grown(function: Callable[..., Callable[[], object]], arguments: tuple[object, ...]) -> int:
    call = function(*arguments)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    call()
    return _status("VmHWM") - before


def scoring(h: int) -> Callable[[], object]:
    """The score of 1,000 images with 5,000 sentences, its inputs in memory."""
    case = problem(1000, 5000, h)
    return lambda: score(*case)


def stepping(scorer: Callable[..., Tensor], batch: int) -> Callable[[], object]:
    """Forward and backward of a batch, its inputs in memory; a small one went before, so that torch is there."""
    step(scorer, *problem(8, 8, 512))
    case = problem(batch, batch, 512)
    return lambda: step(scorer, *case)


def _status(name: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return 1024 * int(line.split()[1])


def of_score(rounds: int, h: int) -> dict[str, Measured]:
    """Time over the bare products, and the growth of memory by what the inputs and the output take."""
    v, mask, s, lengths = problem(1000, 5000, h)
    inputs, output = v.nbytes + s.nbytes, 4 * len(v) * len(lengths)
    memory = (inputs + grown(scoring, h)) / (2 * inputs + output)
    over = [seconds(lambda: score(v, mask, s, lengths)) / seconds(lambda: products_alone(v, s)) for _ in range(rounds)]
    shape = f"1,000 images x {REGIONS} regions, 5,000 sentences x {WORDS} words, h {h}"
    return {
        f"score.time_over_matmul_h{h}": (statistics.median(over), f"ratio (median of {rounds} rounds)", shape),
        f"score.memory_h{h}": (memory, "ratio of inputs and growth to 2 x inputs + output", shape),
    }


def of_step(rounds: int, batch: int) -> dict[str, Measured]:
    """Time and memory of forward and backward over those of the expression that keeps all products."""
    ours, keeping = stepping(score, batch), stepping(keeping_products, batch)
    ours(), keeping()
    times = [seconds(ours) / seconds(keeping) for _ in range(rounds)]
    share = grown(stepping, score, batch) / grown(stepping, keeping_products, batch)
    shape = f"{batch} pairs, {REGIONS} regions, {WORDS} words, h 512, forward and backward"
    return {
        "score.step_time": (statistics.median(times), f"ratio to keeping products (median of {rounds} rounds)", shape),
        "score.step_memory_share": (share, "ratio to keeping products", shape),
    }


def of_maxsim_cpu(rounds: int) -> dict[str, Measured]:
    """How many times faster than maxsim-cpu, a kernel of the same score; nothing where it is not installed."""
    try:
        from maxsim_cpu import maxsim_scores
    except ImportError:
        print("maxsim-cpu is not installed: left out")
        return {}
    v, mask, s, lengths = problem(1000, 200, 512)
    documents, queries = v.numpy(), s.view(200, WORDS, 512).numpy()

    def theirs() -> np.ndarray:
        return np.stack([maxsim_scores(query, documents) for query in queries], 1)

    np.testing.assert_allclose(theirs(), score(v, mask, s, lengths).numpy(), rtol=1e-3, atol=1e-2)
    times = [seconds(theirs) / seconds(lambda: score(v, mask, s, lengths)) for _ in range(rounds)]
    shape = f"1,000 images x {REGIONS} regions, 200 sentences x {WORDS} words, h 512"
    return {"score.speed_over_maxsim_cpu": (statistics.median(times), f"times (median of {rounds} rounds)", shape)}


def coco_5k() -> Callable[[], object]:
    """Scores and ranking of COCO's 5,000 test images with 25,000 sentences, a block of sentences at a time."""
    v, mask, s, lengths = problem(5000, SENTENCES, 512)

    def ranked() -> object:
        scores = np.empty((5000, 25000), np.float32)
        for start in range(0, 25000, SENTENCES):
            part = slice(start, min(start + SENTENCES, 25000))
            scores[:, part] = score(v, mask, s, lengths)[:, : part.stop - start].numpy()
        of_captions = [str(column // 5) for column in range(25000)]
        return rank(scores, [str(image) for image in range(5000)], of_captions)

    return ranked


def of_coco() -> dict[str, Measured]:
    """The memory that COCO 5K takes, the regions' v included."""
    regions = 5000 * REGIONS * 512 * 4
    gigabytes = (regions + grown(coco_5k)) / 2**30
    shape = f"5,000 images x {REGIONS} regions, 25,000 sentences x {WORDS} words, h 512, scores and ranks"
    return {"ranking.coco_5k_memory": (gigabytes, "GiB", shape)}


def of_mrf(rounds: int) -> dict[str, Measured]:
    """How many times faster than loops over sentences the batched MRF is; all must give the same labels."""
    unary, lengths, beta = torch.randn(4000, WORDS, REGIONS), torch.randint(1, WORDS + 1, (4000,)), 0.5
    exact = unary.double()  # in which rounding breaks no tie
    labels = decode_labels(exact, lengths, beta).tolist()
    batched = [row[:length] for row, length in zip(labels, lengths.tolist(), strict=True)]
    shape = f"4,000 sentences of 1 to {WORDS} words, {REGIONS} regions"
    figures: dict[str, Measured] = {}
    for name, loop, what in (
        ("segment.speedup_over_numpy", viterbi_loop, "times Viterbi in NumPy, sentence by sentence"),
        ("segment.speedup", mrf_loop, "times the same algorithm in a Python loop over sentences and words"),
    ):
        assert loop(exact, lengths, beta) == batched
        times = []
        for _ in range(rounds):
            began = time.perf_counter()
            loop(unary, lengths, beta)
            alone = time.perf_counter() - began
            ours = [seconds(lambda: decode_labels(unary, lengths, beta)) for _ in range(5)]
            times.append(alone / statistics.median(ours))
        figures[name] = (statistics.median(times), f"{what} (median of {rounds} rounds)", shape)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=512, help="pairs of the training step")
    parser.add_argument("--coco", action="store_true", help="also COCO 5K's memory, which takes some minutes")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    asked = parser.parse_args()
    keep_freed_memory()
    figures = of_score(asked.rounds, 512) | of_score(asked.rounds, 1024)
    figures |= of_step(asked.rounds, asked.batch) | of_mrf(asked.rounds) | of_maxsim_cpu(asked.rounds)
    figures |= of_coco() if asked.coco else {}
    figures["score.time_over_matmul"] = figures["score.time_over_matmul_h1024"]
    write_record(asked.json, figures)


if __name__ == "__main__":
    main()
