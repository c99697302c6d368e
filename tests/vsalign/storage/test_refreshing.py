"""A plan that grows with its input: nothing is renumbered, nothing listed twice, and a kill leaves it whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.vsalign.storage.conftest import Captions, caption
from vsalign.storage import Folder, TableReader, begin
from vsalign.storage.layout import MANIFEST, PLAN
from vsalign.storage.refreshing import known_inputs, new_shards

SCHEMA = pa.schema([("uri", pa.string()), ("kind", pa.string())])


def row(uri: str, kind: str = "image") -> dict[str, str]:
    return {"uri": uri, "kind": kind}


def made(captions: Captions, names: Sequence[str], size: int = 2, refresh: bool = False, stop: int = 99) -> Any:
    """Run the stage on a listing of names; `stop` shards are committed at most."""
    shards = [[row(name) for name in names[at : at + size]] for at in range(0, len(names), size)]
    stage = begin(captions.output, lambda: shards, SCHEMA, {"litter": len(names)}, overwrite=False, refresh=refresh)
    tasks = stage.pending()
    for task in tasks[:stop]:
        writer, rows = captions.output.open_shard(task), captions.output.read_plan(task)
        writer.write([caption(each["uri"]) for each in rows])
        writer.commit(len(rows))
    return stage.finish() if stop >= len(tasks) else None


def texts(captions: Captions) -> list[str]:
    found = TableReader(captions.url, "captions").read()["text"].to_pylist()
    return [text.removeprefix("a picture of ") for text in found]


def test_what_is_new_becomes_further_shards(anywhere: Captions) -> None:
    made(anywhere, ["b", "d", "f"])
    before = Folder(anywhere.url).names()

    again = made(anywhere, ["a", "b", "c", "d", "e", "f"], refresh=True)

    assert texts(anywhere) == ["b", "d", "f", "a", "c", "e"]
    assert (again.shards, again.inputs, again.rows_made) == (4, 6, 3)
    assert again.counts["litter"] == 6
    assert {name for name in before if name.startswith("part-")} < set(Folder(anywhere.url).names())


def test_without_the_option_and_without_news_the_table_stays_as_it_is(captions: Captions) -> None:
    made(captions, ["b", "d"])
    manifest = Folder(captions.url).read(MANIFEST)
    assert made(captions, ["a", "b", "d"]).rows_made == 0
    assert made(captions, ["d", "b"], refresh=True).rows_made == 0
    assert Folder(captions.url).read(MANIFEST) == manifest and texts(captions) == ["b", "d"]


def test_killed_at_any_moment_of_a_refresh_nothing_is_lost_or_double(
    captions: Captions, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(captions, ["b", "d", "f"])
    names = ["a", "b", "c", "d", "e", "f", "g"]
    replace, steps = Folder.replace, 0
    for moment in range(3):  # before the plan's file, before the plan, before the manifest

        def dying(self: Folder, name: str, data: Any, moment: int = moment) -> None:
            nonlocal steps
            steps += 1
            if steps > moment:
                raise KeyboardInterrupt
            replace(self, name, data)

        steps = 0
        monkeypatch.setattr(Folder, "replace", dying)
        with pytest.raises(KeyboardInterrupt):
            made(captions, names, refresh=True)
        monkeypatch.setattr(Folder, "replace", replace)
        assert not Folder(captions.url).exists(MANIFEST) or texts(captions) == ["b", "d", "f"]

    made(captions, names, refresh=True)

    assert sorted(texts(captions)) == names and texts(captions)[:3] == ["b", "d", "f"]


def test_a_first_run_may_refresh_and_another_one_after_the_first(captions: Captions) -> None:
    made(captions, ["a"], refresh=True)
    made(captions, ["a", "b"], refresh=True)
    made(captions, ["0", "a", "b"], refresh=True)
    assert texts(captions) == ["a", "b", "0"]


def test_new_rows_fill_shards_of_the_listings_size_and_archives_stay_alone(tmp_path: Path) -> None:
    names = [f"{n}.jpg" for n in range(20)]
    known = known_inputs_of(tmp_path, [name for n, name in enumerate(names) if n % 4])
    shards = [[row(name) for name in names[at : at + 5]] for at in range(0, 20, 5)]
    shards[2:2] = [[row("new.tar", "archive")], [row("1.jpg", "archive")]]
    found = [[each["uri"] for each in shard] for shard in new_shards(shards, known)]
    assert found == [["new.tar"], ["0.jpg", "4.jpg", "8.jpg", "12.jpg", "16.jpg"]]


def known_inputs_of(folder: Path, uris: list[str]) -> Any:
    from vsalign.storage.shards import plan_parquet

    (folder / "plan").write_bytes(plan_parquet([[row(uri)] for uri in uris], SCHEMA))
    known = known_inputs(Folder(str(folder)), ["plan"])
    assert len(known) == len(uris) and len(known_inputs(Folder(str(folder)), [])) == 0
    return known


def test_the_plan_lists_all_files(captions: Captions) -> None:
    made(captions, ["b"])
    made(captions, ["a", "b"], refresh=True)
    assert b'"shards": 2' in Folder(captions.url).read(PLAN)
