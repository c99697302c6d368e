"""A folder at any fsspec URL, with the few operations that a commit needs; every file appears whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import time
import uuid
from collections.abc import Callable
from typing import IO, Any, TypeVar, cast

import fsspec
import pyarrow as pa
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from vsalign.errors import ConfigurationError, StoreError, TableError
from vsalign.storage.layout import TEMPORARY_SUFFIX

PAUSES = (0.1, 0.5)
"""Seconds before what failed is tried again; the cloud clients try longer by themselves."""

NO_USE_TRYING_AGAIN = (PermissionError, NotADirectoryError, IsADirectoryError, FileExistsError)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENAMETOOLONG)
REFUSED = (401, 403)
"""HTTP statuses, where a client's error has one."""

NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
"""What `link` answers where a filesystem has no hard links (FAT, some network mounts)."""

COPIED_AT_ONCE = 1 << 20

T = TypeVar("T")


class Folder:
    """A folder at `url` (a local path, file://, memory://, gs://, s3://, ...). Names below it are literal.

    Raises ConfigurationError where no filesystem answers to the URL's protocol.
    """

    def __init__(self, url: str) -> None:
        self.fs, self.root = _filesystem(url)
        self.url = url if url.endswith("://") else url.rstrip("/") or url
        self.local = isinstance(self.fs, LocalFileSystem)

    def path(self, name: str) -> str:
        """The filesystem's own path of the file `name`."""
        return f"{self.root}/{name}" if name else self.root

    def exists(self, name: str) -> bool:
        """Whether there is such a file now."""
        try:  # fsspec's own `exists` says False whatever fails
            self._answered(name, lambda: self.fs.info(self.path(name)))
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def read(self, name: str) -> bytes:
        """The bytes of a file; raises FileNotFoundError."""
        try:
            return self._answered(name, lambda: cast(bytes, self.fs.cat_file(self.path(name))))
        except NotADirectoryError as error:
            raise FileNotFoundError(self.path(name)) from error

    def open(self, name: str) -> IO[bytes]:
        """A readable, seekable file; raises FileNotFoundError, and TableError where a store fails, also later.

        So an OSError while a Parquet file is read from it is Arrow's, and says that the file is damaged. A local file
        is Arrow's own: its threads then never call Python, which aborts a process that is just ending.
        """
        path = self.path(name)
        opened = (lambda: pa.OSFile(path)) if self.local else (lambda: self.fs.open(path, "rb"))
        try:
            file = cast("IO[bytes]", self._answered(name, opened))
        except NotADirectoryError as error:
            raise FileNotFoundError(path) from error
        if self.local:
            return file
        return cast("IO[bytes]", io.BufferedReader(_Answering(file, lambda ask: self._answered(name, ask))))

    def write_new(self, name: str, data: bytes | IO[bytes]) -> bool:
        """Create a file whole; False, and nothing changed, where one of that name exists already.

        `data` may be a seekable file, of which everything is written. On object stores this is one exclusive upload,
        for which it is read into memory. Locally a temporary file is linked to its name, since
        `with fs.open(...)` would publish half a file when something raises inside.
        Raises TableError where it cannot be written.
        """
        if self.local:
            return self._persistently(name, lambda: self._through_temporary(name, data, _link))
        content = data if isinstance(data, bytes) else _whole(data)
        return self._persistently(name, lambda: self._create(name, content))

    def replace(self, name: str, data: bytes | IO[bytes]) -> None:
        """Write a file whole, in place of one of that name; `data` as `write_new`'s.

        Raises TableError where it cannot be written.
        """
        if self.local:
            self._persistently(name, lambda: self._through_temporary(name, data, _replace))
        else:
            content = data if isinstance(data, bytes) else _whole(data)
            self._persistently(name, lambda: self._overwrite(name, content))

    def names(self, prefix: str = "") -> list[str]:
        """The names of the files below the folder `prefix`, sorted, as they are in the store now."""
        self.fs.invalidate_cache()
        try:
            found = self._answered(prefix, lambda: self._find(self.path(prefix).rstrip("/")))
        except (FileNotFoundError, NotADirectoryError):
            return []
        root = self.root + "/"
        return sorted(path[len(root) :] for path in found if path.startswith(root))

    def remove(self, name: str) -> None:
        """Delete a file; no error where another run was faster. Raises TableError where it cannot be deleted."""
        self._persistently(name, lambda: self._delete(name), "deleted")

    def _answered(self, name: str, question: Callable[[], T]) -> T:
        """What `question` answers, tried again; all but a file's absence (a 401, a client's own) is a TableError."""
        remedy = "check the address and that this account may read it, then run the same command again"
        return self._steadily(name, question, "read", remedy, told=(FileNotFoundError, NotADirectoryError))

    def _persistently(self, name: str, attempt: Callable[[], bool], done: str = "written") -> bool:
        """What `attempt` answers, tried again where it fails for a reason that may pass.

        An upload can succeed and its answer be lost; so a later try that finds the name taken is not believed: the
        callers compare what they find (`ShardWriter.commit`).
        """
        remedy = "mend that, or name another folder, then run the same command again"
        return self._steadily(name, attempt, done, remedy)

    def _steadily(
        self, name: str, attempt: Callable[[], T], done: str, remedy: str, told: tuple[type[Exception], ...] = ()
    ) -> T:
        """What `attempt` gives; `told` is raised as it is, what may pass tried again, the rest a TableError."""
        for pause in (*PAUSES, None):
            try:
                return attempt()
            except told:
                raise
            except Exception as error:  # each store's client raises its own family of exceptions
                if pause is None or _lasting(error):
                    raise self._failure(name, done, error, remedy) from error
                time.sleep(pause)
        raise AssertionError("the last try returns or raises")

    def _failure(self, name: str, done: str, error: Exception, remedy: str) -> TableError:
        kind = TableError if _lasting(error) else StoreError
        return kind(f"{self.url}/{name} cannot be {done} ({type(error).__name__}: {error}): {remedy}")

    def _find(self, path: str) -> list[str]:
        """The files below a folder; fsspec passes over folders that it cannot list, where it walks through them."""
        if self.local:
            walked = os.walk(path, onerror=_unless_gone)
            return [os.path.join(folder, file) for folder, _, files in walked for file in files]
        walks = not self.fs.async_impl and type(self.fs).find is AbstractFileSystem.find
        return cast("list[str]", self.fs.find(path, **({"on_error": _unless_gone} if walks else {})))

    def _delete(self, name: str) -> bool:
        with contextlib.suppress(FileNotFoundError):
            self.fs.rm_file(self.path(name))
        return True

    def _create(self, name: str, data: bytes) -> bool:
        try:
            self.fs.pipe_file(self.path(name), data, mode="create")
        except FileExistsError:
            return False
        return True

    def _overwrite(self, name: str, data: bytes) -> bool:
        self.fs.pipe_file(self.path(name), data)
        return True

    def _through_temporary(self, name: str, data: bytes | IO[bytes], publish: Callable[[str, str], bool]) -> bool:
        final = self.path(name)
        folder, base = os.path.split(final)
        os.makedirs(folder, exist_ok=True)
        temporary = os.path.join(folder, f".{base}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")
        try:
            with open(temporary, "wb") as file:
                if isinstance(data, bytes):
                    file.write(data)
                else:
                    data.seek(0)
                    shutil.copyfileobj(data, file, COPIED_AT_ONCE)
                file.flush()
                os.fsync(file.fileno())
            return publish(temporary, final)
        finally:
            with contextlib.suppress(FileNotFoundError):  # replaced, or swept by a run beside this one
                os.unlink(temporary)


