"""Candidates from LanceDB, for an archive that is too large to be gone through for every question.

Beside an index, in `lance/`, stands a Lance table of the same images, whose regions' vectors are found through
partitions (IVF), a byte a number. It answers with the images whose regions are nearest to the words, by
cosine; these are scored exactly, so what is found is ordered by the score that the whole index would be ordered by.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vsalign.errors import MissingInputError
from vsalign.search.blocks import SHOWN, Block, by_rank
from vsalign.search.exact import scores
from vsalign.search.hits import Found
from vsalign.search.queries import Query
from vsalign.search.space import Space
from vsalign.search.wanted import Wanted
from vsalign.storage import TableReader

FOLDER, NAME = "lance", "images"
CANDIDATES, PROBES = 500, 32
"""Images that are scored exactly, and partitions that each word is looked for in. Measured: docs/results.md."""
VECTORS_A_PARTITION = 4096
ROWS_AT_ONCE = 2**13


class LanceEngine:
    """The engine's table beside an index; raises MissingInputError where there is none, or the extra is absent."""

    def __init__(self, index: TableReader, space: Space) -> None:
        self.space = space
        database = _database(index)
        if NAME not in database.table_names():
            raise MissingInputError(f"{index.url} has no {FOLDER}/: make it with vsalign index --engine lance")
        self._table = database.open_table(NAME)

    def find(self, query: Query, wanted: Wanted, removed: frozenset[str], k: int) -> list[Found]:
        """The best k by the exact score, of at least CANDIDATES that the engine names."""
        words = query.asked.words / self.space.steps
        asked = self._table.search(words.numpy(), vector_column_name="vectors").distance_type("cosine").nprobes(PROBES)
        asked = asked.limit(max(CANDIDATES, 2 * k) + len(removed))
        if condition := _condition(wanted):
            asked = asked.where(condition, prefilter=True)
        rows = asked.select(["number", *SHOWN, "vectors", "_distance"]).to_arrow().combine_chunks()
        rows = rows.filter(pc.invert(pc.is_in(rows["image_id"], value_set=pa.array(sorted(removed), pa.string()))))
        if not rows.num_rows:
            return []
        column = pa.concat_arrays(rows["vectors"].chunks)
        vectors = column.flatten().flatten().to_numpy().reshape(-1, self.space.dim)
        regions, counts = by_rank(vectors, np.array(column.value_lengths()))
        found = scores(regions, counts, [query.asked._replace(words=words)])[:, 0]
        best = sorted(zip((-found).tolist(), rows["number"].to_pylist(), range(len(found)), strict=True))[:k]
        shown = rows.select([*SHOWN]).take([place for *_, place in best]).to_pylist()
        return [
            Found(-loss, number, row, self.space.packed(regions[:, place].float()))
            for (loss, number, place), row in zip(best, shown, strict=True)
        ]


def build_engine(index: TableReader, space: Space, blocks: Iterable[Block]) -> int:
    """Make the engine's table beside an index, or what it lacks of it; returns the images that were added.

    Rows are added in the index's order, a commit a batch: a build that was killed goes on behind the last.
    """
    database = _database(index)
    schema = _schema(space.dim)
    table = database.create_table(NAME, schema=schema, exist_ok=True)
    before = held = table.count_rows()
    regions = 0
    for block in blocks:
        regions += len(block) * len(block.regions)
        for start in range(max(0, held - block.first), len(block), ROWS_AT_ONCE):
            some = slice(start, min(start + ROWS_AT_ONCE, len(block)))
            table.add(_rows(block, some, space, schema))
            held += some.stop - some.start
    if held > before or not table.list_indices():
        _settle(table, regions)
    return held - before


def _settle(table: Any, regions: int) -> None:
    """Put all rows of the engine's table into its partitions."""
    from lancedb.index import IvfSq

    if table.list_indices():
        table.optimize()
        return
    partitions = max(1, regions // VECTORS_A_PARTITION)
    table.create_index("vectors", config=IvfSq(distance_type="cosine", num_partitions=partitions))


def _rows(block: Block, some: slice, space: Space, schema: pa.Schema) -> pa.Table:
    shown = block.rows.slice(some.start, some.stop - some.start)
    ranks = len(block.regions)
    counts = np.full(len(shown), ranks) if block.counts is None else block.counts[some].numpy()
    inside = np.arange(ranks) < counts[:, None]
    vectors = space.unpacked(block.regions[:, some].transpose(0, 1)).numpy()[inside].astype(np.float16)
    ends = pa.array(np.cumsum([0, *counts]), pa.int32())
    flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), space.dim)
    numbers = pa.array(np.arange(block.first + some.start, block.first + some.stop))
    columns = [numbers, *shown.columns, pa.ListArray.from_arrays(ends, flat)]
    return pa.Table.from_arrays(columns, schema=schema)


def _schema(dim: int) -> pa.Schema:
    from vsalign import tables

    shown = [field.with_nullable(True) for field in tables.index_schema(dim, "int8") if field.name in SHOWN]
    vectors = pa.field("vectors", pa.list_(pa.list_(pa.float16(), dim)))
    return pa.schema([pa.field("number", pa.int64()), *shown, vectors])


def _database(index: TableReader) -> Any:
    if importlib.util.find_spec("lancedb") is None:
        raise MissingInputError("LanceDB is not installed: pip install 'vsalign[lance]'")
    import lancedb

    return lancedb.connect(f"{index.folder.url}/{FOLDER}")


def _condition(wanted: Wanted) -> str:
    """As the engine's SQL; its regular expressions take time that grows with the text alone."""
    parts = [f"regexp_like({name}, '{_quoted(pattern)}', 'i')" for name, pattern in wanted.patterns()]
    parts += [f"{name} >= {least}" for name, least in wanted.least()]
    return " AND ".join(parts)


def _quoted(text: str) -> str:
    return text.replace("'", "''")
