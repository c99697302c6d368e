"""An index opened for questions."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc
import torch
from torch import Tensor

from vsalign.alignment.placing import Placing
from vsalign.checkpoint import LoadedModel, load_model
from vsalign.errors import ConfigurationError, ModelError
from vsalign.regions.extract import torchs_own_threads
from vsalign.search.blocks import Block, blocks, gathered
from vsalign.search.exact import is_quick, quick_scores, scores
from vsalign.search.hits import Found, Hit, hits
from vsalign.search.lists import Lists, read_lists
from vsalign.search.queries import Asker, Query
from vsalign.search.removed import removed
from vsalign.search.space import Space
from vsalign.search.wanted import Wanted
from vsalign.storage import TableReader

CANDIDATES_A_RESULT, CANDIDATES_SHARE = 5, 0.1
"""Where fewer candidates are left for each image asked for, by filters or else, or more than this share of all images
are candidates, the whole index is gone through."""
CANDIDATES_AT_ONCE = 2**11
"""Of one question, by a core, at most."""


class Question(NamedTuple):
    """What is looked for, and where."""

    query: Query
    wanted: Wanted = Wanted()


class SearchIndex:
    """An index at `url`; questions may come from any thread.

    model: folder of the alignment model, where it is not where it was when the index was made. language: folder of the
    sentence encoder of a model that needs one. resident: whether the index stays in memory, or is read through for each
    question. lists: whether a resident one uses its inverted lists, if it has any. Raises VsalignError where index or
    model cannot be used.
    """

    def __init__(
        self, url: str, *, model: str = "", language: str = "", resident: bool = True, lists: bool = True
    ) -> None:
        self.table = TableReader(url, "index")
        self.model = _recorded_model(self.table, model)
        self.asker = Asker(self.model, Space.read(self.table.folder, **self.table.properties["space"]), language)
        self.placing = Placing().settled(normalised=self.model.model.config.normalise)
        self.removed = removed(self.table.folder)
        self.lists = read_lists(self.table, self.asker.space) if resident and lists else None
        self._threads = torchs_own_threads()
        self._blocks = list(blocks(self.table, self.removed)) if resident else None

    def __len__(self) -> int:
        """Images, those that were removed among them."""
        return self.table.rows

    @cached_property
    def kept(self) -> int:
        """Images that were not removed."""
        return sum(len(block) if block.kept is None else pc.sum(block.kept).as_py() for block in self.blocks())

    def picture(self, number: int) -> dict[str, Any]:
        """The row (columns SHOWN) of an image by its number; raises LookupError where there is none, or it is out."""
        for block in self.blocks():
            place = number - block.first
            if 0 <= place < len(block) and (block.kept is None or block.kept[place].as_py()):
                row: dict[str, Any] = block.rows.slice(place, 1).to_pylist()[0]
                return row
        raise LookupError(f"the index has no picture {number}")

    def blocks(self) -> Iterable[Block]:
        """All of it."""
        return self._blocks if self._blocks is not None else blocks(self.table, self.removed)

    def search(self, query: Query, k: int, wanted: Wanted | None = None) -> list[Hit]:
        """The k images that fit best, the best first; equal ones in the index's order."""
        (found,) = self.find([Question(query, wanted or Wanted())], k)
        return hits(query, found, self.placing)

    @torch.inference_mode()
    def find(self, questions: Sequence[Question], k: int, *, exact: bool = False) -> list[list[Found]]:
        """The best k of each of some questions, which together take less time than one after the other.

        exact: whether all images are scored also where the index has inverted lists, which name those that may be the
        best. Raises ConfigurationError where k is below 1.
        """
        if k < 1:
            raise ConfigurationError(f"k is {k}: give at least 1")
        if self.lists is None or exact or self._blocks is None:
            return self._through(self.blocks(), questions, k)
        return self._by_lists(self.lists, self._blocks, questions, k)

    def _by_lists(
        self, lists: Lists, held: Sequence[Block], questions: Sequence[Question], k: int
    ) -> list[list[Found]]:
        """The best of the candidates and of what the lists do not hold; of everything, where candidates are too few for
        the best to be among them, or so many that everything takes no longer."""
        candidates = lists.candidates([question.query.asked.words for question in questions], k)
        best: list[list[Found]] = [[] for _ in questions]
        cores, under_way = _cores(self._threads), []
        for number, numbers in enumerate(candidates):
            if 0 < len(numbers) <= CANDIDATES_SHARE * lists.images:
                for some in np.array_split(numbers, -(-len(numbers) // CANDIDATES_AT_ONCE)):
                    part = cores.submit(_of_candidates, held, some, questions[number], best, number, k)
                    under_way.append((number, part))
        counts = [0] * len(questions)
        for number, part in under_way:
            count, found = part.result()
            counts[number] += count
            best[number] = _best([*best[number], *found], k)
        sure = [number for number, count in enumerate(counts) if count >= CANDIDATES_A_RESULT * k]
        unsure = [number for number in range(len(questions)) if number not in sure]
        rest = [block for block in held if block.first >= lists.images]
        for number, found in zip(sure, self._through(rest, [questions[each] for each in sure], k), strict=True):
            best[number] = _best([*best[number], *found], k)
        for number, found in zip(unsure, self._through(held, [questions[each] for each in unsure], k), strict=True):
            best[number] = found
        return best

    def _through(self, among: Iterable[Block], questions: Sequence[Question], k: int) -> list[list[Found]]:
        """The best of all images of some blocks."""
        best: list[list[Found]] = [[] for _ in questions]
        if not questions:
            return best
        cores, under_way = _cores(self._threads), deque[Future[list[list[Found]]]]()
        for block in among:
            under_way.append(cores.submit(_found, block, questions, best, k))
            if len(under_way) > self._threads:
                _merge(best, under_way.popleft().result(), k)
        while under_way:
            _merge(best, under_way.popleft().result(), k)
        return best


@lru_cache(maxsize=1)
def _cores(threads: int) -> ThreadPoolExecutor:
    """A thread a core, in which torch does not look for others: one that waits for work would take another's core."""
    return ThreadPoolExecutor(threads, "search", torch.set_num_threads, (1,))


def _merge(best: list[list[Found]], more: Sequence[Sequence[Found]], k: int) -> None:
    """Keep the best k of each question; equal ones in the index's order."""
    for number, found in enumerate(more):
        best[number] = _best([*best[number], *found], k)


def _best(found: Iterable[Found], k: int) -> list[Found]:
    return heapq.nsmallest(k, found, key=lambda each: (-each.score, each.number))


@torch.inference_mode()
def _found(block: Block, questions: Sequence[Question], best: Sequence[Sequence[Found]], k: int) -> list[list[Found]]:
    """The best k images of a block for each question, without those that are none of the best k that are known."""
    asked = [question.query.asked for question in questions]
    quick = is_quick(block.regions)
    if quick:
        of_block, errors = quick_scores(block.regions, asked, block.longest)
    else:
        of_block, errors = scores(block.regions, asked), torch.zeros(len(asked))
    masks = {question.wanted: question.wanted.rows(block) for question in questions}
    found = []
    for number, question in enumerate(questions):
        own = of_block[:, number]
        if (mask := masks[question.wanted]) is not None:
            own = own.masked_fill(~torch.from_numpy(mask), -torch.inf)
        least = best[number][-1].score if len(best[number]) == k else -torch.inf
        places = _promising(own, float(errors[number]), least, k)
        values = scores(block.regions.some(places), [asked[number]])[:, 0] if quick and len(places) else own[places]
        found.append(_rows(block, places, values, least, k))
    return found


def _of_candidates(
    held: Sequence[Block], numbers: np.ndarray, question: Question, best: Sequence[Sequence[Found]], own: int, k: int
) -> tuple[int, list[Found]]:
    """Of some images, by number, how many are wanted, and the best k, as `_found`; best[own]: those that are known."""
    block = gathered(held, numbers)
    mask = question.wanted.rows(block)
    (found,) = _found(block, [question], [best[own]], k)
    return len(block) if mask is None else int(np.count_nonzero(mask)), found


def _promising(own: Tensor, error: float, least: float, k: int) -> Tensor:
    """Which images of a block, whose scores (n,) may be off by `error`, may be among its best k and above `least`."""
    of_block = float(own.topk(min(k, len(own))).values[-1])
    return ((own >= max(of_block - 2 * error, least - error)) & (own > -torch.inf)).nonzero()[:, 0]


def _rows(block: Block, places: Tensor, values: Tensor, least: float, k: int) -> list[Found]:
    """The best k of some images of a block, whose scores are `values`, that are not below `least`."""
    order = sorted(zip((-values).tolist(), places.tolist(), strict=True))[:k]
    order = [(loss, place) for loss, place in order if -loss >= least]
    chosen = np.array([place for _, place in order], np.int64)
    rows, regions = block.rows.take(chosen), block.regions.rows(torch.from_numpy(chosen))
    return [Found(-loss, block.number(place), rows, row, regions[row]) for row, (loss, place) in enumerate(order)]


def _recorded_model(table: TableReader, elsewhere: str) -> LoadedModel:
    """The model that an index was made with."""
    recorded = table.manifest["configuration"]["model"]
    model = load_model(elsewhere or recorded["url"], "alignment")
    if model.weights_sha256 != recorded["weights_sha256"]:
        raise ModelError(f"{table.url} was made with another model than {model.url}: name its folder with --model")
    return model
