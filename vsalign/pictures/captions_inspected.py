"""`vsalign inspect descriptions DIR`: what a descriptions table holds, and whether its captions are varied."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vsalign.errors import ConfigurationError
from vsalign.options import parse, with_names
from vsalign.pictures.facts import count_captions
from vsalign.pictures.inspection import manifest_lines
from vsalign.storage import TableReader

SUSPICIOUS = 0.2
"""Share of the pictures that one caption may have without a remark."""


@dataclass(frozen=True)
class InspectOptions:
    """What `vsalign inspect descriptions` is asked for."""

    table: str
    """Folder or URL of the descriptions table; the option's name may be left out."""
    examples: int = 5
    """Captions shown of those that most pictures have."""

    def __post_init__(self) -> None:
        if not 0 <= self.examples <= 1000:
            raise ConfigurationError(f"--examples {self.examples}: give 0 to 1000")


def main(argv: Sequence[str]) -> int:
    """The command."""
    about = "Say what a descriptions table holds, and how varied its captions are."
    options = parse(InspectOptions, with_names(argv, "--table"), prog="vsalign inspect descriptions", description=about)
    table = TableReader(options.table, "descriptions")
    lines = [*manifest_lines(table), *figures(table, options.examples)]
    width = max(len(name) for name, _ in lines)
    print("\n".join([f"descriptions table {table.url}", *(f"  {name:<{width}}  {value}" for name, value in lines)]))
    return 0


def figures(table: TableReader, examples: int) -> Iterator[tuple[str, str]]:
    """Name and value of what is counted; two passes over the captions."""
    facts = count_captions(table.batches(["caption", "finished"]), {}, examples)
    if not facts.pictures:
        return
    words: Counter[str] = Counter()
    lengths: Counter[int] = Counter()
    regions = 0
    for batch in table.batches(["caption", "regions"]):
        for caption in batch.column("caption").to_pylist():
            words.update(caption.split())
            lengths[len(caption.split())] += 1
        regions += len(batch.column("regions").flatten())
    mean = sum(length * count for length, count in lengths.items()) / facts.pictures
    yield "different captions", f"{facts.distinct:,} ({100 * facts.distinct / facts.pictures:.1f} %)"
    yield "words a caption", f"{min(lengths)} to {max(lengths)}, mean {mean:.1f}; {len(words):,} different words"
    yield "unfinished", f"{facts.unfinished:,} ({100 * facts.unfinished / facts.pictures:.1f} %)"
    yield "regions a picture", f"mean {regions / facts.pictures:.1f}"
    for text, count in facts.frequent:
        yield "most frequent" if text == facts.most_frequent else "", f"{100 * count / facts.pictures:.1f} %  {text}"
    if facts.most_frequent_share > SUSPICIOUS:
        yield "remark", "one caption for so many pictures: look at some of them, the model may not fit these pictures"
