"""Files at any URI, names taken literally: nothing is globbed, chained (`::`), unquoted or cut at # and ?."""

from __future__ import annotations

import errno
import io
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, TypeVar, cast
from urllib.parse import quote

import fsspec

from vsalign.errors import ConfigurationError, InputError, Reason
from vsalign.images.retrying import Retry, steadily

T = TypeVar("T")

LOCAL = "file"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://")
_WEB = ("http", "https")
_URL_AS_WRITTEN = "%/:?#[]@!$&'()*+,;=~"
"""Characters of a web address that are left alone, % among them: what is encoded already is not encoded
twice."""


@dataclass(frozen=True)
class Entry:
    """What a folder holds: `name` below it, its URI, and what it is."""

    name: str
    uri: str
    is_folder: bool = False
    is_link_away: bool = False
    is_special: bool = False


def protocol_of(uri: str) -> str:
    """The URI's protocol; "file" for a plain path."""
    match = _SCHEME.match(uri)
    protocol = match[1].lower() if match else LOCAL
    return LOCAL if protocol == "local" else protocol


def canonical(uri: str) -> str:
    """A local path or file:// URI as an absolute path; any other URI without a trailing slash."""
    match = _SCHEME.match(uri)
    if protocol_of(uri) == LOCAL:
        return os.path.abspath(uri[match.end() :] if match else uri)
    return uri.rstrip("/")


def path_of(uri: str) -> str:
    """The URI without its protocol and leading slashes."""
    match = _SCHEME.match(uri)
    return (uri[match.end() :] if match else uri).lstrip("/")


def join(folder: str, name: str) -> str:
    """The URI of `name` below `folder`."""
    return folder + name if folder.endswith("/") else f"{folder}/{name}"


def lies_within(path: str, folder: str) -> bool:
    """Whether a local path lies in a folder, or is it, links followed."""
    real = os.path.realpath(folder)
    return os.path.commonpath((real, os.path.realpath(path))) == real


def parent(uri: str) -> str:
    """The URI of the folder that holds `uri`."""
    match = _SCHEME.match(uri)
    start = match.end() if match else 0
    slash = uri.rfind("/", start)
    return uri[: max(slash, start)] or "/"


def _filesystem(protocol: str) -> Any:
    # A cached listing hides what was added since; encoded: web addresses stay as written.
    options = {"encoded": True} if protocol in _WEB else {"use_listings_cache": False}
    return fsspec.filesystem(protocol, **options)


def require_filesystem(uri: str) -> None:
    """Raise ConfigurationError where nothing installed reads the URI's protocol."""
    protocol = protocol_of(uri)
    try:
        _filesystem(protocol)
    except (ImportError, ValueError) as error:
        remedy = 'install it with pip install "vsalign[gcs]"' if protocol in ("gs", "gcs") else "install what it names"
        raise ConfigurationError(f"{uri}: {protocol}:// cannot be read here ({error}); {remedy}") from error


def _place(uri: str) -> tuple[Any, str]:
    """The filesystem and its own path; given to methods that neither glob nor split at `::`."""
    protocol = protocol_of(uri)
    if protocol in _WEB:
        return _filesystem(protocol), quote(uri, safe=_URL_AS_WRITTEN)
    path = path_of(uri)
    return _filesystem(protocol), f"/{path}" if protocol == "memory" else path


def kind_of(uri: str, retry: Retry) -> str | None:
    """ "folder", "file", or None where there is nothing; raises InputError where that cannot be found out."""
    if protocol_of(uri) == LOCAL:
        if os.path.isdir(uri):
            return "folder"
        return "file" if os.path.exists(uri) else None
    fs, path = _place(uri)

    def look() -> str | None:
        try:
            return "folder" if fs.info(path)["type"] == "directory" else "file"
        except FileNotFoundError:
            return None

    return steadily(look, uri, retry)


def entries(uri: str, retry: Retry, root: str) -> list[Entry]:
    """What the folder holds, sorted by name; raises InputError. Local links are judged against the folder
    `root`."""
    if protocol_of(uri) == LOCAL:
        found = steadily(lambda: _local_entries(uri, os.path.realpath(root)), uri, retry)
    else:
        found = steadily(lambda: _remote_entries(uri), uri, retry)
    return sorted(found, key=lambda entry: entry.name)


