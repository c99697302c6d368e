"""Members of archives keep their whole names, and an archive that ended early says so."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from vsalign.errors import ConfigurationError, Reason
from vsalign.images import ImageInput, ReadImage, ReadOptions, decode_image, list_images, read_images

COMPRESSED = {"tar": "w", "tar.gz": "w:gz", "tgz": "w:gz", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}


def tar_of(files: list[tuple[str, bytes]], mode: str = "w", fmt: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode, format=fmt) as tar:  # type: ignore[call-overload]
        for name, data in files:
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    return file.getvalue()


def zip_of(files: list[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return file.getvalue()


def read(
    path: Path, data: bytes, options: ReadOptions | None = None, counts: Counter[str] | None = None
) -> list[ReadImage]:
    path.write_bytes(data)
    (shard,) = list_images(ImageInput(str(path), kind="archive"))
    return list(read_images(shard, options or ReadOptions(), counts))


def reds(images: list[ReadImage]) -> dict[str, int]:
    return {
        image.image_id: int(decode_image(image.data, image.uri)[0, 0, 0]) for image in images if image.data is not None
    }


def reasons(images: list[ReadImage]) -> list[tuple[str, Reason, bool]]:
    return [(image.image_id, image.error.reason, image.archive_level) for image in images if image.error]


@pytest.mark.parametrize("suffix", [*COMPRESSED, "zip"])
def test_id_is_the_archive_and_the_members_whole_name(suffix: str, tmp_path: Path, dot: Any) -> None:
    names = ["0.jpg", "1.jpg", "a.v1.jpg", "a.v2.jpg", "train.v1/0001.jpg", "a/0001.jpg", "b/0001.jpg", "a/0001.png",
             ".hidden.jpg", "noextension", "photos d'été/日本 #?%20[1].jpg"]  # fmt: skip
    files = [(name, dot(number)) for number, name in enumerate(names)]
    extra = [("0.txt", b"a"), ("1.txt", b"b"), ("__MACOSX/._a.jpg", b"\0\5\x16\7"), ("._a.jpg", b"\0\5\x16\7"),
             (".DS_Store", b"x"), ("Thumbs.db", b"x"), (".ipynb_checkpoints/c.jpg", dot(0)),
             ("apple.jpg", b"\0\5\x16\7\0\2")]  # fmt: skip
    data = zip_of(files + extra) if suffix == "zip" else tar_of(files + extra, COMPRESSED[suffix])
    counts: Counter[str] = Counter()
    images = read(tmp_path / f"x.{suffix}", data, counts=counts)
    assert reds(images) == {f"x.{suffix}/{name}": number for number, name in enumerate(names)}
    assert [image.image_id for image in images] == [f"x.{suffix}/{name}" for name in names]
    assert images[0].uri == f"{tmp_path}/x.{suffix}!/0.jpg"
    assert counts == {"litter": 6, "other": 2}


def test_content_decides_which_archive_it_is(tmp_path: Path, dot: Any) -> None:
    assert reds(read(tmp_path / "x.tar", zip_of([("a.png", dot(1))]))) == {"x.tar/a.png": 1}
    assert reds(read(tmp_path / "x.zip", tar_of([("a.png", dot(1))], "w:gz"))) == {"x.zip/a.png": 1}


@pytest.mark.parametrize("fmt", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize(
    "place", ["between members", "inside a header", "inside data", "inside padding", "at half the end"]
)
def test_cut_tar_keeps_its_good_members_and_is_incomplete(place: str, fmt: int, tmp_path: Path, dot: Any) -> None:
    data = tar_of([("0.png", dot(0)), ("1.png", dot(1)), ("2.png", dot(2))], fmt=fmt)
    size = len(dot(0))
    cut = {
        "between members": 2048, "inside a header": 2048 + 100, "inside data": 1024 + 512 + size // 2,
        "inside padding": 2048 - 10, "at half the end": 3072 + 100,
    }[place]  # fmt: skip
    images = read(tmp_path / "x.tar", data[:cut])
    good = {"inside data": 1, "inside padding": 2, "at half the end": 3}.get(place, 2)
    assert list(reds(images)) == [f"x.tar/{n}.png" for n in range(good)]
    assert reasons(images) == [("x.tar", Reason.INCOMPLETE, True)]
    assert str(tmp_path / "x.tar") in images[-1].error.message  # type: ignore[union-attr]


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_cut_compressed_tar_keeps_its_good_members(mode: str, tmp_path: Path, photograph: Any, encode: Any) -> None:
    pictures = [(f"{n}.png", encode(photograph, "PNG", compress_level=n % 9 + 1)) for n in range(40)]
    data = tar_of(pictures, mode)
    whole = read(tmp_path / "x.tar.gz", data)
    assert len(whole) == 40 and not reasons(whole)
    images = read(tmp_path / "x.tar.gz", data[: len(data) // 2])
    assert reasons(images) == [("x.tar.gz", Reason.INCOMPLETE, True)]
    if mode == "w:gz":
        assert 10 < len(images) < 30
    assert reasons(read(tmp_path / "x.tar.gz", data[:-4])) == [("x.tar.gz", Reason.INCOMPLETE, True)]


def test_damaged_header_and_data_behind_the_end_are_incomplete(tmp_path: Path, dot: Any) -> None:
    data = bytearray(tar_of([("0.png", dot(0)), ("1.png", dot(1))]))
    data[1024 + 150] ^= 0xFF
    images = read(tmp_path / "x.tar", bytes(data))
    assert list(reds(images)) == ["x.tar/0.png"] and reasons(images) == [("x.tar", Reason.INCOMPLETE, True)]
    joined = tar_of([("0.png", dot(0))]) + tar_of([("1.png", dot(1))])
    images = read(tmp_path / "x.tar", joined)
    assert list(reds(images)) == ["x.tar/0.png"] and reasons(images) == [("x.tar", Reason.INCOMPLETE, True)]


def test_tar_of_many_read_blocks_is_whole(tmp_path: Path, dot: Any) -> None:
    # The end-of-archive blocks fall on every place in the reader's blocks.
    for size in (0, 260_000, 261_000, 262_144 - 1536, 262_144 - 1024, 300_000):
        images = read(
            tmp_path / "x.tar",
            tar_of([("0.png", dot(3)), ("b.txt", bytes(size))])[: 1024 + 512 + -(-size // 512) * 512 + 1024],
        )
        assert reds(images) == {"x.tar/0.png": 3} and not reasons(images), size


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_zip_without_its_directory_is_incomplete_and_gives_what_lies_before_the_cut(
    method: int, tmp_path: Path, dot: Any
) -> None:
    files = [("0.png", dot(0)), ("a/", b""), ("._1.png", b"x"), ("\u00e9.png", dot(1)), ("../2.png", dot(2)),
             ("3.png", dot(3))]  # fmt: skip
    data = zip_of(files, method)
    last = data.rindex(b"PK\3\4")
    kept = {"x.zip/0.png": 0, "x.zip/\u00e9.png": 1}
    for cut, whole in ((len(data) - 30, 1), (data.index(b"PK\1\2"), 1), (data.index(b"PK\1\2") - 1, 0), (last + 9, 0)):
        counts: Counter[str] = Counter()
        images = read(tmp_path / "x.zip", data[:cut], counts=counts)
        assert reds(images) == kept | ({"x.zip/3.png": 3} if whole else {})
        assert reasons(images) == [
            ("x.zip/../2.png", Reason.UNSAFE_PATH, False),
            ("x.zip", Reason.INCOMPLETE, True),
        ]
        assert counts["litter"] == 1
    assert reasons(read(tmp_path / "x.zip", data[:20])) == [("x.zip", Reason.INCOMPLETE, True)]


def test_a_cut_zip_is_read_as_safely_as_a_whole_one(tmp_path: Path, dot: Any) -> None:
    data = zip_of([("0.png", dot(0)), ("1.png", bytes(5000)), ("2.png", dot(2))], zipfile.ZIP_DEFLATED)
    second = data.index(b"PK\3\4", 1)
    directory = data.index(b"PK\1\2")

    def cut(*changes: tuple[int, bytes], limit: int = 4000) -> list[tuple[str, Reason, bool]]:
        spoiled = bytearray(data[:directory])
        for place, change in changes:
            spoiled[place : place + len(change)] = change
        images = read(tmp_path / "x.zip", bytes(spoiled), options=ReadOptions(max_member_bytes=limit))
        assert images[0].image_id == "x.zip/0.png" and images[0].data
        return [(image_id, reason, whole) for image_id, reason, whole in reasons(images) if not whole]

    assert cut() == [("x.zip/1.png", Reason.TOO_LARGE, False)]
    assert cut(limit=6000) == []
    # Encrypted; by a method that is not read; damaged content; another size than its content's, a bomb's too.
    for change, reason in (
        ((6, b"\1"), Reason.UNSUPPORTED),
        ((8, b"\x63"), Reason.UNSUPPORTED),
        ((40, b"\xff\xff"), Reason.CORRUPT),
        ((22, b"\1\0\0\0"), Reason.CORRUPT),
    ):
        assert cut((second + change[0], change[1]), limit=6000) == [("x.zip/1.png", reason, False)]
    assert cut((second + 6, b"\x08"), limit=6000) == []  # sizes behind it: what follows cannot be found


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", Reason.EMPTY), (b"<html>not here</html>" * 100, Reason.CORRUPT), (b"PAR1abcPAR1", Reason.INCOMPLETE)],
)
def test_file_that_is_no_archive(data: bytes, reason: Reason, tmp_path: Path) -> None:
    assert reasons(read(tmp_path / "x.tar", data)) == [("x.tar", reason, True)]


@pytest.mark.parametrize("make", [tar_of, zip_of])
def test_unsafe_and_repeated_members_are_errors_that_name_them(make: Any, tmp_path: Path, dot: Any) -> None:
    files = [("a.png", dot(0)), ("../b.png", dot(1)), ("c/../../d.png", dot(2)), ("..\\e.png", dot(3)),
             ("C:\\f.png", dot(4)), ("./a.png", dot(5)), ("in.zip", b"PK")]  # fmt: skip
    if make is tar_of:
        files.append(("/g.png", dot(6)))
    images = read(tmp_path / "x.arc", make(files))
    assert reds(images) == {"x.arc/a.png": 0}
    found = [reason for _, reason, whole in reasons(images) if not whole]
    assert found[:6] == [Reason.UNSAFE_PATH] * 4 + [Reason.DUPLICATE_ID, Reason.UNSUPPORTED]
    assert "members 1 and 6" in images[5].error.message and "!/a.png" in images[5].error.message  # type: ignore[union-attr]


def test_links_and_devices_in_a_tar_are_errors(tmp_path: Path, dot: Any) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, kind in (
            ("s.jpg", tarfile.SYMTYPE),
            ("h.jpg", tarfile.LNKTYPE),
            ("d.jpg", tarfile.CHRTYPE),
            ("f", tarfile.DIRTYPE),
        ):
            header = tarfile.TarInfo(name)
            header.type, header.linkname = kind, "/etc/passwd"
            tar.addfile(header)
    images = read(tmp_path / "x.tar", file.getvalue())
    assert reasons(images) == [(f"x.tar/{name}.jpg", Reason.UNSAFE_PATH, False) for name in "shd"]


def test_oversized_members_are_passed_over(tmp_path: Path, dot: Any) -> None:
    limit = ReadOptions(max_member_bytes=1000)
    files = [("bomb.png", bytes(5_000_000)), ("a.png", dot(1))]
    for data in (tar_of(files), tar_of(files, "w:gz"), zip_of(files)):
        images = read(tmp_path / "x.arc", data, limit)
        assert reds(images) == {"x.arc/a.png": 1}
        assert reasons(images) == [("x.arc/bomb.png", Reason.TOO_LARGE, False)]
    (tmp_path / "big.png").write_bytes(bytes(1001))
    (image,) = read_images([{"image_id": "big.png", "uri": f"{tmp_path}/big.png", "kind": "image"}], limit)
    assert image.error is not None and image.error.reason is Reason.TOO_LARGE


def test_header_that_announces_more_than_there_is_ends_soon(tmp_path: Path, dot: Any) -> None:
    header = tarfile.TarInfo("a.png")
    header.size = 2**62
    images = read(
        tmp_path / "x.tar", tar_of([("0.png", dot(0))])[:1024] + header.tobuf(tarfile.GNU_FORMAT) + bytes(2048)
    )
    assert reasons(images) == [("x.tar/a.png", Reason.TOO_LARGE, False), ("x.tar", Reason.INCOMPLETE, True)]
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, 2**40
    images = read(tmp_path / "x.tar", header.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    assert [whole for _, _, whole in reasons(images)] == [True]


def test_lying_and_damaged_zip_members_are_their_own_errors(tmp_path: Path, dot: Any) -> None:
    data = bytearray(
        zip_of([("a.png", dot(0)), ("b.png", dot(1)), ("c.png", dot(2)), ("d.png", dot(3))], zipfile.ZIP_STORED)
    )
    first, second, third, _ = (at for at in range(len(data)) if data[at : at + 4] == b"PK\1\2")
    struct.pack_into("<H", data, first + 8, 1)  # encrypted
    struct.pack_into("<H", data, second + 10, 14)  # LZMA
    data[data.index(b"c.png") + 20] ^= 0xFF  # its sum is wrong now
    images = read(tmp_path / "x.zip", bytes(data))
    assert reds(images) == {"x.zip/d.png": 3}
    assert reasons(images) == [
        ("x.zip/a.png", Reason.UNSUPPORTED, False), ("x.zip/b.png", Reason.UNSUPPORTED, False),
        ("x.zip/c.png", Reason.CORRUPT, False),
    ]  # fmt: skip


def test_member_names_that_are_no_utf8(tmp_path: Path, dot: Any) -> None:
    data = tar_of([("a\udcff.png", dot(1)), ("a\udcfe.png", dot(2))], fmt=tarfile.GNU_FORMAT)
    assert reds(read(tmp_path / "x.tar", data)) == {r"x.tar/a\xff.png": 1, r"x.tar/a\xfe.png": 2}


def test_read_options_refuse_nonsense() -> None:
    with pytest.raises(ConfigurationError, match="retries is -1"):
        ReadOptions(retries=-1)
    with pytest.raises(ConfigurationError, match="max_member_bytes is 0"):
        ReadOptions(max_member_bytes=0)
