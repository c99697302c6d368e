"""A folder as pyarrow's filesystem, for what writes through one: Ray Train's checkpoints."""

from __future__ import annotations

import tempfile
from typing import Any

import pyarrow as pa
from pyarrow.fs import FSSpecHandler

from vsalign.storage.folder import Folder


class SteadyHandler(FSSpecHandler):
    """Files at an object store that appear whole, passing failures tried again.

    fsspec's own files upload while they are written, and cannot begin anew: where the answer to the last piece is lost,
    the client asks again about an upload that is over, and takes a 404 for the end.
    """

    def __init__(self, folder: Folder) -> None:
        super().__init__(folder.fs)
        self._folder = folder

    def _name(self, path: str) -> str:
        return path.strip("/").removeprefix(self._folder.root.strip("/")).strip("/")

    def open_output_stream(self, path: str, metadata: Any) -> pa.PythonFile:
        """A file that is uploaded when it is closed; held on disk until then."""
        return pa.PythonFile(_UploadedAtClose(self._folder, self._name(path)), mode="w")

    def open_input_stream(self, path: str) -> pa.PythonFile:
        return self.open_input_file(path)

    def open_input_file(self, path: str) -> pa.PythonFile:
        """Raises FileNotFoundError."""
        return pa.PythonFile(self._folder.open(self._name(path)), mode="r")

    def delete_dir(self, path: str) -> None:
        """Delete the files below a folder; one that is gone, by an earlier try whose answer was lost, is no error."""
        for name in self._folder.names(self._name(path)):
            self._folder.remove(name)

    def delete_file(self, path: str) -> None:
        self._folder.remove(self._name(path))


class _UploadedAtClose:
    """What PythonFile asks of a file that is written."""

    def __init__(self, folder: Folder, name: str) -> None:
        self._folder, self._name = folder, name
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed with this one)

    @property
    def closed(self) -> bool:
        return self._file.closed

    def write(self, data: Any) -> int:
        return self._file.write(data)

    def tell(self) -> int:
        return self._file.tell()

    def flush(self) -> None:
        """Nothing is visible before the end."""

    def close(self) -> None:
        """Upload; raises TableError where that cannot be done."""
        if not self.closed:
            with self._file:
                self._folder.replace(self._name, self._file)
