"""The Arrow schema of every table that crosses a stage, and its version (docs/tables.md)."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from vsalign.errors import Reason

SCHEMA_VERSIONS = {"descriptions": 2}
"""Of those tables that are not at version 1 any more: raised when a column comes, goes, or changes its name, type or
meaning; readers refuse another one."""

BOX = pa.list_(pa.float32(), 4)
"""x1, y1, x2, y2 in pixels of the upright image."""

CAPTIONS = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("caption_id", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("tokens", pa.list_(pa.string()), nullable=False),
    ]
)

SEGMENTS = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("caption_id", pa.string(), nullable=False),
        pa.field(
            "segments",
            pa.list_(
                pa.struct(
                    [
                        pa.field("start", pa.int32()),
                        pa.field("end", pa.int32()),
                        pa.field("region", pa.int32()),
                        pa.field("score", pa.float32()),
                    ]
                )
            ),
            nullable=False,
        ),
    ]
)

HASHES = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("content_hash", pa.string(), nullable=False),
    ]
)

DESCRIPTIONS = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("content_hash", pa.string()),
        pa.field("caption", pa.string(), nullable=False),
        pa.field("log_prob", pa.float32(), nullable=False),
        pa.field("finished", pa.bool_(), nullable=False),
        pa.field(
            "regions",
            pa.list_(
                pa.struct(
                    [
                        pa.field("box", BOX),
                        pa.field("score", pa.float32()),
                        pa.field("caption", pa.string()),
                        pa.field("log_prob", pa.float32()),
                    ]
                )
            ),
            nullable=False,
        ),
    ]
)

ERRORS = pa.schema(
    [
        pa.field("uri", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("message", pa.string(), nullable=False),
    ]
)


def regions_schema(dim: int) -> pa.Schema:
    """The regions table for features of `dim` numbers, one float16 vector a value (little-endian, 2 * dim bytes).

    One fixed-size binary a region reads 7 x faster than nested float16 lists and holds any number of regions.
    """
    return pa.schema(
        [
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("uri", pa.string(), nullable=False),
            pa.field("width", pa.int32(), nullable=False),
            pa.field("height", pa.int32(), nullable=False),
            pa.field("boxes", pa.list_(BOX), nullable=False),
            pa.field("scores", pa.list_(pa.float32()), nullable=False),
            pa.field("features", pa.list_(pa.binary(2 * dim)), nullable=False),
        ],
        metadata={"feature_dim": str(dim), "feature_dtype": "float16", "feature_byte_order": "little"},
    )


def index_schema(dim: int, precision: str) -> pa.Schema:
    """The index table of a space of `dim` numbers, kept as int8 or float16: one row an image, a region one value."""
    return pa.schema(
        [
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("uri", pa.string(), nullable=False),
            pa.field("width", pa.int32(), nullable=False),
            pa.field("height", pa.int32(), nullable=False),
            pa.field("caption", pa.string()),
            pa.field("boxes", pa.list_(BOX), nullable=False),
            pa.field("vectors", pa.list_(pa.binary(dim * np.dtype(precision).itemsize)), nullable=False),
        ],
        metadata={"dim": str(dim), "precision": precision},
    )


def feature_arrays(column: pa.Array) -> list[np.ndarray]:
    """The (n, D) float16 features of each row of the features column, as views (no copy, not writable)."""
    values = column.values
    dim = column.type.value_type.byte_width // 2
    # Arrow may leave out the buffer of no values.
    flat = np.frombuffer(values.buffers()[1] or b"", dtype="<f2", count=(len(values) + values.offset) * dim)
    rows = flat.reshape(-1, dim)[values.offset :]
    offsets = column.offsets.to_numpy()
    return [rows[start:end] for start, end in zip(offsets[:-1], offsets[1:], strict=True)]


def schema_version(table: str) -> int:
    """The version under which a table, or a model's folder, is written and read."""
    return SCHEMA_VERSIONS.get(table, 1)


def error_row(uri: str, stage: str, reason: Reason, message: str) -> dict[str, str]:
    """A row of the errors table."""
    return {"uri": uri, "stage": stage, "reason": str(reason), "message": message}
