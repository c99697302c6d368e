"""Deep visual-semantic alignments: regions of images and words of sentences in one space (Karpathy and Fei-Fei, 2015).

`vsalign.load()` describes photographs (vsalign.photograph).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vsalign.photograph import load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    if name == "load":  # imported when asked for: it brings torch
        from vsalign.photograph import load

        return load
    raise AttributeError(f"module 'vsalign' has no attribute {name!r}")
