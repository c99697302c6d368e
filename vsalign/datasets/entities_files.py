"""The published files of Flickr30k Entities, from a folder or straight from the zip: Annotations/ID.xml,
Sentences/ID.txt.
"""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO
from xml.etree import ElementTree

from vsalign.datasets.files import open_bytes
from vsalign.errors import InputError, MissingInputError, Reason

MAX_FILE_BYTES = 4 << 20  # the largest published file has 30 kB; a guess that stops a zip bomb

_KINDS = {"Annotations": ".xml", "Sentences": ".txt"}
_DECLARATIONS = re.compile(rb"<!(DOCTYPE|ENTITY)", re.IGNORECASE)


@dataclass(frozen=True)
class Annotation:
    """One Annotations/ID.xml."""

    uri: str
    width: int
    """px of the photograph that people drew on."""
    height: int
    boxes: list[tuple[tuple[str, ...], tuple[float, float, float, float]]]
    """(chain ids, (xmin, ymin, xmax, ymax)) of each object with a box: 1-based, inclusive, as in the file."""


class EntitiesFiles:
    """Annotations and sentences by ID; a context manager that closes the zip."""

    def __init__(self, path: str) -> None:
        """path: a folder with Annotations/ and Sentences/, or a zip with them at any depth; else
        MissingInputError.
        """
        self._path = path.rstrip("/")
        self._zip: zipfile.ZipFile | None = None
        self._bytes: IO[bytes] | None = None
        self._names: dict[tuple[str, str], str] = {}
        if Path(self._path).is_dir():
            names = [f"{kind}/{file.name}" for kind in _KINDS for file in Path(self._path, kind).glob("*")]
        else:
            self._bytes = open_bytes(self._path)
            try:
                self._zip = zipfile.ZipFile(self._bytes)
            except zipfile.BadZipFile as error:
                message = f"{path} is no complete zip ({error}); give the folder or zip of Flickr30k Entities."
                raise MissingInputError(message) from error
            names = self._zip.namelist()
        for name in names:
            folder, _, file = name.rpartition("/")
            kind = folder.rpartition("/")[2]
            if kind in _KINDS and file.endswith(_KINDS[kind]) and not file.startswith("."):
                self._names[kind, file.removesuffix(_KINDS[kind])] = name
        if not self._names:
            raise MissingInputError(
                f"{path} holds no Annotations/ID.xml and Sentences/ID.txt; "
                "give the folder or zip of Flickr30k Entities."
            )

    def __enter__(self) -> EntitiesFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._zip is not None:
            self._zip.close()
        if self._bytes is not None:
            self._bytes.close()

    def has(self, identity: str) -> bool:
        """Whether both files of this ID are there."""
        return all((kind, identity) in self._names for kind in _KINDS)

    def sentences(self, identity: str) -> list[str]:
        """The marked captions, blank lines left out; InputError where they are not UTF-8."""
        uri, content = self._read("Sentences", identity)
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(Reason.BAD_LINE, f"{uri} is not UTF-8 ({error.reason}).", uri) from error
        return [line.strip() for line in text.split("\n") if line.strip()]

    def annotation(self, identity: str) -> Annotation:
        """Size and boxes; InputError where the file is no such XML."""
        uri, content = self._read("Annotations", identity)
        # No published file declares anything; an entity declaration is how a small XML fills the memory.
        if _DECLARATIONS.search(content):
            raise InputError(Reason.BAD_BOXES, f"{uri} declares entities or a document type; it is refused.", uri)
        try:
            root = ElementTree.fromstring(content)
            width, height = int(_text(root, "size/width")), int(_text(root, "size/height"))
            if width < 1 or height < 1:
                raise ValueError(f"size {width} x {height}")
            return Annotation(uri, width, height, _objects(root))
        except (ElementTree.ParseError, ValueError) as error:
            raise InputError(Reason.BAD_BOXES, f"{uri} is no readable Entities annotation ({error}).", uri) from error

    def _read(self, kind: str, identity: str) -> tuple[str, bytes]:
        name = self._names[kind, identity]
        uri = f"{self._path}/{name}"
        try:
            if self._zip is None:
                return uri, Path(uri).read_bytes()
            if self._zip.getinfo(name).file_size > MAX_FILE_BYTES:
                raise InputError(Reason.TOO_LARGE, f"{uri} has more than {MAX_FILE_BYTES} bytes.", uri)
            return uri, self._zip.read(name)
        except (OSError, zipfile.BadZipFile) as error:
            raise InputError(Reason.READ_FAILED, f"{uri} cannot be read ({error}).", uri) from error


def _objects(root: ElementTree.Element) -> list[tuple[tuple[str, ...], tuple[float, float, float, float]]]:
    found = []
    for element in root.iter("object"):
        box = element.find("bndbox")
        if box is not None:
            chains = tuple(name.text.strip() for name in element.findall("name") if name.text)
            x1, y1, x2, y2 = (float(_text(box, side)) for side in ("xmin", "ymin", "xmax", "ymax"))
            found.append((chains, (x1, y1, x2, y2)))
    return found


def _text(element: ElementTree.Element, path: str) -> str:
    text = element.findtext(path)
    if text is None:
        raise ValueError(f"no <{path}>")
    return text.strip()
