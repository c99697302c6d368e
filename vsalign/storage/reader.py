"""Reading a table: only a complete one, of this schema version, by its manifest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vsalign import tables
from vsalign.errors import (
    IncompleteTableError,
    MissingInputError,
    SchemaVersionError,
    TableError,
    WrongExtractorError,
)
from vsalign.storage.claim import read_json
from vsalign.storage.folder import Folder
from vsalign.storage.layout import MANIFEST, RUN


class TableReader:
    """A complete table at `url`.

    Raises MissingInputError where there is nothing, IncompleteTableError where there is no manifest yet, and
    SchemaVersionError where the table is another one or of another version.
    """

    def __init__(self, url: str, table: str) -> None:
        self.folder = Folder(url)
        self.url, self.table = self.folder.url, table
        self.manifest = self._manifest()
        self.properties: dict[str, Any] = self.manifest["properties"]
        self.rows: int = self.manifest["rows"]
        self.shards: list[dict[str, Any]] = self.manifest["parts"]
        """file, rows, inputs, errors, errors_file of each shard, in the plan's order."""

    @property
    def schema(self) -> pa.Schema:
        """The table's Arrow schema, without the file's own metadata."""
        if self.table == "regions":
            return tables.regions_schema(self._feature_dim())
        if self.table == "index":
            space = self.properties["space"]
            return tables.index_schema(space["dim"], space["precision"])
        schema: pa.Schema = getattr(tables, self.table.upper())
        return schema

    def _feature_dim(self) -> int:
        try:
            return int(self.properties["extractor"]["dim"])
        except (KeyError, TypeError, ValueError):
            raise TableError(f"{self.url} does not say whose features it holds: extract the regions again") from None

    def facts(self) -> dict[str, Any]:
        """What a command records of a table that it read: a table made anew from something else differs in it."""
        made_of = [
            [(part["file"], part["rows"]) for part in self.shards],
            self.manifest.get("configuration"),
            self.properties,
        ]
        digest = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()
        return {"url": self.url, "rows": self.rows, "made_of_sha256": digest}

    def require_extractor(self, identity: dict[str, Any], needed_by: str) -> None:
        """Refuse features of another extractor than `needed_by` was trained on; raises WrongExtractorError."""
        own = self.properties.get("extractor", {})
        different = [
            f"{key}: {own.get(key)!r} here, {identity.get(key)!r} there"
            for key in sorted({*own, *identity})
            if own.get(key) != identity.get(key)
        ]
        if different:
            raise WrongExtractorError(
                f"the features of {self.url} are another extractor's than those {needed_by} was trained on "
                f"({'; '.join(different)}): extract the regions again with that extractor"
            )

    def batches(
        self, columns: Sequence[str] | None = None, shards: Sequence[int] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Record batches, a row group at a time, in the plan's order; of some columns, of some shards (by position).

        Raises TableError for a column that the table does not have, IncompleteTableError for a file that is damaged.
        """
        for shard in range(len(self.shards)) if shards is None else shards:
            for _, batch in self.row_groups(shard, columns):
                yield batch

    def row_groups(
        self, shard: int, columns: Sequence[str] | None = None, wanted: Container[int] | None = None
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """(number, rows) of each row group of a shard, or of those `wanted`; raises as `batches` does."""
        self._columns(columns)
        part = self.shards[shard]
        try:
            with self.folder.open(part["file"]) as file:
                parquet = pq.ParquetFile(file, page_checksum_verification=True)
                if parquet.metadata.num_rows != part["rows"]:
                    raise pa.ArrowInvalid(f"{parquet.metadata.num_rows} rows, the manifest says {part['rows']}")
                for group in range(parquet.num_row_groups):
                    if wanted is None or group in wanted:
                        table = parquet.read_row_group(group, columns=None if columns is None else list(columns))
                        table = table if columns is None else table.select(list(columns))  # in the order asked for
                        for batch in table.combine_chunks().to_batches():
                            yield group, batch
        except (OSError, pa.ArrowException) as error:
            raise self._damaged(part["file"], error) from error

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The whole table, or some columns of it."""
        schema = self._columns(columns)
        return pa.Table.from_batches((batch.cast(schema) for batch in self.batches(columns)), schema=schema)

    def _columns(self, names: Sequence[str] | None) -> pa.Schema:
        schema = self.schema.remove_metadata()
        if unknown := [name for name in names or () if name not in schema.names]:
            raise TableError(f"{self.url} has no column {unknown[0]!r}: its columns are {', '.join(schema.names)}")
        return schema if names is None else pa.schema([schema.field(name) for name in names])

    def errors(self) -> pa.Table:
        """The errors table beside it; raises IncompleteTableError for a file that is missing or damaged."""
        found = []
        for part in self.shards:
            if part["errors_file"]:
                try:
                    with self.folder.open(part["errors_file"]) as file:
                        found.append(pq.read_table(file, schema=tables.ERRORS))
                except (OSError, pa.ArrowException) as error:
                    raise self._damaged(part["errors_file"], error) from error
        return pa.concat_tables(found) if found else tables.ERRORS.empty_table()

    def _damaged(self, name: str, error: Exception) -> IncompleteTableError:
        if isinstance(error, FileNotFoundError):
            return IncompleteTableError(f"{self.url}/{name} is gone: run the command that made the table again")
        return IncompleteTableError(
            f"{self.url}/{name} cannot be read ({error}): delete that file and run the command that made the table "
            "again, it makes what is missing"
        )

    def _manifest(self) -> dict[str, Any]:
        manifest = self._manifest_json()
        if manifest.get("table") != self.table:
            raise SchemaVersionError(
                f"{self.url} holds a {manifest.get('table')} table where a {self.table} table is needed"
            )
        if manifest.get("schema_version") != tables.schema_version(self.table):
            raise SchemaVersionError(
                f"{self.url} was written under schema version {manifest.get('schema_version')}, this vsalign reads "
                f"{tables.schema_version(self.table)}: make the table again"
            )
        return manifest

    def _manifest_json(self) -> dict[str, Any]:
        try:
            if self.folder.exists(MANIFEST):
                return read_json(self.folder, MANIFEST, "table", "schema_version", "properties", "rows", "parts")
            unfinished = self.folder.exists(RUN)
        except NotADirectoryError:
            unfinished = False
        if unfinished:
            raise IncompleteTableError(
                f"the {self.table} table {self.url} is not finished (it has no {MANIFEST}): "
                "run the command that makes it again"
            )
        raise MissingInputError(f"there is no {self.table} table at {self.url}: check the name")
