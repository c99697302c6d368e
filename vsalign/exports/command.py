"""`vsalign export`, and what jobs.caption_images exports when its table is complete."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from vsalign.errors import ConfigurationError
from vsalign.exports.coco import write_coco
from vsalign.exports.sidecars import write_sidecars
from vsalign.exports.webdataset import write_webdataset
from vsalign.options import parse
from vsalign.storage import TableReader


@dataclass(frozen=True, kw_only=True)
class Exports:
    """The forms that a descriptions table is written in beside itself."""

    coco: str = ""
    """File of COCO results JSON: image_id and caption of each picture."""
    sidecars: str = ""
    """A file for each picture: `beside` it, or in a folder or URL in which they lie as the pictures do below theirs.
    Named as the picture, with another ending. One of an earlier run is deleted where its picture failed."""
    sidecar_form: Literal["txt", "json"] = "txt"
    """txt: the caption and a line's end. json: the whole row, regions with it."""
    webdataset: str = ""
    """Folder or URL of tars, one a shard, with KEY.txt (the caption) and KEY.json (the row) of each picture; its key is
    its image_id without ending, as a WebDataset of the pictures has it."""

    @property
    def wanted(self) -> bool:
        """Whether anything is."""
        return bool(self.coco or self.sidecars or self.webdataset)


@dataclass(frozen=True, kw_only=True)
class ExportOptions(Exports):
    """What `vsalign export` is asked for."""

    descriptions: str
    """Folder or URL of the descriptions table."""

    def __post_init__(self) -> None:
        if not self.wanted:
            raise ConfigurationError("say what to write: --coco FILE, --sidecars beside or FOLDER, --webdataset FOLDER")


def export(table: TableReader, forms: Exports) -> Iterator[str]:
    """Write the forms, all or nothing of each file; yields a line about each.

    Raises ConfigurationError, before the form's first file, where two pictures would share a name.
    """
    if forms.coco:
        yield write_coco(table, forms.coco)
    if forms.sidecars:
        yield write_sidecars(table, forms.sidecars, forms.sidecar_form)
    if forms.webdataset:
        yield write_webdataset(table, forms.webdataset)


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    about = "Write a descriptions table in other forms: COCO results JSON, sidecar files, WebDataset tars."
    options = parse(ExportOptions, argv, prog="vsalign export", description=about)
    for line in export(TableReader(options.descriptions, "descriptions"), options):
        print(line)
    return 0
