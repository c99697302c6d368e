"""What the forms share: rows of the table, and names of which no two pictures have the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from vsalign.errors import ConfigurationError
from vsalign.images.names import SeenNames
from vsalign.storage import TableReader

Row = dict[str, Any]


def rows_of(table: TableReader, columns: Sequence[str] | None = None, shard: int | None = None) -> Iterator[Row]:
    """The rows of a table or of one of its shards."""
    for batch in table.batches(columns, None if shard is None else [shard]):
        yield from batch.to_pylist()


def as_json(row: Row) -> bytes:
    """A row as one JSON document."""
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "replace")


def require_own_names(table: TableReader, name_of: Callable[[Row], str], what: str) -> None:
    """Raise ConfigurationError, with both named, where two pictures of a table have one name."""
    seen = SeenNames()
    columns = ["image_id", "uri"]
    for position, row in enumerate(rows_of(table, columns)):
        name = name_of(row)
        if (known := seen.add(name, "", position)) is not None:
            first = next(row for at, row in enumerate(rows_of(table, columns)) if at == known[1])
            raise ConfigurationError(
                f"{first['image_id']} and {row['image_id']} would share {what} {name}: which is meant is not guessed; "
                "--coco, or the table itself, holds both"
            )


def without_ending(path: str) -> str:
    """A path without the ending of its last name, where that has one."""
    folder, slash, name = path.rpartition("/")
    stem, dot, _ = name.rpartition(".")
    return f"{folder}{slash}{stem}" if dot and stem else path
