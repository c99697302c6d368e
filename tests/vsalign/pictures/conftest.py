"""Tables to make galleries of, and a gallery as a browser's parser reads it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from vsalign import tables
from vsalign.errors import Reason
from vsalign.storage import Output, Stage

VOID = frozenset(("meta", "link", "input", "img", "br"))


@dataclass
class Element:
    """One element of a page."""

    tag: str
    attributes: dict[str, str]
    children: list[Element | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    def find(self, tag: str = "", css: str = "") -> list[Element]:
        """The elements below, in order, of a tag and a class (where given)."""
        found = []
        for child in self.children:
            if isinstance(child, Element):
                if tag in ("", child.tag) and (not css or css in child.attributes.get("class", "").split()):
                    found.append(child)
                found += child.find(tag, css)
        return found


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def parse_page(path: Path) -> Element:
    """A page as a tree; fails where elements do not nest."""
    parser = _Parser()
    parser.feed(path.read_text(encoding="utf-8"))
    parser.close()
    assert parser.open == [parser.root]
    return parser.root


def read_pages(index: Path) -> list[tuple[Path, Element]]:
    """The pages of a gallery, by the links to the next one."""
    pages: list[tuple[Path, Element]] = []
    path: Path | None = index
    while path is not None:
        page = parse_page(path)
        pages.append((path, page))
        following = [link for link in page.find("link") if link.attributes["rel"] == "next"]
        path = (path.parent / following[0].attributes["href"]).resolve() if following else None
    return pages


def style_of(element: Element) -> dict[str, float]:
    """The percentages in a style attribute."""
    return {name: float(value) for name, value in re.findall(r"([\w-]+):([-\d.]+)%", element.attributes["style"])}


def region(box: Sequence[float], caption: str = "a dog") -> dict[str, Any]:
    return {"box": list(box), "score": 0.5, "caption": caption, "log_prob": -1.0}


def description(path: Path | str, **changes: Any) -> dict[str, Any]:
    """A row of the descriptions table."""
    row = {
        "image_id": Path(path).name,
        "uri": str(path),
        "width": 40,
        "height": 30,
        "content_hash": None,
        "caption": "a dog runs",
    }
    return {**row, "log_prob": -2.5, "finished": True, "regions": [], **changes}


def save_picture(path: Path, width: int = 40, height: int = 30, **options: Any) -> Path:
    """A JPEG file of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    Image.fromarray(noise).save(path, "JPEG", **options)
    return path


def write_table(
    url: Path | str, table: str, rows: list[dict[str, Any]], errors: Sequence[Reason] = (), dim: int = 4
) -> str:
    """A complete table of one shard."""
    schema = tables.regions_schema(dim) if table == "regions" else getattr(tables, table.upper())
    properties = {"extractor": {"dim": dim}} if table == "regions" else {}
    output = Output(str(url), table, schema, "test", {}, properties)
    stage = Stage(output)
    inputs = len(rows) + len(errors)
    stage.plan([[{"input": "all"}]], pa.schema([("input", pa.string())]), {})
    for task in stage.pending():
        shard = output.open_shard(task)
        shard.write(rows)
        for number, reason in enumerate(errors):
            shard.add_error(tables.error_row(f"bad{number}", "test", reason, "bad"))
        shard.commit(inputs)
    stage.finish()
    return str(url)


@pytest.fixture
def shop() -> SimpleNamespace:
    """What the gallery's tests are made with (with importlib, test modules cannot import one another)."""
    functions = (description, parse_page, read_pages, region, save_picture, style_of, write_table)
    return SimpleNamespace(**{function.__name__: function for function in functions})
