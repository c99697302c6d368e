"""Images that were taken out of an index: their ids lie in files beside it, which a deleted one brings back."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable

from vsalign.errors import TableError
from vsalign.storage import Folder

REMOVED = re.compile(r"removed-[0-9a-f]{12}\.json")


def removed(folder: Folder) -> frozenset[str]:
    """The image_ids that are out; raises TableError for a damaged file."""
    found: set[str] = set()
    for name in folder.names():
        if REMOVED.fullmatch(name):
            try:
                ids = json.loads(folder.read(name))
            except ValueError as error:
                raise TableError(f"{folder.url}/{name} is damaged ({error}): delete it, and remove again") from error
            found.update(map(str, ids))
    return frozenset(found)


def remove(folder: Folder, image_ids: Iterable[str]) -> None:
    """Take images out: a file of their ids."""
    folder.write_new(f"removed-{uuid.uuid4().hex[:12]}.json", json.dumps(sorted(image_ids)).encode())


def restore(folder: Folder) -> None:
    """Bring all back."""
    for name in folder.names():
        if REMOVED.fullmatch(name):
            folder.remove(name)
