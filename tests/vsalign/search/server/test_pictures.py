"""Pictures: small copies of what the index lists, of nothing else, from wherever the archive is."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from tests.vsalign.search.conftest import SCENES, Archive
from tests.vsalign.search.server.conftest import Serve
from vsalign.errors import InputError, Reason
from vsalign.search.removed import remove
from vsalign.search.server.answers import key_of
from vsalign.search.server.archive import original_of
from vsalign.storage import Folder, TableReader


def rows_of(archive: Archive) -> list[dict[str, Any]]:
    return TableReader(archive.index, "index").read(["image_id", "uri"]).to_pylist()


def number_of(archive: Archive, image_id: str) -> int:
    return [row["image_id"] for row in rows_of(archive)].index(image_id)


@pytest.fixture
def moved(archive: Archive, tmp_path: Path) -> Path:
    """A copy of the archive at another place."""
    return Path(shutil.copytree(archive.images, tmp_path / "moved"))


def test_every_picture_is_shown_as_a_jpeg_of_bounded_size(client: TestClient, archive: Archive) -> None:
    for number, row in enumerate(rows_of(archive)):
        for kind in ("thumbnails", "pictures"):
            answer = client.get(f"/{kind}/{number}", params={"key": key_of(row["image_id"])})
            assert answer.status_code == 200 and answer.headers["content-type"] == "image/jpeg", answer.text
            assert Image.open(io.BytesIO(answer.content)).size == (320, 320)


def test_a_large_picture_is_made_small_and_stands_upright(archive: Archive, moved: Path, serve: Serve) -> None:
    pixels = np.zeros((1200, 3000, 3), np.uint8)
    pixels[:, :1500] = (250, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying: its left side is the upper one
    Image.fromarray(pixels).save(moved / "00010.jpg", exif=exif)
    number, client = number_of(archive, "00010.jpg"), serve(archive.index, str(moved))
    for kind, size in (("thumbnails", (160, 400)), ("pictures", (640, 1600))):
        answer = client.get(f"/{kind}/{number}")
        shown = Image.open(io.BytesIO(answer.content))
        assert shown.size == size and not shown.getexif()
        assert np.asarray(shown)[10, 10, 0] > 200 and np.asarray(shown)[-10, 10, 0] < 50


@pytest.mark.parametrize("number", ["-1", str(SCENES), str(10**30), "x", "0x1", "..%2f0", "1.5"])
def test_unknown_numbers_are_nothing(client: TestClient, number: str) -> None:
    for kind in ("thumbnails", "pictures"):
        answer = client.get(f"/{kind}/{number}")
        assert answer.status_code in (404, 422) and answer.json().keys() == {"error"}


def test_a_number_that_has_become_another_pictures_shows_nothing(client: TestClient) -> None:
    answer = client.get("/thumbnails/0", params={"key": "00000000"})
    assert answer.status_code == 404 and "another picture" in answer.json()["error"]


def test_links_out_of_the_archive_are_not_followed(archive: Archive, moved: Path, serve: Serve, tmp_path: Path) -> None:
    secret = tmp_path / "secret.jpg"
    Image.new("RGB", (40, 40), "red").save(secret)
    (moved / "00010.jpg").unlink()
    (moved / "00010.jpg").symlink_to(secret)
    (moved / "00011.jpg").unlink()
    (moved / "00011.jpg").symlink_to(moved / "00012.jpg")
    shutil.move(moved / "holiday", tmp_path / "elsewhere")
    (moved / "holiday").symlink_to(tmp_path / "elsewhere")
    shutil.move(moved / "packed.tar", tmp_path / "other.tar")
    (moved / "packed.tar").symlink_to(tmp_path / "other.tar")
    client = serve(archive.index, str(moved))
    for image_id in ("00010.jpg", "holiday/00000.jpg", "packed.tar/00008.jpg"):
        for path in (f"/thumbnails/{number_of(archive, image_id)}", f"/api/like?number={number_of(archive, image_id)}"):
            answer = client.get(path)
            assert answer.status_code == 403 and answer.json()["reason"] == "UNSAFE_PATH"
            assert str(tmp_path) not in answer.text
    assert client.get(f"/thumbnails/{number_of(archive, '00011.jpg')}").status_code == 200, "a link inside"


def refused(row: dict[str, str], images: str | None = None) -> Reason | None:
    try:
        original_of(row, images)
    except InputError as error:
        return error.reason
    return None


def test_where_no_other_place_is_given_the_root_is_where_it_was(tmp_path: Path) -> None:
    (tmp_path / "root/deep").mkdir(parents=True)
    for name in ("out.jpg", "root/in.jpg"):
        (tmp_path / name).write_bytes(b"x")
    for name, target in (("out", "out.jpg"), ("in", "root/in.jpg")):
        (tmp_path / f"root/deep/{name}.jpg").symlink_to(tmp_path / target)
    root = f"{tmp_path}/root"
    assert refused({"image_id": "in.jpg", "uri": f"{root}/in.jpg"}) is None
    assert refused({"image_id": "deep/in.jpg", "uri": f"{root}/deep/in.jpg"}) is None
    assert refused({"image_id": "deep/out.jpg", "uri": f"{root}/deep/out.jpg"}) is Reason.UNSAFE_PATH
    assert refused({"image_id": "../out.jpg", "uri": f"{root}/../out.jpg"}) is Reason.UNSAFE_PATH
    # By another id, and by a list of paths, the root is not known: what is a link itself is refused.
    for image_id in ("another", f"{root}/deep/in.jpg".lstrip("/")):
        assert refused({"image_id": image_id, "uri": f"{root}/deep/in.jpg"}) is Reason.UNSAFE_PATH
        assert refused({"image_id": image_id.replace("deep/", ""), "uri": f"{root}/in.jpg"}) is None
    assert refused({"image_id": "a\0.jpg", "uri": "/x/a\0.jpg"}) is Reason.NOT_FOUND
    assert refused({"image_id": "a.jpg", "uri": "https://photos.example/a.jpg"}) is None


def test_ids_that_lead_out_of_the_place_given_are_refused(tmp_path: Path) -> None:
    for image_id in ("../secret.jpg", "/etc/passwd", "a/../../secret.jpg", ""):
        assert refused({"image_id": image_id, "uri": f"/x/{image_id}"}, str(tmp_path)) is Reason.UNSAFE_PATH


def test_bad_originals_are_a_reason_and_tell_no_path(archive: Archive, moved: Path, serve: Serve) -> None:
    bomb = io.BytesIO()
    Image.new("1", (12_000, 12_000)).save(bomb, "PNG")
    scene = (moved / "00012.jpg").read_bytes()
    bad = {
        "00010.jpg": (b"", 422, "EMPTY"),
        "00011.jpg": (b"<html>no picture</html>", 422, "NOT_IMAGE"),
        "00012.jpg": (scene[: len(scene) // 2], 422, "TRUNCATED"),
        "00013.jpg": (bomb.getvalue(), 422, "TOO_LARGE"),
        "holiday/00000.jpg": (None, 404, "NOT_FOUND"),
        "packed.tar/00008.jpg": (None, 404, "NOT_FOUND"),
        "packed.zip/inside/00006.jpg": (b"PK\x03\x04 cut", 404, "NOT_FOUND"),
    }
    for image_id, (data, _, _) in bad.items():
        file = moved / image_id.replace("/00008.jpg", "").replace("/inside/00006.jpg", "")
        file.unlink() if data is None else file.write_bytes(data)
    client = serve(archive.index, str(moved))
    for image_id, (_, status, reason) in bad.items():
        answer = client.get(f"/thumbnails/{number_of(archive, image_id)}")
        assert str(moved) not in answer.text and "error" in answer.json()
        if not image_id.startswith("packed"):
            assert (answer.status_code, answer.json()["reason"]) == (status, reason), answer.text
        assert answer.status_code in (404, 422)
    assert client.get("/api/search?q=red").status_code == 200


def test_a_pipe_in_a_pictures_place_does_not_hold_the_server(archive: Archive, moved: Path, serve: Serve) -> None:
    (moved / "00010.jpg").unlink()
    os.mkfifo(moved / "00010.jpg")
    client = serve(archive.index, str(moved))
    assert client.get(f"/pictures/{number_of(archive, '00010.jpg')}").status_code == 404


def test_pictures_that_were_forgotten_are_not_shown(archive: Archive, tmp_path: Path, serve: Serve) -> None:
    index = shutil.copytree(archive.index, tmp_path / "index")
    remove(Folder(str(index)), ["00010.jpg"])
    client = serve(str(index))
    number = number_of(archive, "00010.jpg")
    assert (
        client.get(f"/thumbnails/{number}").status_code == client.get(f"/api/like?number={number}").status_code == 404
    )
    assert client.get("/api/index").json()["images"] == SCENES - 1
    assert number not in [hit["number"] for hit in client.get("/api/search?q=red&limit=100").json()["hits"]]
