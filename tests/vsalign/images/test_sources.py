"""What an input is planned into: literal names, a fixed order, counts for what is left out, reasons for the rest."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from vsalign.errors import ConfigurationError, InputError, MissingInputError, Reason
from vsalign.images import ImageInput, Retry, decode_image, list_images, read_images
from vsalign.images.names import SeenNames, escape, safe_path, unescape

AWKWARD = [
    "a[1].jpg", "a1.jpg", "a#b.jpg", "a?b.jpg", "a%20b.jpg", "a b.jpg", "a*b.jpg", "a::b.jpg", "ab.jpg", "a'd\"$`.jpg",
    "photos d'été.jpg", "~.jpg", " b.jpg ", "{a,b}.jpg", "a+b&c.jpg", "http:x.jpg", "\\x41.jpg", "日本.jpg",
]  # fmt: skip


def rows_of(listing: Any) -> list[dict[str, str]]:
    return [row for shard in listing for row in shard]


def content_of(rows: list[dict[str, str]]) -> dict[str, int]:
    """image_id -> the red of its one pixel."""
    return {image.image_id: int(decode_image(image.data or b"", image.uri)[0, 0, 0]) for image in read_images(rows)}


def write(root: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def test_awkward_names_read_their_own_content_from_a_local_folder(tmp_path: Path, dot: Any) -> None:
    expected = {name: number for number, name in enumerate(AWKWARD)}
    write(tmp_path, {name: dot(number) for name, number in expected.items()})
    for spelled in (str(tmp_path), f"file://{tmp_path}"):
        found = content_of(rows_of(list_images(ImageInput(spelled))))
        assert {unescape(name): red for name, red in found.items()} == expected


def test_awkward_names_read_their_own_content_from_an_object_store(memory: Any, dot: Any) -> None:
    expected = {name.strip(): number for number, name in enumerate(AWKWARD)}
    for name, number in expected.items():
        memory.pipe_file(f"/bucket/in/{name}", dot(number))
    found = content_of(rows_of(list_images(ImageInput("memory://bucket/in"))))
    assert {unescape(name): red for name, red in found.items()} == expected


@pytest.mark.parametrize("store", ["local", "memory"])
def test_awkward_names_in_a_list_are_literal(store: str, tmp_path: Path, memory: Any, dot: Any) -> None:
    expected = {name: number for number, name in enumerate(AWKWARD)}
    root = str(tmp_path / "in") if store == "local" else "memory://bucket/in"
    for name, number in expected.items():
        if store == "local":
            write(tmp_path / "in", {name: dot(number)})
        else:
            memory.pipe_file(f"/bucket/in/{name}", dot(number))
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"{root}/{name}\r\n" for name in expected), encoding="utf-8-sig", newline="")
    found = content_of(rows_of(list_images(ImageInput(str(listed), root=root))))
    assert {unescape(name): red for name, red in found.items()} == expected


def test_only_a_glob_globs(tmp_path: Path, memory: Any, dot: Any) -> None:
    write(tmp_path, {"a[1].jpg": dot(1), "a1.jpg": dot(2), "deep/er/a2.jpg": dot(3), "deep/b.png": dot(4)})
    for name in ("a[1].jpg", "a1.jpg", "deep/er/a2.jpg", "deep/b.png"):
        memory.pipe_file(f"/in/{name}", (tmp_path / name).read_bytes())
    for root in (str(tmp_path), "memory://in"):
        assert content_of(rows_of(list_images(ImageInput(f"{root}/a[1].jpg")))) == {"a[1].jpg": 1}
        assert content_of(rows_of(list_images(ImageInput(f"{root}/a[1].jpg", kind="glob")))) == {"a1.jpg": 2}
        assert content_of(rows_of(list_images(ImageInput(f"{root}/a?.jpg")))) == {"a1.jpg": 2}
        assert content_of(rows_of(list_images(ImageInput(f"{root}/**/a*.jpg")))) == {
            "a1.jpg": 2, "a[1].jpg": 1, "deep/er/a2.jpg": 3,
        }  # fmt: skip
        assert content_of(rows_of(list_images(ImageInput(f"{root}/d*")))) == {"deep/b.png": 4, "deep/er/a2.jpg": 3}
        assert content_of(rows_of(list_images(ImageInput(f"{root}/deep/**")))) == {"b.png": 4, "er/a2.jpg": 3}
        with pytest.raises(MissingInputError, match="looked for files that match"):
            rows_of(list_images(ImageInput(f"{root}/*.gif")))


def test_folder_is_planned_in_order_and_litter_is_counted(tmp_path: Path, dot: Any) -> None:
    pictures = ["a/0001.jpg", "a/0001.png", "b/0001.jpg", "b/.hidden.jpg", "noextension", "z.JPG", "odd.xyz"]
    litter = [
        "__MACOSX/._a.jpg", "__MACOSX/a.jpg", "a/._0001.jpg", ".DS_Store", "Thumbs.db", "a/desktop.ini",
        ".ipynb_checkpoints/c.jpg", ".git/HEAD",
    ]  # fmt: skip
    other = ["captions.txt", "a/meta.json", "film.mp4"]
    write(tmp_path, {name: dot(1) for name in (*pictures, *litter, *other)})
    listing = list_images(ImageInput(str(tmp_path), shard_size=3))
    shards = list(listing)
    assert [len(shard) for shard in shards] == [3, 3, 1]
    assert [row["image_id"] for shard in shards for row in shard] == sorted(pictures)
    assert (listing.listed, listing.litter, listing.other, listing.duplicates) == (7, len(litter), 3, 0)
    assert list(listing) == shards and listing.listed == 7


def test_folder_may_hold_archives_each_a_shard_of_its_own(tmp_path: Path, dot: Any) -> None:
    with tarfile.open(tmp_path / "m.tar", "w") as tar:
        header = tarfile.TarInfo("x.jpg")
        header.size = len(dot(5))
        tar.addfile(header, io.BytesIO(dot(5)))
    write(tmp_path, {"a.png": dot(1), "n.7z": b"7z", "z.png": dot(2)})
    listing = list_images(ImageInput(str(tmp_path)))
    shards = list(listing)
    assert [[row["image_id"] for row in shard] for shard in shards] == [["m.tar"], ["a.png", "n.7z", "z.png"]]
    assert (listing.listed, listing.archives) == (4, 1)
    found = [image for shard in shards for image in read_images(shard)]
    assert [image.image_id for image in found] == ["m.tar/x.jpg", "a.png", "n.7z", "z.png"]
    assert found[0].uri == f"{tmp_path}/m.tar!/x.jpg"
    assert found[2].error is not None and found[2].error.reason is Reason.UNSUPPORTED


def test_links_that_lead_out_are_not_followed(tmp_path: Path, dot: Any) -> None:
    write(tmp_path, {"out/secret.jpg": dot(9), "in/a.jpg": dot(1), "in/sub/b.jpg": dot(2)})
    root = tmp_path / "in"
    (root / "away.jpg").symlink_to(tmp_path / "out/secret.jpg")
    (root / "awayfolder").symlink_to(tmp_path / "out")
    (root / "loop").symlink_to(root)
    (root / "same.jpg").symlink_to(root / "a.jpg")
    (root / "broken.jpg").symlink_to(root / "gone.jpg")
    os.mkfifo(root / "pipe.jpg")
    listing = list_images(ImageInput(str(root)))
    rows = rows_of(listing)
    assert [row["image_id"] for row in rows] == ["a.jpg", "broken.jpg", "same.jpg", "sub/b.jpg"]
    assert (listing.links, listing.other) == (3, 1)
    reasons = [image.error and image.error.reason for image in read_images(rows)]
    assert reasons == [None, Reason.NOT_FOUND, None, None]


def test_names_that_are_no_utf8_become_valid_unique_and_stay_readable(tmp_path: Path, dot: Any) -> None:
    names = [b"a\xff.jpg", b"a\xfe.jpg", rb"a\xff.jpg", rb"a\x5cxff.jpg", "é.jpg".encode()]
    for number, name in enumerate(names):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(dot(number))
    rows = rows_of(list_images(ImageInput(str(tmp_path))))
    for row in rows:
        row["image_id"].encode() and row["uri"].encode()
    assert len({row["image_id"] for row in rows}) == len(names)
    assert {os.fsencode(unescape(name)): red for name, red in content_of(rows).items()} == {
        name: number for number, name in enumerate(names)
    }


def test_escape_is_reversible() -> None:
    for name in ("plain", "é", "a\udcffb", "\\xff", "\\x5cxff", "\\\\x41", "\\u0041", "\ud800", "a\\b", "\\x5c"):
        assert unescape(escape(name)) == name
        escape(name).encode()


def test_list_counts_repetitions_and_names_ids_that_two_uris_share(tmp_path: Path, memory: Any, dot: Any) -> None:
    write(tmp_path, {"x/a.jpg": dot(1), "x/b.jpg": dot(2)})
    memory.pipe_file("/x/a.jpg", dot(3))
    listed = tmp_path / "list.lst"
    listed.write_text(
        f"x/a.jpg\n\n{tmp_path}/x/a.jpg\nx/a.jpg\nmemory://x/a.jpg\nx/b.jpg\n./x/b.jpg\nx/none.jpg\nx/._b.jpg"
    )
    listing = list_images(ImageInput(str(listed)))
    rows = rows_of(listing)
    local = f"{tmp_path}/x/a.jpg".lstrip("/")
    assert [(row["image_id"], row["kind"]) for row in rows] == [
        ("x/a.jpg", "image"), (local, "image"), ("x/a.jpg", "error"), ("x/b.jpg", "image"), ("x/none.jpg", "image"),
    ]  # fmt: skip
    assert (listing.listed, listing.duplicates, listing.litter) == (5, 2, 1)
    assert "line 5" in rows[2]["message"] and "line 1" in rows[2]["message"]
    reasons = [image.error and image.error.reason for image in read_images(rows)]
    assert reasons == [None, None, Reason.DUPLICATE_ID, None, Reason.NOT_FOUND]


def test_list_may_name_archives_and_names_that_lead_out_are_errors(tmp_path: Path, memory: Any) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("memory://b/x.tar\nmemory://b/../x.jpg\nfoo://b/x.jpg\n/dev/zero\nmemory://b\n")
    shards = list(list_images(ImageInput(str(listed))))
    assert [[row["kind"] for row in shard] for shard in shards] == [["archive"], ["error", "image", "image", "image"]]
    found = [image for shard in shards for image in read_images(shard)]
    assert [image.error.reason for image in found if image.error] == [
        Reason.NOT_FOUND, Reason.UNSAFE_PATH, Reason.NOT_FOUND, Reason.NOT_FOUND, Reason.NOT_FOUND,
    ]  # fmt: skip
    assert found[0].archive_level


def test_one_picture_is_an_input_too(tmp_path: Path, dot: Any) -> None:
    write(tmp_path, {"a b.jpg": dot(7)})
    assert content_of(rows_of(list_images(ImageInput(f"{tmp_path}/a b.jpg")))) == {"a b.jpg": 7}


def test_missing_empty_and_wrong_inputs_are_one_sentence(tmp_path: Path, memory: Any, dot: Any) -> None:
    write(tmp_path, {"full/a.jpg": dot(1), "empty/x.txt": b"", "full/c.csv": b"", "binary.txt": b"\0\1\2"})
    (tmp_path / "nothing.txt").write_text("\n\n")
    cases: list[tuple[ImageInput, type[Exception], str]] = [
        (ImageInput(f"{tmp_path}/none"), MissingInputError, "there is no file or folder"),
        (ImageInput("memory://none"), MissingInputError, "there is no file or folder memory://none"),
        (ImageInput(f"{tmp_path}/empty"), MissingInputError, "holds nothing to read.*1 with another extension"),
        (ImageInput(f"{tmp_path}/nothing.txt"), MissingInputError, "looked for one URI a line"),
        (ImageInput(f"{tmp_path}/gone/*.jpg"), MissingInputError, "NotADirectory|FileNotFound"),
        (ImageInput("memory://gone/*.jpg"), MissingInputError, "the input memory://gone: cannot be read"),
        (ImageInput(f"{tmp_path}/full/c.csv"), ConfigurationError, "set kind to say what it is"),
        (ImageInput(f"{tmp_path}/full", kind="archive"), MissingInputError, "is a folder, not a archive"),
        (ImageInput(f"{tmp_path}/full/a.jpg", kind="folder"), MissingInputError, "is a file, not a folder"),
        (ImageInput(f"{tmp_path}/binary.txt"), ConfigurationError, "is not a list of URIs"),
        (ImageInput("nosuch://bucket"), ConfigurationError, "nosuch:// cannot be read here"),
    ]
    for spec, error, message in cases:
        with pytest.raises(error, match=message):
            rows_of(list_images(spec, Retry(0, 0)))
    with pytest.raises(ConfigurationError, match="shard_size is 0"):
        ImageInput("x", shard_size=0)
    with pytest.raises(ConfigurationError, match="input is empty"):
        ImageInput("")


def test_unreadable_folder_inside_the_input_is_an_error_row(memory: Any, dot: Any, monkeypatch: Any) -> None:
    memory.pipe_file("/in/a.jpg", dot(1))
    memory.pipe_file("/in/bad/b.jpg", dot(2))
    ls = type(memory).ls

    def failing(self: Any, path: str, **options: Any) -> Any:
        if path.endswith("bad"):
            raise PermissionError(path)
        return ls(self, path, **options)

    monkeypatch.setattr(type(memory), "ls", failing)
    rows = rows_of(list_images(ImageInput("memory://in")))
    assert [(row["image_id"], row["kind"], row["reason"]) for row in rows] == [
        ("a.jpg", "image", ""), ("bad", "error", "READ_FAILED"),
    ]  # fmt: skip
    assert [type(image.error) for image in read_images(rows)] == [type(None), InputError]


def test_names_seen_before_are_found_again_among_many() -> None:
    seen = SeenNames()
    assert all(seen.add(f"name {n}", "x", n) is None for n in range(20_000))
    assert all(seen.add(f"name {n}", "x", 0) == (True, n) for n in range(0, 20_000, 7))
    assert seen.add("name 3", "y", 0) == (False, 3)


@pytest.mark.parametrize("name", ["/a", "../a", "a/../b", "a/..", "a\0b", "", ".", "./"])
def test_path_that_leads_out_is_not_safe(name: str) -> None:
    assert safe_path(name) is None and safe_path(name, foreign=True) is None


@pytest.mark.parametrize("name", ["a\\..\\b", "..\\b", "C:\\a", "c:/a", "\\a", "\\\\server\\a"])
def test_foreign_path_is_judged_by_windows_rules_too(name: str) -> None:
    assert safe_path(name, foreign=True) is None


def test_safe_path_is_normalised_but_keeps_its_characters() -> None:
    assert safe_path("./a//b/./c.v1.jpg") == "a/b/c.v1.jpg"
    for name in ("a\\b..jpg", "a::b.jpg", "c:a.jpg", "..a/b.."):
        assert safe_path(name, foreign=True) == safe_path(name) == name


def test_spellings_of_one_path_in_a_list_are_one_id(tmp_path: Path, dot: Any) -> None:
    write(tmp_path, {"a/x.jpg": dot(1)})
    listed = tmp_path / "list.txt"
    listed.write_text("a/x.jpg\na/./x.jpg\n./a//x.jpg\n")
    listing = list_images(ImageInput(str(listed)))
    assert [row["image_id"] for row in rows_of(listing)] == ["a/x.jpg"]
    assert listing.duplicates == 2


def test_spellings_of_one_path_in_a_store_are_one_id(tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("memory://b/a/x.jpg\nmemory://b/a/./x.jpg\n")
    rows = rows_of(list_images(ImageInput(str(listed), root="memory://b")))
    assert [(row["image_id"], row["kind"], row["reason"]) for row in rows] == [
        ("a/x.jpg", "image", ""),
        ("a/x.jpg", "error", "DUPLICATE_ID"),
    ]


def test_counted_shards_leave_what_was_skipped_at_their_end(tmp_path: Path, dot: Any) -> None:
    write(tmp_path, {"a.png": dot(1), "b.png": dot(2), "notes.txt": b"x", "Thumbs.db": b"x", "c.tar": b""})
    listing = list_images(ImageInput(str(tmp_path), shard_size=1))
    counts: dict[str, int] = {}
    shards = listing.counted(counts)
    assert next(shards)[0]["image_id"] == "a.png" and not counts
    assert len(list(shards)) == 2
    assert counts == {"archives": 1, "litter": 1, "other": 1}


def test_facts_tell_pictures_of_other_options_apart(tmp_path: Path, dot: Any) -> None:
    write(tmp_path, {"a.png": dot(1)})
    facts = list_images(ImageInput(str(tmp_path), shard_size=3)).facts()
    assert facts == {
        "images": str(tmp_path), "kind": "folder", "root": "", "bytes_column": "", "id_column": "", "shard_size": 3,
    }  # fmt: skip
