"""A small file for each picture, beside it or in a folder of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from vsalign.errors import ConfigurationError
from vsalign.exports.rows import Row, as_json, require_own_names, rows_of, without_ending
from vsalign.images.names import safe_path, unescape
from vsalign.pictures.originals import locate
from vsalign.storage import Folder, TableReader
from vsalign.storage.folder import split_url

BESIDE = "beside"
THREADS = 16
"""Files under way at once: stores answer each after some tens of milliseconds."""
AHEAD = 16 * THREADS


class Place:
    """Where the sidecars of a table go."""

    def __init__(self, place: str, form: str) -> None:
        self.place, self.form = place, form
        self._folders: dict[str, Folder] = {}

    def url(self, row: Row) -> str:
        """The sidecar's file of a row (image_id, uri); raises ConfigurationError where there is no place for one."""
        if self.place != BESIDE:
            inside = safe_path(str(row["image_id"]))
            if inside is None:
                raise ConfigurationError(f"the id {row['image_id']!r} leads out of {self.place}")
            return f"{self.place.rstrip('/')}/{without_ending(unescape(inside))}.{self.form}"
        if locate(row, None).archive:
            raise ConfigurationError(
                f"{row['image_id']} lies in an archive, beside which no sidecar belongs to it: name a folder "
                "(--sidecars FOLDER)"
            )
        return f"{without_ending(unescape(str(row['uri'])))}.{self.form}"

    def file(self, url: str) -> tuple[Folder, str]:
        """The folder and the name of a sidecar."""
        if self.place == BESIDE:
            folder, name = split_url(url)
        else:
            folder, name = self.place, url.removeprefix(self.place.rstrip("/") + "/")
        if folder not in self._folders:
            if len(self._folders) > AHEAD:
                self._folders.clear()
            self._folders[folder] = Folder(folder)
        return self._folders[folder], name


def write_sidecars(table: TableReader, place: str, form: str) -> str:
    """Write them, and delete those of pictures that failed; a line about them.

    Raises ConfigurationError before the first where two pictures would share one, or one has no place.
    """
    to = Place(place, form)
    require_own_names(table, to.url, "the sidecar")
    roots = sorted({root for row in rows_of(table, ["image_id", "uri"]) if (root := _root(row)) is not None})
    with ThreadPoolExecutor(THREADS) as pool:
        written = sum(_ahead(pool.submit(_write, *to.file(to.url(row)), _content(row, form)) for row in rows_of(table)))
        gone = _failed_urls(table, to, roots)
        deleted = sum(_ahead(pool.submit(_delete, *to.file(url)) for url in gone))
    old = f", {deleted} of pictures that failed deleted" if deleted else ""
    return f"sidecars: {written} .{form} files {'beside the pictures' if place == BESIDE else f'in {place}'}{old}"


def _ahead(futures: Iterable[Future[bool]]) -> Iterator[bool]:
    """Their results in order, AHEAD under way."""
    waiting: list[Future[bool]] = []
    for future in futures:
        waiting.append(future)
        if len(waiting) == AHEAD:
            yield from (each.result() for each in waiting)
            waiting = []
    yield from (each.result() for each in waiting)


def _content(row: Row, form: str) -> bytes:
    return as_json(row) if form == "json" else f"{row['caption']}\n".encode("utf-8", "replace")


def _write(folder: Folder, name: str, content: bytes) -> bool:
    folder.replace(name, content)
    return True


def _delete(folder: Folder, name: str) -> bool:
    if not folder.exists(name):
        return False
    folder.remove(name)
    return True


def _root(row: dict[str, Any]) -> str | None:
    """What a row's uri has before its image_id."""
    uri = str(row["uri"]).replace("!/", "/", 1) if locate(row, None).archive else str(row["uri"])
    return uri.removesuffix(str(row["image_id"])) if uri.endswith(str(row["image_id"])) else None


def _failed_urls(table: TableReader, to: Place, roots: list[str]) -> Iterator[str]:
    """Where sidecars of pictures that failed would be."""
    for uri in table.errors()["uri"].to_pylist():
        if to.place == BESIDE:
            if "!/" not in uri:
                yield to.url({"uri": uri, "image_id": uri})
            continue
        for root in roots:
            if uri.startswith(root):
                with suppress(ConfigurationError):
                    yield to.url({"uri": uri, "image_id": uri.removeprefix(root).replace("!/", "/", 1)})
