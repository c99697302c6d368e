"""Which of many names are known, by 64-bit hashes: 8 bytes a name.

The chance that any two are taken for one is three in a million among ten million, and one in forty among a thousand
million.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from hashlib import blake2b

import numpy as np


def hash64(text: str) -> int:
    """64 bits of BLAKE2b, never 0."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little") or 1


class HashedNames:
    """Which names are known."""

    def __init__(self, ordered: np.ndarray) -> None:
        """ordered: their sorted hashes (N,) uint64."""
        self._ordered = ordered

    @classmethod
    def of(cls, names: Iterable[str]) -> HashedNames:
        """Of names that come one after another, none of which is kept."""
        hashes = np.asarray(array("Q", map(hash64, names)))
        hashes.sort()
        return cls(hashes)

    def __contains__(self, name: str) -> bool:
        value = np.uint64(hash64(name))
        at = int(np.searchsorted(self._ordered, value))
        return at < len(self._ordered) and bool(self._ordered[at] == value)

    def __len__(self) -> int:
        return len(self._ordered)

    def repeated(self) -> HashedNames:
        """Those that were given more than once."""
        return HashedNames(np.unique(self._ordered[1:][self._ordered[1:] == self._ordered[:-1]]))
