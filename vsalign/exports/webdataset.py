"""WebDataset tars: of each picture KEY.txt and KEY.json, a tar for each of the table's shards."""

from __future__ import annotations

import io
import tarfile
import tempfile

from vsalign.exports.rows import Row, as_json, require_own_names, rows_of, without_ending
from vsalign.images.names import unescape
from vsalign.pictures.originals import locate
from vsalign.storage import Folder, TableReader


def place_of(row: Row) -> tuple[str, str]:
    """The tar, where that is an input archive's of the same name, else "", and the key of a picture.

    A member's key is WebDataset's own: its path up to the first dot of its last name. A file's is its image_id without
    ending, further dots of its name as %2E.
    """
    image_id, original = str(row["image_id"]), locate(row, None)
    if original.archive:
        member = original.uri.removeprefix(f"{original.archive}!/")
        folder, slash, name = unescape(member).rpartition("/")
        return unescape(image_id.removesuffix(f"/{member}")), f"{folder}{slash}{name.partition('.')[0] or name}"
    folder, slash, name = without_ending(unescape(image_id)).rpartition("/")
    return "", f"{folder}{slash}{name.replace('.', '%2E')}"


def write_webdataset(table: TableReader, url: str) -> str:
    """Write the tars; a line about them. Raises ConfigurationError before the first where two would share a key."""
    require_own_names(table, lambda row: "!/".join(place_of(row)), "the key")
    folder, tars = Folder(url), 0
    for shard in range(len(table.shards)):
        with tempfile.TemporaryFile() as file:
            own = ""
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                for row in rows_of(table, shard=shard):
                    archive, key = place_of(row)
                    own = f"{without_ending(archive)}.tar" if archive else f"{shard:06d}.tar"
                    _add(tar, f"{key}.txt", str(row["caption"]).encode("utf-8", "replace"))
                    _add(tar, f"{key}.json", as_json(row))
            if own:
                folder.replace(own, file)
                tars += 1
    return f"WebDataset: {table.rows} samples in {tars} tars in {url}"


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
