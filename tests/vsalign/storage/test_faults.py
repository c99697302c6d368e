"""Stores that fail once, always, or half-way."""

from __future__ import annotations

import errno
import os
import uuid
from collections import deque
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from vsalign.errors import MissingInputError, TableError, VsalignError
from vsalign.storage import Folder, TableReader
from vsalign.storage import folder as folder_module


class Faulty(MemoryFileSystem):
    """An object store whose uploads go wrong as asked: `faults` holds what the next uploads do."""

    protocol = "faulty"
    store: dict[str, Any] = {}
    pseudo_dirs = [""]
    faults: deque[str] = deque()

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.removeprefix("faulty://"))

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        fault = self.faults.popleft() if self.faults else ""
        if fault == "before":
            raise ConnectionError("503 service unavailable")
        if fault == "half":
            super().pipe_file(path, value[: len(value) // 2], mode=mode, **options)
            raise ConnectionError("reset half-way")
        super().pipe_file(path, value, mode=mode, **options)
        if fault == "after":
            raise ConnectionError("the answer was lost")


@pytest.fixture
def faulty(captions, monkeypatch):
    fsspec.register_implementation("faulty", Faulty, clobber=True)
    monkeypatch.setattr(folder_module, "PAUSES", (0.0, 0.0))
    Faulty.faults.clear()
    yield captions.other(url=f"faulty://{uuid.uuid4().hex}/captions")
    Faulty.faults.clear()


UPLOADS = 9
"""Of an undisturbed run: run file, plan, plan file, 3 rows files, an errors file, the manifest; one to spare."""


@pytest.mark.parametrize("fault", ["before", "after"])
@pytest.mark.parametrize("upload", range(UPLOADS))
def test_an_upload_that_fails_once_is_tried_again(faulty, fault: str, upload: int) -> None:
    Faulty.faults.extend([""] * upload + [fault])
    summary = faulty.run()
    reader = TableReader(faulty.url, "captions")
    assert (summary.rows, reader.read().num_rows, reader.errors().num_rows) == (5, 5, 1)
    assert len(Folder(faulty.url).names()) == 8


@pytest.mark.parametrize("upload", range(UPLOADS - 1))
def test_an_upload_that_always_fails_is_one_sentence_and_nothing_half(faulty, upload: int) -> None:
    Faulty.faults.extend([""] * upload + ["before"] * 1000)
    with pytest.raises(TableError, match="cannot be written .ConnectionError: 503.*run the same command again"):
        faulty.run()
    with pytest.raises(VsalignError, match="not finished|no captions table"):
        TableReader(faulty.url, "captions")
    Faulty.faults.clear()
    assert faulty.run().rows == 5
    assert len(Folder(faulty.url).names()) <= 9


@pytest.mark.parametrize("upload", range(UPLOADS - 1))
def test_half_an_upload_is_never_taken_for_a_whole_one(faulty, upload: int) -> None:
    """A store that publishes what it has when the connection breaks (SFTP, some gateways)."""
    Faulty.faults.extend([""] * upload + ["half"] * 3)
    try:
        faulty.run()
    except VsalignError as error:
        assert "again" in str(error) or "--overwrite" in str(error)
        with pytest.raises(VsalignError):
            TableReader(faulty.url, "captions")
    Faulty.faults.clear()
    try:
        summary = faulty.run()
    except TableError as error:  # the run file or the plan itself
        assert "--overwrite" in str(error)
        summary = faulty.run(overwrite=True)
    reader = TableReader(faulty.url, "captions")
    assert (summary.rows, reader.read().num_rows, reader.errors().num_rows) == (5, 5, 1)


@pytest.mark.parametrize("operation", ["link", "replace", "fsync"])
def test_a_local_write_that_fails_once_is_tried_again(captions, monkeypatch, operation: str) -> None:
    monkeypatch.setattr(folder_module, "PAUSES", (0.0, 0.0))
    real, calls = getattr(os, operation), iter([OSError(errno.EIO, "no answer from the disk")])

    def fails_once(*arguments: Any) -> Any:
        for error in calls:
            raise error
        return real(*arguments)

    monkeypatch.setattr(os, operation, fails_once)
    assert captions.run().rows == 5
    assert len(Folder(captions.url).names()) == 8


@pytest.mark.parametrize("operation", ["link", "replace", "fsync"])
def test_a_local_write_that_always_fails_leaves_no_half_file(captions, monkeypatch, operation: str) -> None:
    monkeypatch.setattr(folder_module, "PAUSES", (0.0, 0.0))

    def fails(*arguments: Any) -> Any:
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, operation, fails)
        with pytest.raises(TableError, match="cannot be written .*no space left on device"):
            captions.run()
        assert not [name for name in Folder(captions.url).names() if name.endswith(".tmp")]
    assert captions.run().rows == 5


def test_a_disk_without_hard_links_still_creates_exclusively(captions, monkeypatch) -> None:
    def no_links(*arguments: Any) -> Any:
        raise OSError(errno.EPERM, "operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    task = captions.stage().pending()[1]
    (first, inputs), (second, _) = captions.filled(task), captions.filled(task)
    assert first.commit(inputs) == second.commit(inputs)
    assert captions.run().rows == 5
    assert len(Folder(captions.url).names()) == 8


def test_a_folder_under_a_file_is_one_sentence(tmp_path, captions) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"x")
    with pytest.raises(TableError, match="cannot be written .*name another folder"):
        captions.other(url=str(tmp_path / "photo.jpg" / "captions")).run()
    with pytest.raises(MissingInputError):
        TableReader(str(tmp_path / "photo.jpg" / "captions"), "captions")


def test_a_swept_temporary_is_written_again(captions, monkeypatch) -> None:
    """A run beside this one that finishes sweeps the temporary files of both."""
    real, swept = os.link, []

    def sweeps_first(temporary: str, final: str) -> None:
        if not swept:
            swept.append(temporary)
            os.unlink(temporary)
        real(temporary, final)

    monkeypatch.setattr(folder_module, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(os, "link", sweeps_first)
    assert captions.run().rows == 5
    assert swept
