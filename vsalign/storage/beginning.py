"""How a stage begins: its inputs are listed, once, and its folder is claimed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa

from vsalign.storage.folder import Folder
from vsalign.storage.layout import PLAN
from vsalign.storage.shards import Output
from vsalign.storage.stage import Stage


def begin(
    output: Output,
    shards: Callable[[], Iterable[list[dict[str, Any]]]],
    schema: pa.Schema,
    counts: dict[str, int],
    *,
    overwrite: bool,
    refresh: bool = False,
) -> Stage:
    """The stage at `output.url`, planned: by an earlier run, or now by what `shards` lists (see `Stage.plan`).

    refresh: what is listed now and was not then is added. The listing begins before the folder is claimed or cleared:
    an input that holds nothing leaves it as it was.
    """
    listed = None
    planned = Folder(output.url).exists(PLAN) and not overwrite
    if refresh or not planned:
        iterator = iter(shards())
        listed = itertools.chain(list(itertools.islice(iterator, 1)), iterator)
    stage = Stage(output, overwrite=overwrite)
    if listed is not None and planned:
        stage.extend(listed, schema, counts)
    elif listed is not None:
        stage.plan(listed, schema, counts)
    return stage
