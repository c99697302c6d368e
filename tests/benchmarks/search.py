"""What an index costs in recall, and how fast it is searched.

python -m tests.benchmarks.search recall --regions DIR --captions DIR [--split dev] --json FILE
python -m tests.benchmarks.search speed --index DIR --captions DIR --json FILE
python -m tests.benchmarks.search lists --index DIR --captions DIR --json FILE

recall: R@1, 5 and 10 of the split's sentences by `vsalign evaluate ranking`'s own matrix, and by indexes of the same
regions: all numbers as float16, and the default.
speed: an index of many images (tests.benchmarks.synthetic_index), resident. p50 and p99 of the split's sentences, one
after the other, from text to hits with their places. Then the best 20 of some blocks, in turns with maxsim-cpu (maxsim
alone: it has no other score), with NumPy, and with the two limits of the machine: its rate of float32 matrix products
(4096 x 4096) for these products, and its rate of reading memory for these bytes.
lists: the same index through inverted lists, which are made first where it has none. The share of the ten best by the
whole index that they find (an image whose score is the tenth's, within 1e-3, is one of them), and the times of both, in
turns, for as many images as the page asks for at first; of sentences one after the other, and of as many together as
the server takes at most.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from tests.benchmarks.record import Measured, write_record
from vsalign.evaluation.ranking import rank_folds
from vsalign.evaluation.retrieval import score_matrix
from vsalign.search import Question, SearchIndex
from vsalign.search.blocks import Block
from vsalign.search.building import IndexOptions, build_index, searching_model
from vsalign.search.lists import write_lists
from vsalign.search.queries import Query
from vsalign.search.server.line import DEPTHS
from vsalign.search.server.line import TOGETHER as MOST_AT_ONCE
from vsalign.storage import TableReader
from vsalign.training.texts import captions_of

KS = (1, 5, 10)
TOGETHER, BEST = 64, 10
"""Questions that are answered at once when recall is measured; the best that both ways should find."""
ROUNDS, BLOCKS, SQUARE, READ = 7, 12, 4096, 2**28
PAUSE = 0.05
"""s, before each of several ways that take turns: the threads of the one before have gone to sleep."""


def recall(regions: str, captions: str, split: str, model: str) -> dict[str, Measured]:
    """The loss of R@K, points, and what an image takes."""
    table, loaded = TableReader(regions, "regions"), searching_model(model)
    said = captions_of(TableReader(captions, "captions"), split)
    matrix, ids, used = score_matrix(loaded.model, table, said, loaded.reader())
    exact = rank_folds(matrix, ids, [caption.image_id for caption in used], 1).search.recall
    figures: dict[str, Measured] = {}
    for name, dim, precision in (("whole", 0, "float16"), ("index", 128, "int8")):
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            build_index(IndexOptions(regions=regions, model=model, output=folder, dim=dim, precision=precision))
            seconds = time.perf_counter() - began
            index = SearchIndex(folder)
            ranks = []
            for start in range(0, len(used), TOGETHER):
                some = used[start : start + TOGETHER]
                questions = [Question(index.asker.sentence(caption.text)) for caption in some]
                for caption, found in zip(some, index.find(questions, max(KS)), strict=True):
                    names = [str(each.row["image_id"]) for each in found]
                    ranks.append(1 + names.index(caption.image_id) if caption.image_id in names else np.inf)
            size = sum(path.stat().st_size for path in Path(folder).glob("part-*.parquet")) / len(index)
        on = f"Flickr8k {split} ({len(used):,} sentences, {len(index):,} images)"
        for k in KS:
            here = 100 * float(np.mean([rank <= k for rank in ranks]))
            print(f"{name} R@{k}: {here:.2f}, by the model {exact[k]:.2f}", flush=True)
            figures[f"search.{name}_r{k}_loss"] = (exact[k] - here, "points", on)
        figures[f"search.{name}_bytes_an_image"] = (size, "bytes", on)
        figures[f"search.{name}_build_images_per_s"] = (len(index) / seconds, "images/s", on)
    return figures


def speed(url: str, captions: str, split: str, sentences: int) -> dict[str, Measured]:
    """Of one machine, an index in memory."""
    texts = _texts(captions, split, sentences)
    began = time.perf_counter()
    index = SearchIndex(url, lists=False)
    opened = time.perf_counter() - began
    times = []
    for text in texts:
        began = time.perf_counter()
        index.search(index.asker.sentence(text), 20)
        times.append(1000 * (time.perf_counter() - began))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    images, shown = _named(index)
    figures: dict[str, Measured] = {
        f"search.p50_{shown}_ms": (statistics.median(times), "ms", f"{images}, {len(texts)} sentences"),
        f"search.p99_{shown}_ms": (float(np.percentile(times, 99)), "ms", f"{images}, {len(texts)} sentences"),
        f"search.open_{shown}_s": (opened, "s", images),
        f"search.memory_{shown}_gb": (peak, "GB, the process's peak", images),
    }
    query = min(map(index.asker.sentence, texts), key=lambda each: abs(len(each.tokens) - 10))
    return {**figures, **_beside(list(index.blocks())[:BLOCKS], index, query, images)}


def lists(url: str, captions: str, split: str, sentences: int) -> dict[str, Measured]:
    """Of one machine, an index in memory with its inverted lists."""
    figures: dict[str, Measured] = {}
    index = SearchIndex(url)
    images, shown = _named(index)
    if index.lists is None:
        began = time.perf_counter()
        write_lists(url)
        figures[f"search.engine_build_{shown}_s"] = (time.perf_counter() - began, "s", images)
        index = SearchIndex(url)
    found, times, together = [], {False: [], True: []}, {False: [], True: []}
    questions = [Question(index.asker.sentence(text)) for text in _texts(captions, split, sentences)]
    for question in questions:
        scores = {}
        for exact, taken in times.items():
            began = time.perf_counter()
            (best,) = index.find([question], DEPTHS[0], exact=exact)
            taken.append(1000 * (time.perf_counter() - began))
            scores[exact] = np.array([each.score for each in best[:BEST]])
        found.append(np.mean(scores[False] >= scores[True][-1] - 1e-3))
    for depth in DEPTHS[:1] * ROUNDS + DEPTHS[-1:]:
        for exact in together:
            began = time.perf_counter()
            index.find(questions[:MOST_AT_ONCE], depth, exact=exact)
            together[exact].append(1000 * (time.perf_counter() - began))
    print("together, ms:", together, f"the last to a depth of {DEPTHS[-1]}")
    on = f"{images}, {len(found)} sentences"
    size = sum(path.stat().st_size for path in Path(url).glob("*.faiss")) / len(index)
    for name, taken in (("engine", times[False]), ("beside_engine", times[True])):
        figures[f"search.{name}_p50_{shown}_ms"] = (statistics.median(taken), "ms", on)
        figures[f"search.{name}_p99_{shown}_ms"] = (float(np.percentile(taken, 99)), "ms", on)
    for name, exact in (("engine", False), ("beside_engine", True)):
        taken = statistics.median(together[exact][:ROUNDS])
        figures[f"search.{name}_together_{shown}_ms"] = (taken, f"ms for {MOST_AT_ONCE} sentences together", images)
    print(
        {name: round(value, 2) for name, (value, *_) in figures.items()}, "found", np.mean(found), "least", min(found)
    )
    return {
        **figures,
        "search.engine_overlap10": (float(np.mean(found)), "share of the ten best by the whole index", on),
        "search.engine_bytes_an_image": (size, "bytes", images),
    }


def _texts(captions: str, split: str, sentences: int) -> list[str]:
    """Sentences that are spread over a split."""
    said = captions_of(TableReader(captions, "captions"), split)
    return [caption.text for caption in said[:: max(1, len(said) // sentences)]][:sentences]


def _named(index: SearchIndex) -> tuple[str, str]:
    """How many images, in words and for a key."""
    return f"{len(index):,} synthetic images", f"{len(index):.0e}".replace("+0", "")


def _beside(blocks: list[Block], index: SearchIndex, query: Query, images: str) -> dict[str, Measured]:
    """The best 20 of some blocks, exactly, in turns with other ways to score them."""
    words = query.asked.words
    regions = torch.cat([block.regions.rows(torch.arange(len(block))) for block in blocks])
    ways = _others(regions.float().numpy(), words.numpy())
    index.blocks = lambda: blocks  # type: ignore[method-assign]
    maxsim = replace(query, asked=query.asked._replace(symmetric=False))
    ways["ours"] = lambda: index.find([Question(query)], 20)
    ways["ours, maxsim"] = lambda: index.find([Question(maxsim)], 20)
    ways["ours, 16 sentences"] = lambda: index.find([Question(query)] * 16, 20)
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            time.sleep(PAUSE)
            began = time.perf_counter()
            way()
            taken[name].append(time.perf_counter() - began)
    best = {name: min(each[1:]) for name, each in taken.items()}
    matrix = best["matrix"] / SQUARE**3 * regions.numel() * len(words)
    memory = best["memory"] / READ * regions.nbytes
    print({name: round(1000 * seconds, 1) for name, seconds in best.items()})
    print(f"limits, ms: float32 products {1000 * matrix:.1f}, reading {1000 * memory:.1f}")
    on = f"{len(regions):,} of {images}, {len(words)} words"
    binds = "the rate of float32 matrix products" if matrix > memory else "reading memory"
    return {
        "search.exact_over_limit": (max(matrix, memory) / best["ours"], f"ratio; what binds: {binds}", on),
        "search.exact_over_memory": (memory / best["ours"], "ratio; the limit: reading the int8 numbers", on),
        "search.exact_over_maxsim_cpu": (best["maxsim-cpu"] / best["ours, maxsim"], "times as fast", on),
        "search.exact_over_numpy": (best["numpy"] / best["ours"], "times as fast", on),
        "search.together_over_alone": (16 * best["ours"] / best["ours, 16 sentences"], "times as fast", on),
    }


def _others(regions: np.ndarray, words: np.ndarray) -> dict[str, Callable[[], object]]:
    """Other ways to score regions (n, R, d) float32 with words (T, d), and what this machine can do at most."""

    def by_numpy() -> None:
        for start in range(0, len(regions), 1000):
            products = regions[start : start + 1000] @ words.T
            products.max(1).mean(1) + products.max(2).mean(1)

    def by_maxsim_cpu() -> None:
        import maxsim_cpu

        maxsim_cpu.maxsim_scores(words, regions)

    square = torch.randn(SQUARE, SQUARE)
    read = torch.empty(READ, dtype=torch.uint8).random_().view(torch.float32)
    return {
        "maxsim-cpu": by_maxsim_cpu, "numpy": by_numpy, "matrix": lambda: square @ square, "memory": read.sum
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("recall", "speed", "lists"))
    parser.add_argument("--regions", default="", help="regions table of the split's images")
    parser.add_argument("--captions", required=True, help="captions table")
    parser.add_argument("--split", default="dev")
    parser.add_argument("--model", default="", help="alignment model; left out: the packaged one")
    parser.add_argument("--index", default="", help="an index of many images")
    parser.add_argument("--sentences", type=int, default=200)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    asked = parser.parse_args()
    if asked.part == "recall":
        write_record(asked.json, recall(asked.regions, asked.captions, asked.split, asked.model))
    else:
        part = {"speed": speed, "lists": lists}[asked.part]
        write_record(asked.json, part(asked.index, asked.captions, asked.split, asked.sentences))


if __name__ == "__main__":
    main()
