"""caption_images --keep-regions: the regions table of the features that the descriptions were made from."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from jobs import caption_images
from vsalign.storage import TableReader


def names_of(table: TableReader) -> list[str]:
    return [row["image_id"] for row in table.read(["image_id"]).to_pylist()]


@pytest.mark.timeout(280)
def test_the_regions_kept_give_the_same_descriptions_again(
    road: Any, start: Any, cluster: Any, tmp_path: Path, capsys: Any
) -> None:
    photographs, output, kept = (tmp_path / name for name in ("photographs", "descriptions", "kept"))
    photographs.mkdir()
    for number, picture in enumerate(sorted(Path(road.images).iterdir())[:6]):
        shutil.copy(picture, photographs / f"{number}.jpg")
    shutil.copy(photographs / "1.jpg", photographs / "again.jpg")
    (photographs / "page.jpg").write_bytes(b"<html>not found</html>")
    about = ["--model", road.mrnn, "--max-regions", "1", "--decode.max-words", "4", "--batch-size", "2"]
    made = ["--images", str(photographs), *about, "--output", str(output), "--shard-size", "2", "--dedup"]

    job = start("caption_images", *made, "--actors", "1", **cluster.environment)
    job.wait_for(lambda: len(list(output.glob("part-*"))) >= 1)
    job.kill()
    made += ["--keep-regions", str(kept)]
    status, out, said = start("caption_images", *made, **cluster.environment).finish()

    assert status == 0, said
    descriptions, regions = TableReader(str(output), "descriptions"), TableReader(str(kept), "regions")
    assert f"regions: 7 rows in {kept}" in out
    assert names_of(regions) == names_of(descriptions) and sorted(names_of(regions))[-1] == "again.jpg"
    (refused,) = regions.errors().to_pylist()
    assert refused == descriptions.errors().to_pylist()[0] and refused["uri"].endswith("page.jpg")
    (kept / regions.manifest["parts"][0]["file"]).write_bytes(b"damaged")
    again = tmp_path / "again"
    for command in (made, ["--regions", str(kept), *about, "--output", str(again)]):
        status, out, said = start("caption_images", *command, **cluster.environment).finish()
        assert status == 0, said
    first, second = (
        {row.pop("image_id"): row for row in TableReader(str(url), "descriptions").read().to_pylist()}
        for url in (output, again)
    )
    for row in (*first.values(), *second.values()):
        del row["content_hash"]
    assert first == second
    capsys.readouterr()
    assert caption_images.main(made) == 0 and "nothing was done" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--regions", "REGIONS", "--keep-regions", "kept"], "--keep-regions is for --images"),
        (["--images", "IMAGES", "--keep-regions", "out"], "that is where another table of this run goes"),
        (["--images", "IMAGES", "--keep-regions", "out-hashes", "--dedup"], "that is where another table of this run"),
        (["--images", "IMAGES", "--keep-regions", "REGIONS"], "another --keep-regions, or --overwrite"),
        (["--images", "IMAGES", "--keep-regions", "REGIONS", "--overwrite"], "another command made: give another --ke"),
    ],
)
def test_a_folder_that_is_not_to_be_had_is_refused_before_any_work(
    more: list[str], sentence: str, road: Any, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [{"REGIONS": road.regions, "IMAGES": road.images}.get(word, word) for word in more]
    assert caption_images.main([*given, "--model", road.mrnn, "--output", str(tmp_path / "out")]) == 2
    assert sentence in (said := capsys.readouterr().err) and said.count("\n") == 1
    assert not (tmp_path / "out").exists() and TableReader(road.regions, "regions").rows > 0
