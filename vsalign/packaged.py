"""Models that the distribution vsalign-models carries."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from vsalign.errors import MissingInputError

PACKAGE = "vsalign_models"
ALIGNMENT = "alignment"


def packaged(name: str, remedy: str) -> str:
    """The folder of a packaged model; raises MissingInputError, which ends in `remedy`, where there is none."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.origin or not (Path(spec.origin).parent / name).is_dir():
        raise MissingInputError(
            f"the model {name} is not installed: pip install ./models from a checkout (vsalign-models; its weights are "
            f"for non-commercial research), {remedy}"
        )
    return str(Path(spec.origin).parent / name)


def alignment_folder(url: str) -> str:
    """The folder of an alignment model: `url`, or the packaged one where that is empty; raises as `packaged`."""
    return url or packaged(ALIGNMENT, "or name the folder of one that jobs.train_alignment made (--model)")
