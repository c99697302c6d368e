"""An index that changes under a server."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.vsalign.search.conftest import SCENES, Archive
from tests.vsalign.search.server.conftest import Serve
from vsalign.search.removed import remove, restore
from vsalign.storage import Folder
from vsalign.storage.layout import MANIFEST


@pytest.fixture
def copied(archive: Archive, tmp_path: Path) -> Folder:
    shutil.copytree(archive.index, tmp_path / "index")
    return Folder(str(tmp_path / "index"))


def wait_for(happened: Callable[[], bool], seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, f"nothing happened in {seconds} s"
        time.sleep(0.05)


def images(client: TestClient) -> int:
    count: int = client.get("/api/index").json()["images"]
    return count


def test_what_is_forgotten_goes_and_what_is_restored_comes_back(copied: Folder, serve: Serve) -> None:
    client = serve(copied.url, seconds=0.05)
    assert images(client) == SCENES
    remove(copied, ["00010.jpg", "00011.jpg"])
    wait_for(lambda: images(client) == SCENES - 2)
    assert len(client.get("/api/search?q=red&limit=100").json()["hits"]) == SCENES - 2
    restore(copied)
    wait_for(lambda: images(client) == SCENES)


def test_while_the_index_is_made_again_the_old_one_answers(copied: Folder, serve: Serve) -> None:
    client = serve(copied.url, seconds=0.05)
    before = client.get("/api/search?q=red").json()
    manifest = copied.read(MANIFEST)
    copied.remove(MANIFEST)
    for _ in range(10):
        time.sleep(0.05)
        assert client.get("/api/search?q=red").json() == before
    copied.replace(MANIFEST, manifest)
    remove(copied, ["00010.jpg"])
    wait_for(lambda: images(client) == SCENES - 1)


def test_no_question_is_lost_to_a_change(copied: Folder, serve: Serve) -> None:
    client = serve(copied.url, seconds=0.02)
    statuses: list[int] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            statuses.append(client.get("/api/search", params={"q": f"red circle {len(statuses)}"}).status_code)

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    for number in range(3):
        remove(copied, [f"0001{number}.jpg"])
        wait_for(lambda number=number: images(client) == SCENES - 1 - number)  # type: ignore[misc]
    ended.set()
    for asker in askers:
        asker.join()
    assert set(statuses) == {200} and len(statuses) > 3
