"""Parquet and Arrow files that carry encoded pictures: a bytes column, or Hugging Face's struct<bytes, path>."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vsalign.errors import InputError, Reason
from vsalign.images.reading import Members, ReadImage, ReadOptions, failed

_ID_COLUMNS = ("image_id", "path", "__key__")
_BYTES_COLUMNS = ("image", "bytes", "image_bytes", "img", "jpg", "jpeg", "png", "webp", "content", "data")
_ROWS_AT_ONCE = 16
ARROW_FILE, ARROW_STREAM = b"ARROW1", b"\xff\xff\xff\xff"
"""First bytes of Arrow's two formats."""
STREAM_END = b"\xff\xff\xff\xff\0\0\0\0"


def read_parquet(file: io.BufferedReader, members: Members, options: ReadOptions) -> Iterator[ReadImage]:
    """Yield the pictures row by row, a row group or record batch in memory at most; one archive-level error where the
    file is damaged. An Arrow file is the stream that Hugging Face's `save_to_disk` writes, or Arrow's file format.

    The id is the id column's value below the file's own id, or `row-000000012` (position from 0) without one.
    """
    row = 0
    try:
        opened = _Parquet(file) if file.peek(4)[:4] == b"PAR1" else _Arrow(file)
        bytes_column = _bytes_column(opened.schema, options.bytes_column)
        id_column = _id_column(opened.schema, options.id_column)
        columns = [bytes_column] if id_column is None else [bytes_column, id_column]
        for batch in opened.batches(columns):
            values = batch.column(bytes_column)
            ids = batch.column(id_column) if id_column is not None else None
            for at in range(batch.num_rows):
                name = ids[at].as_py() if ids is not None else None
                if image := _read_row(values[at].as_py(), _name(name, row), members, options):
                    yield image
                row += 1
    except InputError as error:
        yield members.whole(error.reason, error.message)
    except Exception as error:  # pyarrow's errors, and whatever a damaged footer leads to
        yield members.whole(Reason.INCOMPLETE, f"the file is cut or damaged after row {row} ({error})")


class _Parquet:
    """A Parquet file, a few rows at a time."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=False)
        self.schema: pa.Schema = self._file.schema_arrow

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        yield from self._file.iter_batches(_ROWS_AT_ONCE, columns=columns, use_threads=False)


class _Arrow:
    """An Arrow stream or file, a record batch at a time."""

    def __init__(self, file: io.BufferedReader) -> None:
        whole = file.peek(len(ARROW_FILE))[: len(ARROW_FILE)] == ARROW_FILE
        self._reader = pa.ipc.open_file(file) if whole else pa.ipc.open_stream(file)
        self._whole, self._file = whole, file
        self.schema: pa.Schema = self._reader.schema

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        if self._whole:
            found = (self._reader.get_batch(number) for number in range(self._reader.num_record_batches))
        else:
            found = iter(self._reader)
        for batch in found:
            batch.validate(full=True)  # offsets of a damaged file lead out of its buffers
            yield batch.select(columns)
        if not self._whole and not self._ends():
            raise EOFError("an Arrow stream without its end")  # cut between two batches, it reads like a whole one

    def _ends(self) -> bool:
        self._file.seek(-len(STREAM_END), io.SEEK_END)
        return self._file.read() == STREAM_END


def _read_row(value: Any, name: str, members: Members, options: ReadOptions) -> ReadImage | None:
    member = members.admit(name, every_name_is_a_picture=True)
    if member is None or member.error is not None:
        return member
    data = value.get("bytes") if isinstance(value, dict) else value
    if data is None and isinstance(value, dict) and value.get("path"):
        text = f"the row names the file {value['path']!r} and holds no bytes; embed the pictures"
        return failed(member.image_id, member.uri, Reason.NOT_FOUND, text)
    if not data:
        return failed(member.image_id, member.uri, Reason.EMPTY, "the row holds no bytes")
    if len(data) > options.max_member_bytes:
        return members.too_large(member, len(data), options.max_member_bytes)
    return members.filled(member, data)


def _name(value: Any, row: int) -> str:
    """The row's name; an absolute path loses its leading slash, since Parquet files hold paths of other
    machines."""
    if value is None or value == "":
        return f"row-{row:09d}"
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape").lstrip("/")
    return str(value).lstrip("/")


def _id_column(schema: pa.Schema, wanted: str) -> str | None:
    if wanted:
        _require(schema, wanted, "id_column")
        return wanted
    return next((name for name in _ID_COLUMNS if name in schema.names), None)


def _bytes_column(schema: pa.Schema, wanted: str) -> str:
    """The column of encoded pictures; raises InputError(UNSUPPORTED) where there is none, or more than
    one."""
    if wanted:
        _require(schema, wanted, "bytes_column")
        if not _holds_bytes(schema.field(wanted).type):
            raise InputError(Reason.UNSUPPORTED, f"its column {wanted!r} is {schema.field(wanted).type}, not binary")
        return wanted
    candidates = [field.name for field in schema if _holds_bytes(field.type)]
    known = [name for name in _BYTES_COLUMNS if name in candidates]
    if known or len(candidates) == 1:
        return (known or candidates)[0]
    found = "no column" if not candidates else f"several columns ({', '.join(candidates)})"
    raise InputError(
        Reason.UNSUPPORTED,
        f"it has {found} of bytes among {', '.join(schema.names)}; name the pictures' one with bytes_column",
    )


def _require(schema: pa.Schema, name: str, option: str) -> None:
    if name not in schema.names:
        raise InputError(Reason.UNSUPPORTED, f"it has no column {name!r} ({option}), only {', '.join(schema.names)}")


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _holds_bytes(kind.field("bytes").type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))
