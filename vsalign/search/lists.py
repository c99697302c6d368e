"""Inverted lists (FAISS) of an index's regions, for an archive too large to be gone through for every question.

Regions lie in lists around centroids (k-means), a number a half byte for two numbers of its vector (product
quantisation). A word is looked for in the lists nearest to it, and the images of the regions most like it are scored
exactly, from the index itself: the scores and their order are exact, and what can be missed is an image none of whose
regions is, as the lists know them, among those that are most like any word. docs/results.md has how many are
(search.engine_overlap10).

The lists say which shards of the index they hold: what the index got since is gone through until they take it in.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import math
import re
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from vsalign.errors import MissingInputError, StoreError, TableError
from vsalign.progress import Progress
from vsalign.search.blocks import Block, blocks
from vsalign.search.space import Space
from vsalign.storage import Folder, TableReader
from vsalign.storage.claim import read_json

FACTS = "lists.json"
FILE = re.compile(r"\.?lists-[0-9a-f]{12}\.faiss(\.[0-9a-f]{32}\.tmp)?")
"""Of lists, or the beginning of one that a killed run left behind."""
LEAST_IMAGES = 200_000
"""An index of fewer is gone through in the time that the lists take, or less."""
LISTS = 8
"""Times the root of the number of images."""
TRAINED_FROM = 32
"""Regions a list, of the whole index, that its centroids are found from."""
GROWTH = 4
"""Lists that would hold so many times the images that they were trained on are trained anew."""
PROBES = 32
"""Lists that a word is looked for in."""
NEAREST, NEAREST_A_RESULT = 6000, 20
"""Regions of a word whose images are scored: so many, or so many for each image asked for."""
ROUNDS = 8
"""Of k-means."""
IMAGES_AT_ONCE = 2**12


@dataclass(frozen=True)
class Lists:
    """The lists of the first `images` of an index."""

    inverted: Any
    """A faiss.IndexIVF, whose regions have their image's number as their id."""
    steps: Tensor
    """(d,), of the index's space."""
    images: int
    shards: int
    """Of the index, in which these images are."""
    trained_on: int
    """Images that the index had when its lists were chosen."""

    def candidates(self, words: Sequence[Tensor], k: int) -> list[np.ndarray]:
        """For each question's words (T, d), by a space's `words`, the numbers of images, ascending, among which the
        best k are looked for."""
        asked = (torch.cat([*words]) / self.steps).numpy()
        _, numbers = self.inverted.search(asked, max(NEAREST, NEAREST_A_RESULT * k))
        ends = np.cumsum([len(each) for each in words])[:-1]
        return [np.unique(each[(each >= 0) & (each < self.images)]) for each in np.split(numbers, ends)]


def read_lists(index: TableReader, space: Space) -> Lists | None:
    """Those of an index; None where it has none, or only another's. Raises TableError for damaged ones."""
    try:
        return _read(index, space)
    except FileNotFoundError:  # of lists that others have taken the place of meanwhile
        pass
    try:
        return _read(index, space)
    except FileNotFoundError as error:
        raise _damaged(index) from error


def write_lists(url: str) -> int:
    """Make the lists of the index at `url`, or take in what it got since; returns how many images they hold.

    A killed one leaves the lists that were there. Raises MissingInputError where FAISS is not installed, TableError
    where the lists cannot be written.
    """
    index = TableReader(url, "index")
    space = Space.read(index.folder, **index.properties["space"])
    if index.rows < LEAST_IMAGES:
        return 0
    held, before = None, _sweep(index.folder)
    try:
        held = read_lists(index, space)
    except StoreError:
        raise
    except TableError as error:
        print(f"warning: {error}: they are made again", file=sys.stderr)
    if held is None or index.rows > GROWTH * held.trained_on:
        held = Lists(_trained(index, space), space.steps, 0, 0, index.rows)
    if held.images == index.rows:
        return held.images
    with Progress(index.rows - held.images, "images", label="into lists") as progress:
        for block in blocks(index, frozenset(), held.shards):
            for vectors, numbers in _regions(block, space):
                held.inverted.add_with_ids(vectors, numbers)
                progress.add(len(np.unique(numbers)))
    _write(index, space, held)
    if before:
        index.folder.remove(before)
    return index.rows


def remove_lists(folder: Folder) -> None:
    """Before an index is made anew."""
    folder.remove(FACTS)
    _sweep(folder)


def _sweep(folder: Folder) -> str:
    """Delete what killed runs left behind; returns the name of the file of the lists that are there."""
    own = ""
    with contextlib.suppress(TableError, FileNotFoundError):
        own = read_json(folder, FACTS, "file")["file"]
    for name in folder.names():
        if FILE.fullmatch(name) and name != own:
            folder.remove(name)
    return own


