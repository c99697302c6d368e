"""A store's client that caches its listings never hides what another process has written."""

from __future__ import annotations

import uuid
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from vsalign.images import ImageInput, list_images
from vsalign.storage import Folder


class Remembering(MemoryFileSystem):
    """An object store that lists from its cache wherever it may, as gs:// and s3:// do."""

    protocol = "remembering"
    store: dict[str, Any] = {}
    pseudo_dirs = [""]

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.removeprefix("remembering://"))

    def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
        """Entries without a leading slash, as a bucket's are."""
        path = path.strip("/")
        if path not in self.dircache:
            found = super().ls("/" + path, detail=True)
            entries = [{**entry, "name": entry["name"].strip("/")} for entry in found]
            self.dircache[path] = entries  # where the instance may cache at all
            return entries
        return self.dircache[path]

    def find(self, path: str, **options: Any) -> Any:
        return ["/" + entry["name"] for entry in self.ls(path)]


@pytest.fixture
def folder() -> str:
    """A folder that holds a.jpg, of a store that remembers."""
    fsspec.register_implementation("remembering", Remembering, clobber=True)
    name = uuid.uuid4().hex
    Remembering().pipe_file(f"/{name}/a.jpg", b"x")
    return name


def test_the_stores_own_client_does_not_see_what_came_later(folder: str) -> None:
    client = fsspec.filesystem("remembering", skip_instance_cache=True)
    assert len(client.ls(f"/{folder}")) == 1
    Remembering().pipe_file(f"/{folder}/b.jpg", b"x")
    assert len(client.ls(f"/{folder}")) == 1


def test_a_table_and_a_listing_see_it(folder: str) -> None:
    table = Folder(f"remembering://{folder}")
    pictures = list_images(ImageInput(f"remembering://{folder}"))
    assert table.names() == ["a.jpg"]
    assert [row["image_id"] for shard in pictures for row in shard] == ["a.jpg"]
    Remembering().pipe_file(f"/{folder}/b.jpg", b"x")
    assert table.names() == ["a.jpg", "b.jpg"]
    assert [row["image_id"] for shard in pictures for row in shard] == ["a.jpg", "b.jpg"]
