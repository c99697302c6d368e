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

    def rows(self, block: Block) -> np.ndarray | None:
        """(n,) bool of a block's images; None: all of them."""
        masks = [like(block.rows["image_id"], self.path)] if self.path else []
        masks += [like(block.rows["caption"], word) for word in self.caption.split()]
        for name, least in (("width", self.min_width), ("height", self.min_height)):
            masks += [pc.greater_equal(block.rows[name], least)] if least else []
        masks += [block.kept] if block.kept is not None else []
        if not masks:
            return None
        found: np.ndarray = pc.fill_null(reduce(pc.and_, masks), False).to_numpy(zero_copy_only=False)
        return found


def like(column: pa.Array, pattern: str) -> pa.Array:
    """(n,) bool: which strings have `pattern` in them or, where it has * or ?, are like it as a whole.

    RE2, which Arrow matches by, takes time that grows with the text alone, whatever the pattern.
    """
    if not re.search(r"[*?]", pattern):
        return pc.match_substring(column, pattern, ignore_case=True)
    parts = ({"?": ".", "*": ".*"}.get(part) or re.escape(part) for part in re.split(r"([*?])", pattern))
    return pc.match_substring_regex(column, f"^(?s:{''.join(parts)})$", ignore_case=True)
