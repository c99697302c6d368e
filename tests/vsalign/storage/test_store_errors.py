"""Stores that cannot be asked: one sentence that names the address, and never taken for damage."""

from __future__ import annotations

import errno
import os
import uuid
from pathlib import Path
from typing import Any, NoReturn

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem

from vsalign.errors import IncompleteTableError, StoreError, TableError
from vsalign.storage import Folder, TableReader
from vsalign.storage import folder as folder_module
from vsalign.storage.shards import check_shard


class HttpError(Exception):
    """As the clients of object stores raise them: no OSError."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class MuteFile(MemoryFile):
    def readinto(self, buffer: Any) -> int:
        Mute.strike("read", self.path)
        return super().readinto(buffer)


class Mute(MemoryFileSystem):
    """An object store that refuses an operation as often as `refusals` says, on names that hold `where`."""

    protocol = "mute"
    store: dict[str, Any] = {}
    pseudo_dirs = [""]
    refusals: list[Exception] = []
    operation, where = "", ""

    @classmethod
    def strike(cls, operation: str, path: str) -> None:
        if operation == cls.operation and cls.where in path and cls.refusals:
            raise cls.refusals.pop(0)

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.removeprefix("mute://"))

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        self.strike("open", path)
        if mode != "rb":
            return super()._open(path, mode, **options)
        return MuteFile(self, path, self.store[path].getvalue())

    def cat_file(self, path: str, *rest: Any, **options: Any) -> bytes:
        self.strike("cat", path)
        return super().cat_file(path, *rest, **options)

    def info(self, path: str, **options: Any) -> Any:
        self.strike("info", path)
        return super().info(path, **options)

    def find(self, path: str, *rest: Any, **options: Any) -> Any:
        self.strike("find", path)
        return super().find(path, *rest, **options)


@pytest.fixture
def mute(captions, monkeypatch):
    fsspec.register_implementation("mute", Mute, clobber=True)
    monkeypatch.setattr(folder_module, "PAUSES", (0.0, 0.0))
    Mute.refusals, Mute.operation, Mute.where = [], "", ""
    table = captions.other(url=f"mute://{uuid.uuid4().hex}/captions")
    table.run()
    yield table
    Mute.refusals = []


def refuse(operation: str, error: Exception, times: int = 1000, where: str = "") -> None:
    Mute.operation, Mute.where, Mute.refusals = operation, where, [error] * times


@pytest.mark.parametrize("error", [HttpError("401 no credentials"), RuntimeError("closed loop"), TimeoutError("slow")])
@pytest.mark.parametrize("operation", ["cat", "info", "find", "open", "read"])
def test_what_a_store_refuses_is_one_sentence_with_its_address(mute, operation: str, error: Exception) -> None:
    folder = Folder(mute.url)
    ask = {
        "cat": lambda: folder.read("_manifest.json"),
        "info": lambda: folder.exists("_manifest.json"),
        "find": lambda: folder.names(),
        "open": lambda: folder.open("_manifest.json"),
        "read": lambda: folder.open("_manifest.json").read(),
    }[operation]
    refuse(operation, error)
    with pytest.raises(StoreError, match=f"{mute.url}.* cannot be read .{type(error).__name__}: {error}"):
        ask()
    refuse(operation, error, times=2)
    ask()
    assert Mute.refusals == []


@pytest.mark.parametrize("error", [PermissionError("no"), HttpError("no", 403), OSError(errno.ENOSPC, "full")])
def test_what_will_be_the_same_next_time_is_a_persons_matter(mute, error: Exception) -> None:
    refuse("cat", error, times=2)
    with pytest.raises(TableError) as caught:
        Folder(mute.url).read("_manifest.json")
    assert not isinstance(caught.value, StoreError)
    assert len(Mute.refusals) == 1


def denied(path: str) -> NoReturn:
    raise OSError(errno.ESTALE, "stale file handle", path)


def test_a_local_folder_that_cannot_be_listed_is_not_empty(captions, monkeypatch) -> None:
    captions.run()
    folder = Folder(captions.url)
    for name, ask in (("scandir", folder.names), ("stat", lambda: folder.exists("_manifest.json"))):
        with monkeypatch.context() as patched:
            patched.setattr(os, name, lambda path, *rest, **options: denied(str(path)))
            with pytest.raises(StoreError, match="stale file handle"):
                ask()
    assert folder.exists("_manifest.json") and "_manifest.json" in folder.names()


def test_a_listing_goes_on_where_a_folder_is_gone(captions, tmp_path) -> None:
    captions.run()
    assert Folder(str(tmp_path / "nothing")).names() == []
    assert Folder(f"{captions.url}/_manifest.json").names() == []


def test_a_file_that_may_not_be_deleted_is_one_sentence(mute, monkeypatch) -> None:
    def refused(self: Any, path: str) -> None:
        raise PermissionError("read only")

    monkeypatch.setattr(Mute, "rm_file", refused)
    with pytest.raises(TableError, match="cannot be deleted .PermissionError: read only"):
        Folder(mute.url).remove("_manifest.json")


def test_what_is_not_there_stays_a_file_not_found(anywhere) -> None:
    for ask in (Folder(anywhere.url).read, Folder(anywhere.url).open):
        with pytest.raises(FileNotFoundError):
            ask("nothing.json")


@pytest.mark.parametrize("operation", ["open", "read"])
@pytest.mark.parametrize("error", [ConnectionResetError("reset"), HttpError("503")])
def test_a_passing_failure_does_not_make_a_shard_damaged(mute, operation: str, error: Exception) -> None:
    refuse(operation, error, times=2, where="part-00001.g0")
    assert mute.stage().pending() == []
    assert Mute.refusals == []


@pytest.mark.parametrize("where", ["/part-00001.g0", "/errors/part-00001.g0"])
def test_a_lasting_failure_ends_the_look_and_makes_no_shard_anew(mute, where: str) -> None:
    task = mute.stage().tasks()[1]
    refuse("read", ConnectionResetError("reset"), where=where)
    with pytest.raises(TableError, match="part-00001.g0.*cannot be read .ConnectionResetError: reset"):
        check_shard(Folder(mute.url), task)
    with pytest.raises(TableError, match="cannot be read"):
        mute.run()
    Mute.refusals = []
    assert mute.run().rows_made == 0


def test_a_failing_store_is_not_told_as_a_damaged_table(mute) -> None:
    refuse("read", HttpError("503"), where="part-00001.g0")
    with pytest.raises(TableError, match="HttpError: 503.: check the address") as caught:
        TableReader(mute.url, "captions").read()
    assert not isinstance(caught.value, IncompleteTableError)


def test_a_rows_file_that_is_gone_is_told_and_made_again(captions) -> None:
    captions.run()
    Folder(captions.url).remove("part-00001.g0.parquet")
    with pytest.raises(IncompleteTableError, match="part-00001.g0.parquet is gone: run the command"):
        TableReader(captions.url, "captions").read()
    captions.run()
    assert TableReader(captions.url, "captions").read().num_rows == 5


def test_deleting_a_damaged_page_and_running_again_repairs_the_table(captions) -> None:
    captions.run()
    part = Path(captions.url) / "part-00001.g0.parquet"
    data = bytearray(part.read_bytes())
    data[40:60] = bytes(20)
    part.write_bytes(data)
    with pytest.raises(IncompleteTableError, match="delete that file and run the command"):
        TableReader(captions.url, "captions").read()
    part.unlink()
    captions.run()
    assert TableReader(captions.url, "captions").read().num_rows == 5


def test_a_tilde_is_the_home_folder_of_a_plain_path_only(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Folder("~/tables/captions").root == f"{tmp_path}/tables/captions"
    assert Folder("~root/x").root != f"{tmp_path}/x" and not Folder("~root/x").root.endswith("~root/x")
    monkeypatch.chdir(tmp_path)
    assert Folder("./~/x").root == f"{tmp_path}/~/x"
    assert Folder("file:///~/x").root == "/~/x"
    assert Folder("file://~/x").root == f"{tmp_path}/~/x"