def _damaged(index: TableReader) -> TableError:
    return TableError(
        f"the inverted lists of {index.url} are damaged: make them again (vsalign index --lists), or serve with --exact"
    )


def _read(index: TableReader, space: Space) -> Lists | None:
    """Raises FileNotFoundError where the lists' file is absent."""
    folder = index.folder
    if not folder.exists(FACTS):
        return None
    try:
        facts = read_json(folder, FACTS, "file", "sha256", "shards", "space", "trained_on")
    except StoreError:
        raise
    except TableError as error:
        raise _damaged(index) from error
    shards = _shards(index)[: len(facts["shards"])]
    if facts["space"] != space.sha256 or facts["shards"] != shards:
        return None
    faiss = faiss_library()
    with folder.open(facts["file"]) as file:
        hashed = _Hashed(file)
        try:
            inverted = faiss.read_index(faiss.PyCallbackIOReader(hashed.read))
        except RuntimeError as error:
            raise _damaged(index) from error
    if hashed.sha256.hexdigest() != facts["sha256"]:
        raise _damaged(index)
    inverted.nprobe = PROBES
    return Lists(inverted, space.steps, sum(rows for _, rows in shards), len(shards), facts["trained_on"])


class _Hashed:
    """A file, and the hash of what went through."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.sha256 = file, hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.sha256.update(data)
        return data

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        return self._file.write(data)


def _write(index: TableReader, space: Space, held: Lists) -> None:
    own = f"lists-{uuid.uuid4().hex[:12]}.faiss"
    faiss = faiss_library()
    place = index.folder.root if index.folder.local else tempfile.gettempdir()
    with tempfile.TemporaryFile(dir=place) as file:
        hashed = _Hashed(file)
        try:
            faiss.write_index(held.inverted, faiss.PyCallbackIOWriter(hashed.write))
            file.flush()
        except OSError as error:
            raise TableError(f"the inverted lists cannot be written to {place} ({error}): make room there") from error
        index.folder.write_new(own, file)
    facts = {
        **{"file": own, "sha256": hashed.sha256.hexdigest(), "shards": _shards(index)},
        **{"space": space.sha256, "trained_on": held.trained_on},
    }
    index.folder.replace(FACTS, json.dumps(facts).encode())
    if not index.folder.exists(own):  # another run, which began meanwhile, took it for a killed one's
        _write(index, space, held)


def _trained(index: TableReader, space: Space) -> Any:
    """Empty lists around the centroids of some regions of all blocks."""
    faiss = faiss_library()
    lists = max(1, round(LISTS * math.sqrt(index.rows)))
    sample = []
    for block in blocks(index, frozenset()):
        chance = np.random.default_rng(block.first)
        images = chance.integers(len(block), size=-(-TRAINED_FROM * lists * len(block) // index.rows))
        ranks = chance.integers(block.regions.own().numpy()[images])
        rows = block.regions.rows(torch.from_numpy(images))[torch.arange(len(images)), torch.from_numpy(ranks)]
        sample.append(space.unpacked(rows).numpy())
    dim = space.dim
    centroids = faiss.IndexFlatIP(dim)
    parts = dim // 2 if dim % 2 == 0 else dim
    inverted = faiss.IndexIVFPQFastScan(centroids, dim, lists, parts, 4, faiss.METRIC_INNER_PRODUCT)
    for clustering in (inverted.cp, inverted.pq.cp):
        clustering.min_points_per_centroid = 1  # who has few images asked for lists all the same
    inverted.cp.niter = ROUNDS
    inverted.train(np.concatenate(sample))
    return inverted


def _regions(block: Block, space: Space) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The vectors (m, d) float32 of a block's regions, and the numbers (m,) of their images, some images at a time."""
    for some in torch.arange(len(block)).split(IMAGES_AT_ONCE):
        counts = block.regions.own()[some]
        own = torch.arange(block.regions.ranks) < counts[:, None]
        vectors = space.unpacked(block.regions.rows(some)[own])
        yield vectors.numpy(), np.repeat(block.first + some.numpy(), counts.numpy())


def _shards(index: TableReader) -> list[list[Any]]:
    return [[part["file"], part["rows"]] for part in index.shards]


def faiss_library() -> Any:
    """FAISS; raises MissingInputError where it is not installed."""
    if importlib.util.find_spec("faiss") is None:
        raise MissingInputError("inverted lists need FAISS: pip install 'vsalign[search]', or serve with --exact")
    import faiss

    return faiss
