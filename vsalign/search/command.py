"""`vsalign search` and `vsalign forget`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.compute as pc

from vsalign.errors import ConfigurationError
from vsalign.options import parse, with_names
from vsalign.search.index import SearchIndex
from vsalign.search.removed import remove, removed, restore
from vsalign.search.wanted import Wanted, matches, pattern_of
from vsalign.storage import TableReader

MOST = 10_000
"""Images that may be asked for at once."""


@dataclass(frozen=True, kw_only=True)
class SearchOptions(Wanted):
    """What `vsalign search` is asked for; the names of the first two options may be left out."""

    index: str
    """Folder or URL of the index."""
    sentence: str = ""
    """What the picture shows."""
    like: str = ""
    """Instead of a sentence: file or URL of a picture; what looks like it, or like its --box, is found."""
    box: tuple[float, ...] = ()
    """x1 y1 x2 y2 in px of the upright --like picture: the place in it; left out: the whole of it."""
    k: int = 10
    """Images (also -k)."""
    json: bool = False
    """Print JSON."""
    model: str = ""
    """Folder of the alignment model, where it is not where it was when the index was made."""
    language: str = ""
    """Folder of the sentence encoder of a model of --model.text language; empty: the packaged one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.sentence) == bool(self.like):
            raise ConfigurationError("say what is looked for: a sentence, or --like PICTURE")
        if self.box and not self.like:
            raise ConfigurationError("--box is a place in the picture that --like names")
        if not 1 <= self.k <= MOST:
            raise ConfigurationError(f"-k {self.k}: give 1 to {MOST:,}")

    @property
    def wanted(self) -> Wanted:
        """Where it is looked for."""
        return Wanted(path=self.path, caption=self.caption, min_width=self.min_width, min_height=self.min_height)


def search(argv: Sequence[str]) -> int:
    """The command `vsalign search`."""
    given = ["--k" if word == "-k" else word for word in with_names(argv, "--index", "--sentence")]
    about = "Find pictures of an index by a sentence, or by a place in a picture, and what in them answers it."
    options = parse(SearchOptions, given, prog="vsalign search", description=about)
    index = SearchIndex(options.index, model=options.model, language=options.language, resident=False)
    query = index.asker.place(options.like, options.box) if options.like else index.asker.sentence(options.sentence)
    found = index.search(query, options.k, options.wanted)
    if options.json:
        print(json.dumps([asdict(hit) for hit in found], indent=1, ensure_ascii=False))
        return 0
    for rank, hit in enumerate(found, 1):
        print(f"{rank:>3}  {hit.score:6.3f}  {hit.image_id}" + (f"  {hit.caption}" if hit.caption else ""))
        for place in hit.places:
            box = ", ".join(f"{side:.0f}" for side in place.box)
            print(f"{'':12} {place.phrase or 'looks like it':<32} ({box})  {place.score:.2f}")
    if query.unknown:
        print(f"words that the model does not know: {', '.join(query.unknown)}")
    if not found:
        print("nothing is found there" if options.wanted != Wanted() else "the index is empty")
    return 0


@dataclass(frozen=True, kw_only=True)
class ForgetOptions:
    """What `vsalign forget` is asked for; the name of the first option may be left out."""

    index: str
    """Folder or URL of the index."""
    image_id: tuple[str, ...] = ()
    """Pictures, by image_id."""
    path: str = ""
    """Pictures whose image_id has this in it, or, with * and ?, is like this as a whole."""
    restore: bool = False
    """Bring back all that was ever taken out."""

    def __post_init__(self) -> None:
        if sum(map(bool, (self.image_id, self.path, self.restore))) != 1:
            raise ConfigurationError("say which pictures: --image-id A B, or --path PATTERN; or --restore all")


def forget(argv: Sequence[str]) -> int:
    """The command `vsalign forget`."""
    about = "Take pictures out of an index, so that they are not found any more; nothing else is deleted."
    options = parse(ForgetOptions, with_names(argv, "--index"), prog="vsalign forget", description=about)
    table = TableReader(options.index, "index")
    gone = removed(table.folder)
    if options.restore:
        restore(table.folder)
        print(f"{len(gone):,} pictures are back in {table.url}")
        return 0
    asked = pa.array(options.image_id, pa.string())
    chosen: set[str] = set()
    for batch in table.batches(["image_id"]):
        ids = batch["image_id"]
        mask = matches(ids, pattern_of(options.path)) if options.path else pc.is_in(ids, value_set=asked)
        chosen.update(ids.filter(mask).to_pylist())
    if unknown := [image_id for image_id in options.image_id if image_id not in chosen]:
        raise ConfigurationError(f"{table.url} has no picture {unknown[0]!r}: nothing was taken out")
    if new := chosen - gone:
        remove(table.folder, new)
    print(f"{len(new):,} pictures are out of {table.url}, {len(gone | new):,} of {table.rows:,} in all")
    return 0
