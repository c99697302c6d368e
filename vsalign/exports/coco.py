"""COCO results JSON, written a row at a time: it may be larger than memory."""

from __future__ import annotations

import json
import tempfile

from vsalign.exports.rows import rows_of
from vsalign.storage import Folder, TableReader
from vsalign.storage.folder import split_url


def write_coco(table: TableReader, url: str) -> str:
    """Write [{"image_id", "caption"}, …] to a file; a line about it."""
    folder, name = split_url(url)
    with tempfile.TemporaryFile() as file:
        start = b"[\n"
        for row in rows_of(table, ["image_id", "caption"]):
            file.write(start + json.dumps(row).encode())
            start = b",\n"
        file.write(b"[]\n" if start == b"[\n" else b"\n]\n")
        Folder(folder).replace(name, file)
    return f"COCO results: {table.rows} captions in {url}"
