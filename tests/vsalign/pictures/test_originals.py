"""Described pictures are found again: where they were, below a root that moved, in archives read through once."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from vsalign.errors import InputError, Reason
from vsalign.images import ImageInput, list_images, read_images
from vsalign.pictures import originals
from vsalign.pictures.originals import Original, OriginalReader, locate


def jpeg(shade: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 6), (shade, shade, shade)).save(stream, "JPEG")
    return stream.getvalue()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "root" / "deep" / "a.tar"
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w") as tar:
        for n in range(6):
            info = tarfile.TarInfo(f"in/{n}.jpg")
            info.size = len(jpeg(n))
            tar.addfile(info, io.BytesIO(jpeg(n)))
    return path


def rows_of(root: Path) -> list[dict[str, str]]:
    """Rows of a descriptions table as extraction makes them: id and URI of all that is read below a root."""
    shards = list_images(ImageInput(str(root)))
    return [{"image_id": read.image_id, "uri": read.uri} for rows in shards for read in read_images(rows)]


def test_members_and_files_are_read_where_they_were_and_below_a_root_that_moved(tmp_path: Path, archive: Path) -> None:
    root = tmp_path / "root"
    odd = root / "odd!" / "a?b#c%20 [1].jpg"
    odd.parent.mkdir()
    odd.write_bytes(jpeg(200))
    rows = rows_of(root)
    assert len(rows) == 7
    places = [locate(row, None) for row in rows]
    before = {read.uri: read.data for read in OriginalReader().read(places)}
    moved = root.rename(tmp_path / "moved")
    again = [locate(row, str(moved)) for row in rows]
    after = {read.uri: read.data for read in OriginalReader().read(again)}
    assert [before[place.uri] for place in places] == [after[place.uri] for place in again]
    assert sorted(before.values(), key=str) == sorted([*map(jpeg, range(6)), jpeg(200)], key=str)


def test_archive_is_opened_once_for_rows_in_its_order(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr(originals, "read_images", lambda rows: (opened.append(rows), read_images(rows))[1])
    reader = OriginalReader()
    members = [Original(f"{archive}!/in/{n}.jpg", str(archive)) for n in range(6)]
    found = [read.data for n in range(0, 6, 2) for read in reader.read(members[n : n + 2])]
    assert found == [jpeg(n) for n in range(6)] and len(opened) == 1
    assert [read.data for read in reader.read(members[:1])] == [jpeg(0)] and len(opened) == 2


def test_missing_member_and_missing_archive_are_errors_of_each_picture(archive: Path) -> None:
    lost = [Original(f"{archive}!/no.jpg", str(archive)), Original("/nowhere/b.tar!/x.jpg", "/nowhere/b.tar")]
    reads = list(OriginalReader().read(lost))
    assert [(read.uri, read.error.reason) for read in reads if read.error] == [
        (lost[0].uri, Reason.NOT_FOUND),
        (lost[1].uri, Reason.NOT_FOUND),
    ]


@pytest.mark.parametrize("image_id", ["../secret.jpg", "/etc/passwd", "a/../../b.jpg", "a\0b"])
def test_id_that_leads_out_of_the_root_is_refused(tmp_path: Path, image_id: str) -> None:
    with pytest.raises(InputError) as caught:
        locate({"image_id": image_id, "uri": "gs://bucket/x.jpg"}, str(tmp_path))
    assert caught.value.reason is Reason.UNSAFE_PATH


def test_only_files_of_this_machine_have_a_local_path(tmp_path: Path) -> None:
    uris = ["gs://b/a.jpg", "https://a.org/a.jpg", "memory://a.jpg", "a\0b.jpg"]
    assert [locate({"image_id": "a.jpg", "uri": uri}, None).local_path for uri in uris] == [""] * 4
    member = {"image_id": "a.tar/x.jpg", "uri": f"{tmp_path}/a.tar!/x.jpg"}
    assert locate(member, None).local_path == ""
    assert locate({"image_id": "a.jpg", "uri": f"{tmp_path}/a.jpg"}, None).local_path == f"{tmp_path}/a.jpg"
