"""The gallery's files, written a chunk of rows at a time, index.html last."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from vsalign.pictures.cards import Thumbnail, card, haystack
from vsalign.pictures.pages import Book, asset, page_html, stylesheet
from vsalign.pictures.sentences import HumanSentences, SentenceStore
from vsalign.pictures.thumbnails import ThumbnailMaker
from vsalign.progress import Progress
from vsalign.storage import Folder

CHUNK_ROWS = 2000
"""Pictures read in one go: an archive is walked through once a chunk; a chunk's rows are 20 MB or so."""

SEARCH_FILE_ROWS = 5000
"""Pictures in one search file: some MB, read when a person searches all pages."""


class GalleryWriter:
    """Writes the gallery that `book` announces; a thumbnail's longer side is at most `thumb_px`."""

    def __init__(
        self,
        book: Book,
        folder: Folder,
        store: SentenceStore,
        *,
        images: str | None,
        thumb_px: int,
        threads: int,
    ) -> None:
        self.unreadable: Counter[str] = Counter()
        """Pictures shown as a placeholder, by reason."""
        self.resized = 0
        """Pictures of another size than the one that the boxes were made on."""
        self.with_sentences = 0
        self._book, self._folder, self._store = book, folder, store
        self._thumbnails = ThumbnailMaker(images=images, longest=thumb_px, threads=threads, write=self._put)
        self._progress = Progress(book.pictures, "pictures", label="gallery")
        self._search: list[tuple[int, str]] = []
        self._search_files = 0
        self._index = b""

    def close(self) -> None:
        self._thumbnails.close()
        self._progress.close()

    def write(self, rows: Iterator[dict[str, Any]]) -> None:
        """Write everything; `rows` are as many rows of the descriptions table as the book has pictures."""
        self._put("gallery.css", stylesheet().encode())
        self._put("gallery.js", asset("gallery.js").encode())
        size = self._book.page_size
        pages = itertools.count(1)
        chunk = list(itertools.islice(rows, max(size, CHUNK_ROWS // size * size)))
        position = 0
        while chunk or not position:
            thumbnails = self._make_thumbnails(position, chunk)
            for start in range(0, max(1, len(chunk)), size):
                self._write_page(next(pages), position + start, chunk[start : start + size], thumbnails)
            position += max(1, len(chunk))
            chunk = list(itertools.islice(rows, max(size, CHUNK_ROWS // size * size)))
        self._write_search()
        self._folder.replace("index.html", self._index)

    def _make_thumbnails(self, position: int, rows: Sequence[dict[str, Any]]) -> dict[str, Thumbnail]:
        made: dict[str, Thumbnail] = {}
        for href, thumbnail in self._thumbnails.make((_href(position + i), row) for i, row in enumerate(rows)):
            made[href] = thumbnail
            if thumbnail.reason:
                self.unreadable[thumbnail.reason] += 1
            self._progress.add(errors=int(bool(thumbnail.reason)))
        return made

    def _write_page(
        self, page: int, position: int, rows: Sequence[dict[str, Any]], thumbnails: dict[str, Thumbnail]
    ) -> None:
        base, cards = self._book.base(page), []
        for number, row in enumerate(rows, start=position):
            human = self._store.of(row["image_id"])
            thumbnail = thumbnails[_href(number)]
            cards.append(card(number + 1, row, thumbnail, human, base))
            self._count(row, thumbnail, human)
            self._search.append((page, haystack(row, human)))
            if len(self._search) == SEARCH_FILE_ROWS:
                self._write_search()
        text = page_html(self._book, page, cards).encode()
        if page == 1:
            self._index = text  # written last: it is what makes the rest visible
        else:
            self._put(f"page-{page:04d}.html", text)

    def _count(self, row: dict[str, Any], thumbnail: Thumbnail, human: HumanSentences) -> None:
        size = (thumbnail.width, thumbnail.height)
        self.resized += not thumbnail.reason and size != (row["width"], row["height"])
        self.with_sentences += bool(human.sentences)

    def _write_search(self) -> None:
        if not self._search:
            return
        self._search_files += 1
        # ensure_ascii keeps U+2028 and the like out, and "<" cannot open a tag wherever the file is pasted.
        entries = json.dumps(self._search, separators=(",", ":")).replace("<", "\\u003c")
        self._put(f"search-{self._search_files:04d}.js", f"vsalignSearch({entries});\n".encode())
        self._search.clear()

    def _put(self, name: str, data: bytes) -> None:
        self._folder.replace(f"{self._book.folder}/{name}", data)


def _href(number: int) -> str:
    """A thumbnail's file, by the picture's place in the gallery: nothing of an image's name is in it."""
    return f"thumbs/{number // 1000:04d}/{number:07d}.jpg"
