"""One shard's way into a table: what a worker is told, what it writes, and the commit."""

from __future__ import annotations

import io
import json
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vsalign import tables
from vsalign.errors import IncompleteTableError, TableError
from vsalign.storage.encoding import check_fits, encoding, record_batch
from vsalign.storage.folder import Folder
from vsalign.storage.layout import PART, errors_file, part_file

ROW_GROUP_BYTES = 64 * 2**20
"""A row group is closed at this size: what a reader must hold at once (64 to 128 MB serve object stores well)."""

HELD_BYTES = 256 * 2**20
"""A shard that is larger, encoded, waits in a temporary file: that of a huge archive would fill the memory."""


@dataclass(frozen=True)
class ShardTask:
    """One shard that is still to be made."""

    shard: int
    """Its number in the plan: its file names are a function of it."""
    plan_file: str
    """The file of the plan that lists its inputs."""
    row_group: int
    """The row group of that file: a worker reads no other."""
    generation: int = 0
    """0, or one above a file that failed its check or holds passing errors."""

    @property
    def rows_file(self) -> str:
        return part_file(self.shard, self.generation)


@dataclass(frozen=True)
class ShardResult:
    """What a committed shard holds."""

    shard: int
    file: str
    rows: int
    inputs: int
    errors: dict[str, int]
    """Inputs that could not be used, by reason: inputs = rows + their sum."""
    errors_file: str = ""
    archive_errors: dict[str, int] = field(default_factory=dict)
    """Archives that ended early, by reason: no inputs, counted apart."""
    counts: dict[str, int] = field(default_factory=dict)
    """Litter and other things that are no inputs."""


@dataclass(frozen=True)
class Output:
    """A table in the making, as it travels to the workers: everything that a commit needs, by value."""

    url: str
    table: str
    """captions, regions, segments, hashes or descriptions."""
    schema: pa.Schema
    stage: str
    """The command that writes it; named in every error row."""
    configuration: dict[str, Any]
    properties: dict[str, Any] = field(default_factory=dict)
    """Facts that readers check, such as the extractor's identity."""

    def read_plan(self, task: ShardTask) -> list[dict[str, Any]]:
        """The inputs of a shard, in the order of the plan; raises TableError where the plan cannot be read."""
        try:
            with Folder(self.url).open(task.plan_file) as file:
                rows: list[dict[str, Any]] = pq.ParquetFile(file).read_row_group(task.row_group).to_pylist()
        except (OSError, pa.ArrowException) as error:
            raise plan_damaged(self.url, task.plan_file, error) from error
        return rows

    def committed(self, shards: Iterable[int]) -> Iterator[ShardResult]:
        """The newest committed generation of each of some shards; raises IncompleteTableError where one has none."""
        folder = Folder(self.url)
        present = generations(folder.names())
        for shard in shards:
            tasks = (ShardTask(shard, "", 0, generation) for generation in sorted(present.get(shard, ()), reverse=True))
            found = next((result for task in tasks if (result := check_shard(folder, task))), None)
            if found is None:
                raise IncompleteTableError(f"shard {shard} of {self.url} is not committed: run the same command again")
            yield found

    def open_shard(self, task: ShardTask) -> ShardWriter:
        """Start writing a shard: nothing is visible before its commit."""
        return ShardWriter(self, task)


