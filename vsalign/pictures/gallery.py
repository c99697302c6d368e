"""A static gallery of a descriptions table: pages that open from a file, with nothing from outside."""

from __future__ import annotations

import itertools
import os
import re
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from vsalign.errors import ConfigurationError, VsalignError
from vsalign.options import parse
from vsalign.pictures.facts import Facts, count_captions
from vsalign.pictures.pages import Book
from vsalign.pictures.sentences import SentenceStore, rows_of
from vsalign.pictures.writer import SEARCH_FILE_ROWS, GalleryWriter
from vsalign.progress import Summary
from vsalign.storage import Folder, TableReader

GENERATION = re.compile(r"gallery-[0-9a-f]{12}")
OURS = b'<meta name="generator" content="vsalign gallery">'


@dataclass(frozen=True)
class GalleryOptions:
    """What `vsalign gallery` is asked for."""

    descriptions: str
    """URL of the descriptions table."""
    output: str
    """Folder or URL of the gallery; a gallery that is there is replaced when the new one is complete."""
    images: str | None = None
    """Where the input root is now, if no longer where the table's uri column says."""
    captions: str | None = None
    """URL of a captions table: what people wrote is shown beside what the model says."""
    segments: str | None = None
    """URL of a segments table of those captions: phrases are coloured by region; needs --regions too."""
    regions: str | None = None
    """URL of the regions table that the segments were made from: it has the phrases' boxes."""
    page_size: int = 100
    """Pictures a page: a hundred with eight boxes each stay fluid on a phone."""
    thumb_px: int = 480
    """Longer side of a thumbnail in px: sharp at the size shown; smaller pictures stay as they are."""
    limit: int | None = None
    """Show only the first so many pictures; the figures at the head are of the whole table all the same."""
    title: str = ""
    """The page's title; the last two parts of the table's URL if empty."""
    threads: int = field(default_factory=lambda: min(8, os.cpu_count() or 1))
    """Threads that decode pictures; each holds up to three at a time."""

    def __post_init__(self) -> None:
        bounds = {"page_size": (1, 2000), "thumb_px": (16, 4096), "threads": (1, 256)}
        for name, (low, high) in bounds.items():
            if not low <= getattr(self, name) <= high:
                option = name.replace("_", "-")
                raise ConfigurationError(f"--{option} is {getattr(self, name)}; give a number from {low} to {high}.")
        if self.limit is not None and self.limit < 1:
            raise ConfigurationError(f"--limit is {self.limit}; give 1 or more, or leave it out for all pictures.")
        if self.segments and not (self.captions and self.regions):
            raise ConfigurationError(
                "--segments colours the phrases of captions by the boxes of a regions table; "
                "give --captions and --regions too."
            )


@dataclass(frozen=True)
class GallerySummary:
    """What was written."""

    index: str
    """The page to open."""
    pictures: int
    pages: int
    unreadable: dict[str, int]
    """Pictures shown as a placeholder, by reason."""
    resized: int
    """Pictures whose size is no longer the one that the boxes were made on (marked on their cards)."""
    with_sentences: int
    """Pictures with a caption in the captions table."""
    facts: Facts
    seconds: float


def write_gallery(descriptions_url: str, output_folder: str, **settings: Any) -> GallerySummary:
    """Write the gallery of a descriptions table; `settings` are further fields of GalleryOptions.

    Everything but index.html goes into a new folder beside it. index.html, written last, switches to it, and
    the folders of older galleries are then deleted: until that moment the old gallery is whole.
    Raises ConfigurationError for options that cannot be meant, TableError for a table that cannot be read,
    VsalignError where the gallery cannot be written.
    """
    options = GalleryOptions(descriptions_url, output_folder, **settings)
    reader = TableReader(options.descriptions, "descriptions")
    facts = count_captions(reader.batches(["caption", "finished"]), reader.manifest["errors"])
    store = SentenceStore()
    try:
        if options.captions:
            columns = ["image_id", "caption_id", "text", "tokens"]
            store.add_captions(TableReader(options.captions, "captions").batches(columns))
        if options.segments and options.regions:
            store.add_segments(TableReader(options.segments, "segments").batches())
            columns = ["image_id", "width", "height", "boxes"]
            store.add_boxes(TableReader(options.regions, "regions").batches(columns))
        return write_pages(reader.batches(), facts, options, store)
    finally:
        store.close()


def write_pages(
    batches: Iterable[pa.RecordBatch], facts: Facts, options: GalleryOptions, store: SentenceStore
) -> GallerySummary:
    """Write the gallery of record batches of the descriptions schema, whose figures are `facts`."""
    started = time.monotonic()
    folder = Folder(options.output)
    if folder.exists("index.html") and OURS not in folder.read("index.html")[:4096]:
        raise ConfigurationError(
            f"{options.output} holds an index.html that is no gallery of vsalign; give another --output."
        )
    pictures = min(facts.pictures, options.limit or facts.pictures)
    book = Book(
        title=options.title or "/".join(options.descriptions.rstrip("/").split("/")[-2:]),
        folder=f"gallery-{secrets.token_hex(6)}",
        pictures=pictures,
        page_size=options.page_size,
        search_files=-(-pictures // SEARCH_FILE_ROWS),
        facts=facts,
    )
    writer = GalleryWriter(
        book,
        folder,
        store,
        images=options.images,
        thumb_px=options.thumb_px,
        threads=options.threads,
    )
    try:
        writer.write(itertools.islice(rows_of(batches), pictures))
        _sweep(folder, book.folder)
    except OSError as error:
        raise VsalignError(
            f"the gallery cannot be written to {options.output} ({error}); "
            "free some space there, or give another --output."
        ) from error
    finally:
        writer.close()
    index = folder.path("index.html") if folder.local else f"{folder.url}/index.html"
    return GallerySummary(
        index=index,
        pictures=pictures,
        pages=book.pages,
        unreadable=dict(sorted(writer.unreadable.items())),
        resized=writer.resized,
        with_sentences=writer.with_sentences,
        facts=facts,
        seconds=time.monotonic() - started,
    )


def main(argv: Sequence[str]) -> int:
    """The command `vsalign gallery`."""
    options = parse(
        GalleryOptions,
        argv,
        prog="vsalign gallery",
        description="Make a static web page of a descriptions table, to open from a file.",
    )
    settings = {name: value for name, value in vars(options).items() if name not in ("descriptions", "output")}
    done = write_gallery(options.descriptions, options.output, **settings)
    notes: dict[str, str | int | float] = {"pages": done.pages, "distinct captions": done.facts.distinct}
    if options.captions:
        notes["with human captions"] = done.with_sentences
    if done.resized:
        notes["of another size now"] = done.resized
    Summary(
        title="gallery finished",
        rows=done.pictures - sum(done.unreadable.values()),
        output=done.index,
        seconds=done.seconds,
        unit="pictures",
        inputs=done.pictures,
        errors=done.unreadable,
        notes=notes,
    ).print()
    return 0


def _sweep(folder: Folder, current: str) -> None:
    """Delete the folders of older galleries, and of runs that were killed."""
    tops = {name.split("/", 1)[0] for name in folder.names()}
    for top in sorted(tops):
        if GENERATION.fullmatch(top) and top != current:
            folder.fs.rm(folder.path(top), recursive=True)
