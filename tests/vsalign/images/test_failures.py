"""Stores that fail: passing failures are tried again, from where they struck; lasting ones have a reason."""

from __future__ import annotations

import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem

from vsalign.errors import Reason
from vsalign.images import ImageInput, ReadImage, ReadOptions, list_images, read_images

FAST = ReadOptions(retries=2, backoff=0.0)


class FlakyFile(MemoryFile):
    """A file whose reads fail as long as its filesystem says so."""

    def read(self, size: int = -1) -> bytes:  # type: ignore[override]
        FlakyFileSystem.strike(self.tell())
        return super().read(size)


class FlakyFileSystem(MemoryFileSystem):
    """memory:// whose reads fail; `failures` are raised one a read, at or after byte `from_byte`."""

    protocol = "flaky"
    store: dict[str, Any] = {}
    pseudo_dirs = [""]
    failures: list[Exception] = []
    from_byte = 0

    @classmethod
    def strike(cls, position: int) -> None:
        if cls.failures and position >= cls.from_byte:
            raise cls.failures.pop(0)

    def cat_file(self, path: str, *args: Any, **options: Any) -> bytes:
        self.strike(0)
        return super().cat_file(path, *args, **options)

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if mode != "rb":
            return super()._open(path, mode, **options)
        return FlakyFile(self, path, self.store[path].getvalue())


@pytest.fixture
def flaky() -> Iterator[type[FlakyFileSystem]]:
    fsspec.register_implementation("flaky", FlakyFileSystem, clobber=True)
    FlakyFileSystem.store.clear()
    FlakyFileSystem.failures, FlakyFileSystem.from_byte = [], 0
    yield FlakyFileSystem
    FlakyFileSystem.store.clear()


def read_one(uri: str, kind: str = "image", options: ReadOptions = FAST) -> list[ReadImage]:
    return list(read_images([{"image_id": "x", "uri": uri, "kind": kind}], options))


def reset() -> OSError:
    return ConnectionResetError("reset by peer")


@pytest.mark.parametrize(
    ("failures", "reason", "left"),
    [
        ([reset()], None, 0),
        ([reset(), TimeoutError()], None, 0),
        ([reset() for _ in range(5)], Reason.READ_FAILED, 2),
        ([TimeoutError() for _ in range(5)], Reason.TIMED_OUT, 2),
        ([PermissionError("no") for _ in range(5)], Reason.READ_FAILED, 4),
        ([FileNotFoundError("gone") for _ in range(5)], Reason.NOT_FOUND, 4),
        ([RuntimeError("a client's own") for _ in range(5)], Reason.READ_FAILED, 2),
    ],
)
def test_picture_is_read_again_after_passing_failures_only(
    failures: list[Exception], reason: Reason | None, left: int, flaky: Any, dot: Any
) -> None:
    flaky().pipe_file("/a.png", dot(1))
    flaky.failures = list(failures)
    (image,) = read_one("flaky://a.png")
    assert (image.error and image.error.reason) is reason
    assert image.data == (None if reason else dot(1))
    assert len(flaky.failures) == left
    if reason:
        assert image.error is not None and "flaky://a.png" in image.error.message


def test_archive_goes_on_from_the_byte_where_the_store_failed(flaky: Any, photograph: Any, encode: Any) -> None:
    file = io.BytesIO()
    picture = encode(photograph.resize((600, 600)), "BMP")
    with tarfile.open(fileobj=file, mode="w") as tar:
        for number in range(5):
            header = tarfile.TarInfo(f"{number}.bmp")
            header.size = len(picture)
            tar.addfile(header, io.BytesIO(picture))
    flaky().pipe_file("/a.tar", file.getvalue())
    flaky.from_byte, flaky.failures = 2_000_000, [reset(), TimeoutError()]
    images = read_one("flaky://a.tar", "archive")
    assert [image.data == picture for image in images] == [True] * 5 and not flaky.failures
    flaky.failures = [reset() for _ in range(5)]
    images = read_one("flaky://a.tar", "archive")
    assert 0 < len(images) <= 5
    assert images[-1].archive_level and images[-1].error is not None
    assert images[-1].error.reason is Reason.READ_FAILED and images[-1].error.message.count("flaky://a.tar") >= 1


