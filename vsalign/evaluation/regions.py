"""What region descriptions name, against rendered scenes, where the shape and colour of things are known."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from vsalign.errors import VsalignError
from vsalign.text import tokenize


@dataclass(frozen=True)
class RegionWords:
    """Shares, 0 to 1, of the regions whose caption names the right thing and no other of its sort."""

    both: float
    """Right shape, right colour, and no other shape or colour."""
    shape: float
    colour: float
    regions: int

    def lines(self) -> list[str]:
        """The figures with their definition, one line of text, per cent."""
        return [
            f"right shape and colour, and no other: {100 * self.both:.1f} % of {self.regions} regions "
            f"(shape {100 * self.shape:.1f} %, colour {100 * self.colour:.1f} %)"
        ]

    def __str__(self) -> str:
        return "\n".join(self.lines())


def shape_colour_accuracy(
    regions: Iterable[tuple[str, str, str]], shapes: Collection[str], colours: Collection[str]
) -> RegionWords:
    """Measure how often a region's caption names its shape and colour and no other (issue 3).

    regions: (caption, true shape, true colour). shapes, colours: each word that names one (SHAPES, COLOURS of
    vsalign.datasets.scenes). Raises VsalignError without regions, and on a truth that is no such word.
    """
    hits: list[tuple[bool, bool]] = []
    for caption, shape, colour in regions:
        if shape not in shapes or colour not in colours:
            raise VsalignError(
                f"the truth {colour!r} {shape!r} is not among the colours {sorted(colours)} and shapes "
                f"{sorted(shapes)}; give the word lists of the scenes that the regions are of."
            )
        words = set(tokenize(caption))
        hits.append((words & set(shapes) == {shape}, words & set(colours) == {colour}))
    if not hits:
        raise VsalignError("there is no region whose words could be checked; describe at least one region.")
    count = len(hits)
    return RegionWords(
        both=sum(right_shape and right_colour for right_shape, right_colour in hits) / count,
        shape=sum(right_shape for right_shape, _ in hits) / count,
        colour=sum(right_colour for _, right_colour in hits) / count,
        regions=count,
    )
