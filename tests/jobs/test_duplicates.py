"""caption_images --dedup: equal bytes are described once, and every picture has its row."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from jobs import caption_images
from vsalign.storage import TableReader


@pytest.mark.timeout(280)
def test_equal_bytes_are_described_once_and_all_have_that_row(
    road: Any, start: Any, cluster: Any, tmp_path: Path, capsys: Any
) -> None:
    photographs = tmp_path / "photographs"
    pictures = sorted(Path(road.images).iterdir())[:5]
    for folder in ("a", "b/c"):
        (photographs / folder).mkdir(parents=True)
    for number, picture in enumerate(pictures):
        shutil.copy(picture, photographs / "a" / f"{number}.jpg")
    shutil.copy(pictures[1], photographs / "b/c/again.jpg")
    for name in ("page.jpg", "page again.jpg"):
        (photographs / "b" / name).write_bytes(b"<html>not found</html>")
    with tarfile.open(photographs / "t.tar", "w") as tar:
        for name, data in (("1.jpg", pictures[3].read_bytes()), ("2.jpg", pictures[4].read_bytes()[:-1] + b"!")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    output = tmp_path / "descriptions"
    arguments = ["--images", str(photographs), "--model", road.mrnn, "--output", str(output), "--shard-size", "2"]
    arguments += ["--batch-size", "2", "--max-regions", "1", "--decode.max-words", "4", "--dedup"]

    job = start("caption_images", *arguments, "--actors", "1", **cluster.environment)
    job.wait_for(lambda: len(list(output.glob("part-*"))) >= 1)
    job.kill()
    status, out, said = start("caption_images", *arguments, "--actors", "2", **cluster.environment).finish()

    assert status == 0, said
    table = TableReader(str(output), "descriptions")
    rows = {row["image_id"]: row for row in table.read().to_pylist()}
    assert sorted(rows) == [*(f"a/{n}.jpg" for n in range(5)), "b/c/again.jpg", "t.tar/1.jpg", "t.tar/2.jpg"] or (
        sorted(rows) == [*(f"a/{n}.jpg" for n in range(5)), "b/c/again.jpg", "t.tar/1.jpg"]
    )
    names = ("image_id", "uri")
    for copy, first in (("b/c/again.jpg", "a/1.jpg"), ("t.tar/1.jpg", "a/3.jpg")):
        assert {**rows[copy], **dict.fromkeys(names)} == {**rows[first], **dict.fromkeys(names)}
        assert rows[copy]["uri"].endswith(copy.replace("t.tar/", "t.tar!/"))
    errors = {Path(row["uri"]).name: row for row in table.errors().to_pylist()}
    assert {"page.jpg", "page again.jpg"} <= set(errors)
    assert "page again.jpg: not a picture" in errors["page again.jpg"]["message"]
    assert table.manifest["inputs"] == table.rows + sum(table.manifest["errors"].values()) == 10
    assert table.manifest["counts"]["duplicates"] == 3
    assert "duplicates" in out
    assert TableReader(str(output) + "-hashes", "hashes").rows == 10
    capsys.readouterr()
    assert caption_images.main(arguments) == 0 and "nothing was done" in capsys.readouterr().out
    assert caption_images.main([*arguments, "--no-dedup"]) == 2
    assert "dedup: there True" in capsys.readouterr().err


@pytest.mark.parametrize("more", [["--refresh"], ["--regions", "REGIONS"]])
def test_what_does_not_go_together_is_one_sentence(more: list[str], road: Any, tmp_path: Path, capsys: Any) -> None:
    given = [road.regions if word == "REGIONS" else word for word in more]
    images = [] if "--regions" in more else ["--images", road.images]
    words = [*images, "--model", road.mrnn, "--output", str(tmp_path / "out"), "--dedup", *given]
    assert caption_images.main(words) == 2
    assert "--dedup is for --images" in (said := capsys.readouterr().err) and said.count("\n") == 1
