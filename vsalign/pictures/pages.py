"""A page of the gallery: the head with the table's figures, the way to other pages, and the cards."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from string import Template

from vsalign.pictures.cards import NO_CAPTION
from vsalign.pictures.facts import Facts
from vsalign.pictures.palette import colour_classes

PAGER_REACH = 2
"""Pages named on either side of the current one, beside the first and the last."""


@dataclass(frozen=True)
class Book:
    """What all pages of one gallery have in common."""

    title: str
    folder: str
    """The folder, beside index.html, with everything but index.html."""
    pictures: int
    """Pictures in the gallery: at most those of the table."""
    page_size: int
    search_files: int
    facts: Facts

    @property
    def pages(self) -> int:
        return max(1, -(-self.pictures // self.page_size))

    def file(self, page: int) -> str:
        """Where a page (from 1) is written, from the output folder."""
        return "index.html" if page == 1 else f"{self.folder}/page-{page:04d}.html"

    def base(self, page: int) -> str:
        """The way from a page to the folder with everything but index.html."""
        return f"{self.folder}/" if page == 1 else ""

    def href(self, page: int, other: int) -> str:
        """The way from one page to another."""
        if other == 1:
            return "index.html" if page == 1 else "../index.html"
        return f"{self.base(page)}page-{other:04d}.html"


def page_html(book: Book, page: int, cards: Sequence[str]) -> str:
    """A page (from 1) with the cards' HTML."""
    title = html.escape(book.title)
    pager = _pager(book, page)
    return _template().substitute(
        title=title if page == 1 else f"{title}, page {page}",
        base=book.base(page),
        page=page,
        pages=book.pages,
        index=book.href(page, 1),
        search_files=book.search_files,
        relations=_relations(book, page),
        summary=_summary(book) if page == 1 else "",
        single="" if book.pages > 1 else " hidden",
        pager=pager,
        cards="\n".join(cards) if cards else '<p class="empty">The table has no pictures.</p>',
    )


def stylesheet() -> str:
    """The style sheet, with the palette's colours."""
    return asset("gallery.css") + colour_classes()


def asset(name: str) -> str:
    """A text file that is part of the package."""
    return resources.files("vsalign.pictures").joinpath("assets", name).read_text(encoding="utf-8")


@cache
def _template() -> Template:
    return Template(asset("page.html"))


def _relations(book: Book, page: int) -> str:
    links = [("prev", page - 1), ("next", page + 1)]
    return "".join(
        f'<link rel="{name}" href="{book.href(page, other)}">' for name, other in links if 1 <= other <= book.pages
    )


def _pager(book: Book, page: int) -> str:
    if book.pages == 1:
        return ""
    near = {1, book.pages, *range(page - PAGER_REACH, page + PAGER_REACH + 1)}
    parts, before = [_step(book, page, page - 1, "prev", "← Previous")], 0
    for other in sorted(number for number in near if 1 <= number <= book.pages):
        if other > before + 1:
            parts.append('<span class="gap">…</span>')
        current = ' aria-current="page"' if other == page else ""
        parts.append(f'<a href="{book.href(page, other)}"{current}>{other}</a>')
        before = other
    parts.append(_step(book, page, page + 1, "next", "Next →"))
    return f'<nav class="pager" aria-label="Pages">{"".join(parts)}</nav>'


def _step(book: Book, page: int, other: int, name: str, label: str) -> str:
    if not 1 <= other <= book.pages:
        return f'<span class="step off">{label}</span>'
    return f'<a class="step" rel="{name}" href="{book.href(page, other)}">{label}</a>'


def _summary(book: Book) -> str:
    facts = book.facts
    shown = "" if book.pictures == facts.pictures else f"the first {book.pictures:,} are shown here"
    tiles = [_tile(f"{facts.pictures:,}", _plural(facts.pictures, "picture"), shown)]
    if facts.pictures:
        tiles.append(_tile(f"{facts.distinct:,}", _plural(facts.distinct, "distinct caption"), ""))
        said = html.escape(facts.most_frequent)
        quoted = f'<q dir="auto">{said}</q>' if said else NO_CAPTION
        per_cent = 100 * facts.most_frequent_share
        share = f"{per_cent:.1f} %" if per_cent >= 0.1 else "< 0.1 %"
        tiles.append(_tile(share, "share the most frequent caption", quoted))
    if facts.unfinished:
        label = _plural(facts.unfinished, "caption") + " cut at the length limit"
        tiles.append(_tile(f"{facts.unfinished:,}", label, ""))
    if facts.errors:
        ordered = sorted(facts.errors.items(), key=lambda item: (-item[1], item[0]))
        reasons = ", ".join(f"<code>{html.escape(reason)}</code> {count:,}" for reason, count in ordered)
        total = sum(facts.errors.values())
        tiles.append(_tile(f"{total:,}", _plural(total, "input") + " could not be used", reasons))
    return f'<dl class="facts-of-table">{"".join(tiles)}</dl>'


def _tile(figure: str, label: str, note: str) -> str:
    """A figure with its label; the note is HTML."""
    more = f"<span>{note}</span>" if note else ""
    return f"<div><dt>{label}</dt><dd><strong>{html.escape(figure)}</strong>{more}</dd></div>"


def _plural(count: int, noun: str) -> str:
    return noun if count == 1 else f"{noun}s"