class Handler(BaseHTTPRequestHandler):
    """Answers by the raw request target, and notes it."""

    seen: list[str] = []
    answers: dict[str, list[int]] = {}
    body = b""

    def do_GET(self) -> None:
        self.seen.append(self.path)
        status = (self.answers.get(self.path) or [200]).pop(0)
        self.send_response(status)
        body = self.body if status == 200 else b"no"
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def web(dot: Any) -> Iterator[str]:
    Handler.seen, Handler.answers, Handler.body = [], {}, dot(1)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_web_addresses_are_sent_as_written(web: str, tmp_path: Any, dot: Any) -> None:
    targets = {"a%20b.jpg": "a%20b.jpg", "a b.jpg": "a%20b.jpg", "a%23b.jpg?x=1&y=[2]": "a%23b.jpg?x=1&y=[2]",
               "a+b.jpg": "a+b.jpg", "a%2Fb.jpg": "a%2Fb.jpg", "é.jpg": "%C3%A9.jpg"}  # fmt: skip
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"{web}/{name}\n" for name in targets))
    rows = [row for shard in list_images(ImageInput(str(listed), root=web)) for row in shard]
    assert [row["image_id"] for row in rows] == list(targets)
    assert [image.data for image in read_images(rows, FAST)] == [dot(1)] * len(targets)
    assert Handler.seen == [f"/{target}" for target in targets.values()]


@pytest.mark.parametrize(
    ("statuses", "reason", "requests"),
    [
        ([503, 429, 200], None, 3),
        ([503] * 9, Reason.READ_FAILED, 3),
        ([404] * 9, Reason.NOT_FOUND, 1),
        ([410] * 9, Reason.NOT_FOUND, 1),
        ([403] * 9, Reason.READ_FAILED, 1),
    ],
)
def test_http_statuses(statuses: list[int], reason: Reason | None, requests: int, web: str) -> None:
    Handler.answers = {"/a.jpg": list(statuses)}
    (image,) = read_one(f"{web}/a.jpg")
    assert (image.error and image.error.reason) is reason
    assert len(Handler.seen) == requests


def test_only_what_the_limit_allows_is_read_from_a_store(flaky: Any, monkeypatch: Any) -> None:
    flaky().pipe_file("/a.jpg", b"x" * 1_000_000)
    flaky().pipe_file("/b.jpg", b"x" * 100)
    sizes, cat_file = [], FlakyFileSystem.cat_file

    def measured(self: Any, path: str, *rest: Any, **options: Any) -> bytes:
        data = cat_file(self, path, *rest, **options)
        sizes.append(len(data))
        return data

    monkeypatch.setattr(FlakyFileSystem, "cat_file", measured)
    options = ReadOptions(retries=0, max_member_bytes=100)
    (large,), (small,) = read_one("flaky://a.jpg", options=options), read_one("flaky://b.jpg", options=options)
    assert large.error is not None and large.error.reason is Reason.TOO_LARGE
    assert small.data == b"x" * 100
    assert sizes == [101, 100]


def test_an_empty_file_of_a_store_that_refuses_its_range_is_empty(flaky: Any) -> None:
    flaky().pipe_file("/a.jpg", b"")
    flaky.failures = [RuntimeError("416 requested range not satisfiable")]
    (image,) = read_one("flaky://a.jpg", options=ReadOptions(retries=0))
    assert image.error is None and image.data == b""


@pytest.mark.parametrize(
    ("size", "reason"), [(0, None), (99, None), (100, None), (101, "TOO_LARGE"), (10**6, "TOO_LARGE")]
)
def test_the_limit_holds_for_web_servers_without_ranges(size: int, reason: str | None, web: str) -> None:
    Handler.body = b"x" * size
    (image,) = read_one(f"{web}/a.jpg", options=ReadOptions(retries=0, max_member_bytes=100))
    assert (image.error and str(image.error.reason)) == reason
    assert image.data == (None if reason else b"x" * size)
    assert Handler.seen == ["/a.jpg"]
