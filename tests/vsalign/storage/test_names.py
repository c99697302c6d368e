"""Names of output folders are literal, on every filesystem."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import fsspec
import pytest

from vsalign.errors import ConfigurationError
from vsalign.storage import Folder, TableReader
from vsalign.storage.folder import split_url

ODD = [
    "photos d'été",
    'say "yes"',
    "a#b",
    "a?b",
    "a[1]",
    "a*b",
    "a%20b",
    "a::b",
    "$HOME `x`",
    "~",
    "a\nb",
    "-x",
    "été 写真",
]


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("kind", ["path", "file", "memory"])
def test_odd_names_are_taken_as_they_are(captions, tmp_path: Path, kind: str, name: str) -> None:
    root = f"memory://{uuid.uuid4().hex}" if kind == "memory" else f"{'file://' * (kind == 'file')}{tmp_path}"
    table = captions.other(url=f"{root}/{name}/table")
    table.run()
    assert TableReader(table.url, "captions").read().num_rows == 5
    assert len(Folder(table.url).names()) == 8
    assert table.run().rows_made == 0
    if kind == "memory":
        found = {path.split("/", 2)[2] for path in fsspec.filesystem("memory").store if root[9:] in path}
        assert f"{name}/table/_manifest.json" in found
    else:
        assert os.listdir(tmp_path) == [name]


def test_a_literal_name_is_not_a_pattern(captions, tmp_path: Path) -> None:
    """a[1] is another folder than a1."""
    captions.other(url=str(tmp_path / "a1")).run()
    assert Folder(str(tmp_path / "a[1]")).names() == []
    captions.other(url=str(tmp_path / "a[1]"), shards=[["fox"]]).run()
    assert TableReader(str(tmp_path / "a1"), "captions").rows == 5


def test_a_trailing_slash_and_a_relative_path_are_the_same_folder(captions, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    captions.other(url="made/here/").run()
    assert TableReader(str(tmp_path / "made" / "here"), "captions").rows == 5


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("boxes.json", (".", "boxes.json")),
        ("/boxes.json", ("/", "boxes.json")),
        ("a/b/boxes.json", ("a/b", "boxes.json")),
        ("memory://boxes.json", ("memory://", "boxes.json")),
        ("gs://bucket/a b.json", ("gs://bucket", "a b.json")),
    ],
)
def test_a_file_is_a_folder_and_a_name(url: str, parts: tuple[str, str]) -> None:
    assert split_url(url) == parts


def test_the_root_of_the_memory_filesystem_is_a_folder() -> None:
    name = uuid.uuid4().hex
    assert Folder("memory://").write_new(name, b"x")
    assert name in Folder("memory://").names()
    assert Folder("memory://").read(name) == b"x"


@pytest.mark.parametrize("url", ["", "nosuch://bucket/x", "simplecache::memory://x"])
def test_a_url_that_nothing_answers_to_is_one_sentence(url: str) -> None:
    with pytest.raises(ConfigurationError, match="empty folder name|cannot be opened"):
        Folder(url)