class _Answering(io.RawIOBase):
    """A file of a store, whose failures are told as `answered` tells them."""

    def __init__(self, file: IO[bytes], answered: Callable[[Callable[[], int | bytes]], int | bytes]) -> None:
        super().__init__()
        self._file, self._answered = file, answered

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return cast(int, self._answered(lambda: self._file.seek(offset, whence)))

    def readinto(self, buffer: Any) -> int:
        return cast(int, self._answered(lambda: cast(Any, self._file).readinto(buffer)))

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def _lasting(error: Exception) -> bool:
    """Whether a failure will be the same next time, as far as the error tells."""
    refused = {getattr(error, name, None) for name in ("code", "status", "status_code")} & {*REFUSED}
    return isinstance(error, NO_USE_TRYING_AGAIN) or getattr(error, "errno", None) in FULL or bool(refused)


def _unless_gone(error: OSError) -> None:
    """Let a listing go on where a folder has just been deleted."""
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        raise error


def _whole(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def split_url(url: str) -> tuple[str, str]:
    """The folder and the name of a file's URL or path."""
    folder, slash, name = url.rpartition("/")
    if folder.endswith(":/"):  # memory://name
        return folder + "/", name
    return folder or slash or ".", name


def _link(temporary: str, final: str) -> bool:
    try:
        os.link(temporary, final)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        return _claim_and_replace(temporary, final)
    return True


def _claim_and_replace(temporary: str, final: str) -> bool:
    """Without hard links: an empty file claims the name. Killed in between, it counts as damaged and is made anew."""
    try:
        os.close(os.open(final, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return _replace(temporary, final)


def _replace(temporary: str, final: str) -> bool:
    os.replace(temporary, final)
    return True


def _filesystem(url: str) -> tuple[Any, str]:
    """The filesystem of a URL and the path in it. Chains (`::`) are not followed: names are literal."""
    if not url:
        raise ConfigurationError("an empty folder name was given: name a path or a URL such as gs://bucket/folder")
    protocol = url.split("://", 1)[0] if "://" in url else "file"
    try:
        # Cached listings hide files that another worker has written.
        fs = fsspec.filesystem(protocol, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise ConfigurationError(
            f"{url!r} cannot be opened: no filesystem for {protocol}:// is installed ({error})"
        ) from error
    if isinstance(fs, LocalFileSystem):
        path = url.removeprefix(f"{protocol}://") if "://" in url else os.path.expanduser(url)
        return fs, os.path.abspath(path).rstrip("/")
    if protocol == "memory":  # fsspec leaves out the leading slash of a path that holds `::`
        return fs, "/" + url.removeprefix("memory://").strip("/") if url.strip("/") != "memory:" else ""
    return fs, str(fs._strip_protocol(url)).rstrip("/")
