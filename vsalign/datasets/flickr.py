"""Flickr8k and Flickr30k: the token file `FILE#K<tab>caption`, its split lists, and Flickr30k's results.csv.

No line is parsed as CSV: quotes are characters, and "None" or "NA" are captions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from vsalign.datasets.files import beside, file_name, first_bytes, lines
from vsalign.datasets.records import CaptionRecord, Reading, SplitTable, caption_text, split_name
from vsalign.errors import ConfigurationError, InputError, Reason

SPLIT_ENDINGS = {
    "train": "trainImages.txt",
    "tune": "tuneImages.txt",
    "dev": "devImages.txt",
    "test": "testImages.txt",
}
"""How the published split lists end (Flickr_8k.trainImages.txt); they are found beside the token file."""

CSV_HEADER = b"image_name|"


def read_token_file(path: str, splits: Mapping[str, str] | None = None) -> Reading[CaptionRecord]:
    """Captions of a token file (or results.csv) in file order; a bad line is an InputError with its number.

    splits: split -> list file with one image name a line; None: the published lists beside the token file, if
    any.
    Counts: records, errors, blank_lines, no_split (captions whose picture is in no list).
    Raises MissingInputError, and ConfigurationError where a picture is in two lists or the file is no text.
    """
    header = first_bytes(path).removeprefix(b"\xef\xbb\xbf").startswith(CSV_HEADER)
    table = read_split_lists(find_split_lists(path) if splits is None else splits)
    counts: Counter[str] = Counter()
    return Reading("flickr", _captions(path, table, counts, pipes=header), counts)


def find_split_lists(path: str) -> dict[str, str]:
    """The published split lists beside a token file: split -> path; ConfigurationError where two fit."""
    found: dict[str, str] = {}
    for split, ending in SPLIT_ENDINGS.items():
        lists = beside(path, ending)
        if len(lists) > 1:
            raise ConfigurationError(
                f"two lists of the {split} split lie beside {path} ({', '.join(map(file_name, lists))}); "
                "name the one to use in the splits option."
            )
        if lists:
            found[split] = lists[0]
    return found


def read_split_lists(splits: Mapping[str, str]) -> SplitTable:
    """Which split each picture is in; ConfigurationError on a picture in two, or a list without names."""
    table = SplitTable()
    for split, path in splits.items():
        before = len(table)
        for _, line in lines(path):
            name = line.strip().decode("utf-8", errors="surrogateescape")
            if name:
                table.add(name, split_name(split), file_name(path))
        if len(table) == before:
            raise ConfigurationError(f"the list {path} of the {split} split names no picture; give one name a line.")
    return table


def _captions(path: str, table: SplitTable, counts: Counter[str], pipes: bool) -> Iterator[CaptionRecord | InputError]:
    seen: dict[str, int] = {}
    for number, line in lines(path):
        if not line.strip():
            counts["blank_lines"] += 1
        elif not (pipes and number == 1):
            item = _caption(line, number, table, path, pipes)
            if isinstance(item, CaptionRecord):
                first = seen.setdefault(item.caption_id, number)
                if first != number:
                    message = f"line {number} has the caption id {item.caption_id} of line {first}."
                    item = InputError(Reason.BAD_LINE, message, f"{path}:{number}")
                elif item.split is None:
                    counts["no_split"] += 1
            yield item


def _caption(line: bytes, number: int, table: SplitTable, path: str, pipes: bool) -> CaptionRecord | InputError:
    uri = f"{path}:{number}"
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        return InputError(Reason.BAD_LINE, f"line {number} is not UTF-8 ({error.reason}).", uri)
    if pipes:
        name, _, rest = text.partition("|")
        position, separator, caption = rest.partition("|")
        expected = "FILE| K| caption"
    else:
        key, separator, caption = text.partition("\t")
        name, _, position = key.rpartition("#")
        expected = "FILE#K<tab>caption"
    name, position = name.strip(), position.strip()
    if not separator or not name or not (position.isascii() and position.isdigit()):
        return InputError(Reason.BAD_LINE, f"line {number} is not {expected}: {text[:80]!r}.", uri)
    checked = caption_text(caption, f"line {number}", uri)
    if isinstance(checked, InputError):
        return checked
    return CaptionRecord(name, f"{name}#{position}", table.of(name), checked, number)