class ShardWriter:
    """Collects the rows and errors of one shard, and commits them.

    The rows are encoded as they come, a row group at a time, and wait in memory or, beyond HELD_BYTES, in a temporary
    file (TMPDIR). The errors file, whose name carries this attempt's id, goes up first; the rows file, created
    exclusively, is the commit point.
    """

    def __init__(self, output: Output, task: ShardTask) -> None:
        self.output, self.task = output, task
        self.errors: list[dict[str, str]] = []
        self.archive_errors: list[dict[str, str]] = []
        self.counts: Counter[str] = Counter()
        self.rows = 0
        self._attempt = uuid.uuid4().hex[:12]
        self._spool = tempfile.SpooledTemporaryFile(max_size=HELD_BYTES)  # noqa: SIM115 (the commit closes it)
        self._pending: list[pa.RecordBatch] = []
        self._pending_bytes = 0
        self._writer = pq.ParquetWriter(self._spool, output.schema, **encoding(output.schema))

    def write(self, rows: list[dict[str, Any]] | pa.RecordBatch) -> None:
        """Add rows, in the table's schema; raises TableError, and adds none, where a value does not fit its column."""
        try:
            batch = rows if isinstance(rows, pa.RecordBatch) else record_batch(rows, self.output.schema)
            check_fits(batch, self.output.schema)
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
            raise TableError(f"a row does not fit the {self.output.table} table: {error}") from error
        if not batch.num_rows:
            return  # a row group of no rows is what some readers stumble over
        self._pending.append(batch)
        self._pending_bytes += batch.nbytes
        self.rows += batch.num_rows
        if self._pending_bytes >= ROW_GROUP_BYTES:
            self._flush()

    def add_error(self, row: dict[str, str], archive_level: bool = False) -> None:
        """Add a row of the errors table; an archive-level one is no input of its own."""
        (self.archive_errors if archive_level else self.errors).append(row)

    def commit(self, inputs: int) -> ShardResult:
        """Publish the shard; where another attempt was faster, its result stands and this one leaves no trace.

        Raises TableError unless inputs = rows + errors.
        """
        if inputs != self.rows + len(self.errors):
            raise TableError(
                f"shard {self.task.shard} of {self.output.url}: {inputs} inputs, but {self.rows} rows "
                f"and {len(self.errors)} errors; this is a fault of vsalign, nothing was committed"
            )
        folder = Folder(self.output.url)
        result = self._result(inputs)
        self._flush()
        self._writer.add_key_value_metadata(self._metadata(result))
        self._encode(self._writer.close)
        if result.errors_file:
            # Its name is this attempt's alone: a try that went wrong half-way is overwritten.
            folder.replace(result.errors_file, self._errors_parquet())
        with self._spool as spool:
            created = folder.write_new(result.file, spool)
        if created:
            return result
        committed = check_shard(folder, self.task)
        # The file may be our own, where the upload succeeded and its answer was lost: then its errors file stays.
        if result.errors_file and (committed is None or committed.errors_file != result.errors_file):
            folder.remove(result.errors_file)
        if committed is None:
            raise TableError(f"{self.output.url}/{result.file} exists but is damaged: run the same command again")
        return committed

    def _flush(self) -> None:
        if self._pending:
            # One chunk a column: Parquet encodes a thousand chunks of one row several times slower.
            table = pa.Table.from_batches(self._pending, schema=self.output.schema).combine_chunks()
            self._encode(lambda: self._writer.write_table(table, row_group_size=max(1, table.num_rows)))
        self._pending, self._pending_bytes = [], 0

    def _encode(self, step: Callable[[], None]) -> None:
        try:
            step()
        except OSError as error:
            raise TableError(
                f"shard {self.task.shard} of {self.output.url} cannot be kept in {tempfile.gettempdir()} until it is "
                f"whole ({error}): make room there, or set TMPDIR to a folder that has it, and run the same command "
                "again"
            ) from error

    def _result(self, inputs: int) -> ShardResult:
        any_errors = self.errors or self.archive_errors
        name = errors_file(self.task.shard, self.task.generation, self._attempt)
        return ShardResult(
            shard=self.task.shard,
            file=self.task.rows_file,
            rows=self.rows,
            inputs=inputs,
            errors=dict(sorted(Counter(row["reason"] for row in self.errors).items())),
            errors_file=name if any_errors else "",
            archive_errors=dict(sorted(Counter(row["reason"] for row in self.archive_errors).items())),
            counts=dict(sorted(self.counts.items())),
        )

    def _metadata(self, result: ShardResult) -> dict[str, str]:
        facts = {
            key: getattr(result, key) for key in ("rows", "inputs", "errors", "errors_file", "archive_errors", "counts")
        }
        return {
            "vsalign.table": self.output.table,
            "vsalign.schema_version": str(tables.schema_version(self.output.table)),
            "vsalign.shard": json.dumps({"shard": self.task.shard, "generation": self.task.generation, **facts}),
            "vsalign.configuration": json.dumps(self.output.configuration, sort_keys=True),
            "vsalign.properties": json.dumps(self.output.properties, sort_keys=True),
        }

    def _errors_parquet(self) -> bytes:
        sink = io.BytesIO()
        rows = self.errors + self.archive_errors
        pq.write_table(pa.Table.from_pylist(rows, schema=tables.ERRORS), sink, compression="zstd")
        return sink.getvalue()


def generations(names: Iterable[str]) -> dict[int, list[int]]:
    """The generations of each shard whose rows files have these names."""
    found: dict[int, list[int]] = {}
    for name in names:
        if match := PART.fullmatch(name):
            found.setdefault(int(match[1]), []).append(int(match[2]))
    return found


def check_shard(folder: Folder, task: ShardTask) -> ShardResult | None:
    """The result of a committed shard; None where its file is absent, does not open, or its counts do not agree.

    Only the footer is read. Raises TableError where the store does not answer.
    """
    try:
        with folder.open(task.rows_file) as file:
            parquet = pq.ParquetFile(file)
            facts = json.loads((parquet.metadata.metadata or {})[b"vsalign.shard"])
            rows = parquet.metadata.num_rows
        if (facts.pop("shard"), facts.pop("generation")) != (task.shard, task.generation) or facts["rows"] != rows:
            return None
        result = ShardResult(shard=task.shard, file=task.rows_file, **facts)
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError, AttributeError):
        return None
    return result if _errors_file_opens(folder, result) else None


def _errors_file_opens(folder: Folder, result: ShardResult) -> bool:
    expected = sum(result.errors.values()) + sum(result.archive_errors.values())
    if not result.errors_file:
        return expected == 0
    try:
        with folder.open(result.errors_file) as file:
            return bool(pq.ParquetFile(file).metadata.num_rows == expected)
    except (OSError, pa.ArrowException):
        return False


def plan_damaged(url: str, name: str, error: Exception) -> TableError:
    """What is told of a file of the plan that cannot be read."""
    return TableError(f"{url}/{name}, which lists the inputs, cannot be read ({error}): start anew with --overwrite")


def plan_parquet(shards: Iterable[list[dict[str, Any]]], schema: pa.Schema) -> bytes:
    """A file of the plan: one row group a shard."""
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        for rows in shards:
            writer.write_table(pa.Table.from_pylist(rows, schema=schema), row_group_size=max(1, len(rows)))
    return sink.getvalue()
