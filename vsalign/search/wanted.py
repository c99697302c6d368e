"""Which images of an index are looked at."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vsalign.errors import ConfigurationError
from vsalign.search.blocks import Block


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """All that is given must hold."""

    path: str = ""
    """Part of the image_id (a picture's path below the archive's root), or a pattern of the whole of it with * and ?;
    small and capital letters are the same."""
    caption: str = ""
    """Words that the caption has in it, in any order."""
    min_width: int = 0
    """px of the upright picture."""
    min_height: int = 0
    """px of the upright picture."""

    def __post_init__(self) -> None:
        if self.min_width < 0 or self.min_height < 0:
            raise ConfigurationError(f"min_width {self.min_width}, min_height {self.min_height}: give 0 or more")

    def patterns(self) -> list[tuple[str, str]]:
        """Columns, and regular expressions that must be found in them."""
        path = [("image_id", pattern_of(self.path))] if self.path else []
        return path + [("caption", pattern_of(word)) for word in self.caption.split()]

    def least(self) -> list[tuple[str, int]]:
        """Columns, and what they must be at least."""
        return [(name, least) for name, least in (("width", self.min_width), ("height", self.min_height)) if least]

    def rows(self, block: Block) -> np.ndarray | None:
        """(n,) bool of a block's images; None: all of them."""
        masks = [matches(block.rows[name], pattern) for name, pattern in self.patterns()]
        masks += [pc.greater_equal(block.rows[name], least) for name, least in self.least()]
        masks += [block.kept] if block.kept is not None else []
        if not masks:
            return None
        found: np.ndarray = pc.fill_null(reduce(pc.and_, masks), False).to_numpy(zero_copy_only=False)
        return found


def pattern_of(text: str) -> str:
    """The regular expression for strings that have `text` in them or, where it has * or ?, are like it as a whole."""
    if not re.search(r"[*?]", text):
        return re.escape(text)
    parts = ({"?": ".", "*": ".*"}.get(part) or re.escape(part) for part in re.split(r"([*?])", text))
    return f"^(?s:{''.join(parts)})$"


def matches(column: pa.Array, pattern: str) -> pa.Array:
    """(n,) bool, small and capital letters being the same; RE2 takes time that grows with the text alone."""
    return pc.match_substring_regex(column, pattern, ignore_case=True)
