"""A folder as pyarrow's filesystem: whole files, tried again."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from pyarrow.fs import FileSelector, FileType, LocalFileSystem, PyFileSystem, copy_files

from vsalign.storage import Folder, folder
from vsalign.storage.arrow_files import SteadyHandler


@pytest.fixture
def at_memory(monkeypatch: pytest.MonkeyPatch) -> tuple[Folder, PyFileSystem]:
    monkeypatch.setattr(folder, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    monkeypatch.setattr(MemoryFileSystem, "pseudo_dirs", [""])
    at = Folder("memory://bucket/model")
    return at, PyFileSystem(SteadyHandler(at))


def test_a_checkpoint_s_folder_goes_there_and_back_and_is_deleted(
    at_memory: tuple[Folder, PyFileSystem], tmp_path: Path
) -> None:
    at, store = at_memory
    (tmp_path / "here/more").mkdir(parents=True)
    (tmp_path / "here/state.pt").write_bytes(b"x" * 100_000)
    (tmp_path / "here/more/empty").write_bytes(b"")
    copy_files(str(tmp_path / "here"), at.path("work"), LocalFileSystem(), store)
    assert at.names() == ["work/more/empty", "work/state.pt"]
    copy_files(at.path("work"), str(tmp_path / "back"), store, LocalFileSystem())
    assert (tmp_path / "back/state.pt").read_bytes() == b"x" * 100_000
    store.delete_dir(at.path("work"))
    assert at.names() == [] and store.get_file_info(at.path("work/state.pt")).type == FileType.NotFound


def test_an_upload_whose_answer_is_lost_is_made_anew(
    at_memory: tuple[Folder, PyFileSystem], monkeypatch: pytest.MonkeyPatch
) -> None:
    at, store = at_memory
    whole, tries = MemoryFileSystem.pipe_file, []

    def lost(self: Any, path: str, value: bytes, **options: Any) -> None:
        whole(self, path, value, **options)
        tries.append(path)
        if len(tries) < 3:
            raise FileNotFoundError(f"{path}?upload_id=3: there is no such upload")

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", lost)
    with store.open_output_stream(at.path("snapshot.json")) as file:
        file.write(b"{}")
        assert at.names() == []
    assert at.read("snapshot.json") == b"{}" and len(tries) == 3


def names(store: PyFileSystem, of_folder: str) -> list[str]:
    return [each.base_name for each in store.get_file_info(FileSelector(of_folder))]


def test_it_travels_to_the_workers(tmp_path: Path) -> None:
    at = Folder(str(tmp_path))
    at.write_new("a", b"1")
    store = PyFileSystem(SteadyHandler(at))
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as worker:
        assert worker.submit(names, store, at.root).result() == ["a"]