def _local_entries(folder: str, root: str) -> list[Entry]:
    found = []
    with os.scandir(folder) as listing:
        for item in listing:
            if item.is_symlink():
                target = os.path.realpath(item.path)
                inside = os.path.commonpath((root, target)) == root
                # A linked folder inside the root is listed in its own place already.
                away = not inside or os.path.isdir(target)
                found.append(Entry(item.name, item.path, is_link_away=away))
            else:
                is_folder = item.is_dir()
                special = not is_folder and not item.is_file()
                found.append(Entry(item.name, item.path, is_folder=is_folder, is_special=special))
    return found


def _remote_entries(uri: str) -> list[Entry]:
    fs, path = _place(uri)
    prefix = path.rstrip("/") + "/"
    found = []
    for item in fs.ls(path, detail=True):
        full = str(item["name"]).rstrip("/")
        # Object stores list the folder's own empty marker, web servers links to elsewhere.
        if full.startswith(prefix) and "/" not in full[len(prefix) :]:
            name = full[len(prefix) :]
            found.append(Entry(name, join(uri, name), is_folder=item["type"] == "directory"))
    return found


def read_bytes(uri: str, retry: Retry, max_bytes: int) -> bytes:
    """The file's bytes; raises InputError: NOT_FOUND, TOO_LARGE, READ_FAILED or TIMED_OUT."""

    def read() -> bytes:
        if protocol_of(uri) != LOCAL:
            return _read_remote(uri, max_bytes + 1)
        with _open_local(uri) as file:
            return file.read(max_bytes + 1)

    data = steadily(read, uri, retry)
    if len(data) > max_bytes:
        raise InputError(Reason.TOO_LARGE, f"{uri}: the file is larger than the limit of {max_bytes} bytes", uri)
    return data


def _read_remote(uri: str, most: int) -> bytes:
    """The file's first bytes, up to `most`; what lies behind them is not transferred."""
    fs, path = _place(uri)
    if protocol_of(uri) in _WEB:
        # A web server may not know ranges: its answer is read until there is enough. A size spares the question for it.
        with fs.open(path, "rb", block_size=0, size=1) as file:
            read = bytearray()
            while len(read) < most and (data := file.read(most - len(read))):
                read += data
            return bytes(read)
    try:
        return cast(bytes, fs.cat_file(path, end=most))
    except FileNotFoundError:
        raise
    except Exception:
        # Object stores answer 416 to a range of an empty file.
        if fs.info(path)["size"] == 0:
            return b""
        raise


def _open_local(path: str) -> IO[bytes]:
    # Opening a pipe waits for ever, and a device never ends.
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise FileNotFoundError(f"{path} is no regular file")
    return open(path, "rb")


class SteadyReader(io.RawIOBase):
    """A file read from start to end or in any order; after a passing failure it is opened again at the same
    place.

    Raises InputError (NOT_FOUND, READ_FAILED, TIMED_OUT).
    """

    def __init__(self, uri: str, retry: Retry) -> None:
        super().__init__()
        self._uri, self._retry, self._at = uri, retry, 0
        self._file: IO[bytes] | None = None
        steadily(self._opened, uri, retry)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._opened().seekable()

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at}.get(whence)
        if base is None:
            base = self._do(lambda file: file.seek(0, io.SEEK_END))
        if base + offset < 0:
            # A damaged archive's wish, not the store's failure.
            raise OSError(errno.EINVAL, f"seek to {base + offset}")
        self._at = self._do(lambda file: file.seek(base + offset))
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = self._do(lambda file: file.read(len(view)))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        super().close()

    def _do(self, action: Callable[[IO[bytes]], T]) -> T:
        """Do `action` on the open file; after a failure on one that is opened again."""

        def once() -> T:
            try:
                return action(self._opened())
            except Exception:
                self._file = None
                raise

        return steadily(once, self._uri, self._retry)

    def _opened(self) -> IO[bytes]:
        if self._file is None:
            if protocol_of(self._uri) == LOCAL:
                self._file = _open_local(self._uri)
            else:
                fs, path = _place(self._uri)
                self._file = cast("IO[bytes]", fs.open(path, "rb"))
            if self._at:
                self._file.seek(self._at)
        return self._file
