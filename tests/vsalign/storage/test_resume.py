"""Started again: only what is missing, damaged or may pass is made; a finished table stays as it is."""

from __future__ import annotations

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vsalign.errors import IncompleteTableError, TableError
from vsalign.storage import Folder, Stage, TableReader
from vsalign.storage.layout import PLAN
from vsalign.storage.shards import check_shard


def rows_of(captions) -> list[dict]:
    return TableReader(captions.url, "captions").read().to_pylist()


def zero_bytes(data: bytes) -> bytes:
    return b""


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def fewer_rows(data: bytes) -> bytes:
    """The same file, metadata and all, with a row less."""
    table = pq.read_table(io.BytesIO(data))
    metadata = pq.ParquetFile(io.BytesIO(data)).metadata.metadata
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, table.schema) as writer:
        writer.write_table(table.slice(1))
        writer.add_key_value_metadata({key: value for key, value in metadata.items() if key.startswith(b"vsalign")})
    return sink.getvalue()


def without_facts(data: bytes) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pq.read_table(io.BytesIO(data)).replace_schema_metadata(None), sink)
    return sink.getvalue()


def test_a_finished_table_is_left_alone_byte_for_byte(anywhere) -> None:
    anywhere.run()
    folder = Folder(anywhere.url)
    before = {name: folder.read(name) for name in folder.names()}
    summary = anywhere.run()
    assert {name: folder.read(name) for name in folder.names()} == before
    assert (summary.rows, summary.rows_made, summary.done_before) == (5, 0, 3)


def test_only_missing_shards_are_made(anywhere) -> None:
    stage = anywhere.stage()
    anywhere.commit(stage.pending()[1])
    with pytest.raises(IncompleteTableError, match="2 of 3 shards .* are not committed"):
        stage.finish()
    assert [task.shard for task in anywhere.stage().pending()] == [0, 2]
    summary = anywhere.run()
    assert (summary.done_before, summary.rows_made, summary.rows) == (1, 3, 5)


@pytest.mark.parametrize("damage", [zero_bytes, cut, fewer_rows])
def test_a_reader_refuses_a_damaged_rows_file(anywhere, damage) -> None:
    anywhere.run()
    folder = Folder(anywhere.url)
    folder.replace("part-00001.g0.parquet", damage(folder.read("part-00001.g0.parquet")))
    with pytest.raises(IncompleteTableError, match="part-00001.g0.parquet cannot be read .*: delete that file"):
        rows_of(anywhere)


@pytest.mark.parametrize("damage", [zero_bytes, cut, fewer_rows, without_facts])
def test_a_damaged_rows_file_is_replaced_by_the_next_generation(anywhere, damage) -> None:
    anywhere.run()
    whole, folder = rows_of(anywhere), Folder(anywhere.url)
    folder.replace("part-00001.g0.parquet", damage(folder.read("part-00001.g0.parquet")))
    assert [(task.shard, task.generation) for task in anywhere.stage().pending()] == [(1, 1)]
    anywhere.run()
    assert TableReader(anywhere.url, "captions").shards[1]["file"] == "part-00001.g1.parquet"
    assert rows_of(anywhere) == whole
    assert not folder.exists("part-00001.g0.parquet")
    assert TableReader(anywhere.url, "captions").errors().num_rows == 1


def test_a_missing_errors_file_is_damage(anywhere) -> None:
    anywhere.run()
    folder = Folder(anywhere.url)
    folder.remove(TableReader(anywhere.url, "captions").shards[1]["errors_file"])
    with pytest.raises(IncompleteTableError, match="run the command that made the table again"):
        TableReader(anywhere.url, "captions").errors()
    anywhere.run()
    reader = TableReader(anywhere.url, "captions")
    assert reader.shards[1]["file"] == "part-00001.g1.parquet"
    assert reader.errors().num_rows == 1


def test_a_damaged_manifest_is_written_anew(captions) -> None:
    captions.run()
    Folder(captions.url).replace("_manifest.json", b'{"parts": ')
    with pytest.raises(TableError, match="_manifest.json is damaged"):
        TableReader(captions.url, "captions")
    captions.run()
    assert len(rows_of(captions)) == 5


@pytest.mark.parametrize("name", ["_run.json", "_plan.json"])
@pytest.mark.parametrize("content", [b"", b"[1]", b"{}"])
def test_a_damaged_run_or_plan_file_is_one_sentence(captions, name, content) -> None:
    captions.run()
    Folder(captions.url).replace(name, content)
    with pytest.raises(TableError, match=f"{name} is damaged .*--overwrite"):
        captions.run()
    assert captions.run(overwrite=True).rows == 5


def test_a_damaged_plan_is_one_sentence_for_the_worker(captions) -> None:
    task = captions.stage().pending()[0]
    Folder(captions.url).replace(task.plan_file, b"PAR1")
    with pytest.raises(TableError, match="which lists the inputs, cannot be read"):
        captions.output.read_plan(task)


def test_passing_errors_are_tried_again_and_permanent_ones_are_not(anywhere) -> None:
    shaky = anywhere.other(shards=[["ant", "!READ_FAILED"], ["bee", "!EMPTY"], ["cat", "!TIMED_OUT"]])
    summary = shaky.run()
    assert summary.errors == {"EMPTY": 1, "READ_FAILED": 1, "TIMED_OUT": 1}
    assert len(rows_of(shaky)) == 3  # finished and readable as it is
    assert [(task.shard, task.generation) for task in shaky.stage().pending()] == [(0, 1), (2, 1)]
    healed = shaky.run(healed=True)
    assert (healed.rows, healed.errors, healed.inputs, healed.rows_made) == (5, {"EMPTY": 1}, 6, 2)
    reader = TableReader(shaky.url, "captions")
    assert [part["file"][-10:] for part in reader.shards] == ["g1.parquet", "g0.parquet", "g1.parquet"]
    assert reader.errors()["reason"].to_pylist() == ["EMPTY"]
    assert shaky.stage().pending() == []


def test_what_lost_attempts_left_behind_is_swept(captions) -> None:
    captions.run()
    folder = Folder(captions.url)
    litter = [
        "errors/part-00001.g0.0123456789ab.parquet",
        "_plan/00000.0123456789ab.parquet",
        ".part-00001.g0.parquet." + "0" * 32 + ".tmp",
        "errors/.part-00001.g0.0123456789ab.parquet." + "1" * 32 + ".tmp",
    ]
    foreign = ["notes.txt", "errors/mine.parquet", ".part.tmp", "deeper/.part-00001.g0.parquet." + "0" * 32 + ".tmp"]
    for name in litter + foreign:
        folder.replace(name, b"x")
    captions.run()
    assert not set(litter) & set(folder.names())
    assert set(foreign) <= set(folder.names())


def test_a_plan_stands_once_it_is_written(captions) -> None:
    captions.stage()
    later = captions.other(shards=[["zebra"]])
    later.run()
    assert len(rows_of(captions)) == 5


def test_a_plan_that_was_never_finished_counts_for_nothing(captions) -> None:
    def listing():
        yield [{"name": "half"}]
        raise ConnectionError("the listing broke off")

    stage = Stage(captions.output)
    with pytest.raises(ConnectionError):
        stage.plan(listing(), pa.schema([("name", pa.string())]), {})
    assert not stage.folder.exists(PLAN)
    assert captions.run().rows == 5


def test_a_slower_plan_does_not_touch_the_one_that_stands(captions) -> None:
    """A run beside this one that lists another input overwrites nothing of the plan that workers read."""
    slow = Stage(captions.output)
    stage = captions.stage()

    def listing():
        yield [{"name": "other"}]

    folder = Folder(captions.url)
    plan = folder.read("_plan.json")
    folder.remove("_plan.json")  # as the slow one saw it when it began

    def late():
        yield from listing()
        folder.write_new("_plan.json", plan)

    slow.plan(late(), pa.schema([("name", pa.string())]), {})
    assert captions.output.read_plan(stage.pending()[0]) == [{"name": "ant"}, {"name": "bee"}]
    captions.run()
    assert len([name for name in folder.names() if name.startswith("_plan/")]) == len(json.loads(plan)["files"])


def test_check_shard_says_none_for_what_is_absent(captions) -> None:
    task = captions.stage().pending()[0]
    assert check_shard(Folder(captions.url), task) is None


KINDS = pa.schema([("name", pa.string()), ("kind", pa.string())])


def planned(captions, *shards: str) -> Stage:
    """A stage whose shards hold rows of the kinds that are named, one a letter."""
    kinds = {"i": "image", "a": "archive", "r": "regions", "e": "error"}
    stage = Stage(captions.output)
    stage.plan(([{"name": "x", "kind": kinds[letter]} for letter in shard] for shard in shards), KINDS, {})
    return stage


def test_planned_inputs_are_counted_where_no_row_stands_for_many(anywhere) -> None:
    stage = planned(anywhere, "ii", "iei", "a", "r")
    tasks = stage.pending()
    assert [stage.planned_inputs(tasks[:n]) for n in range(5)] == [0, 2, 5, None, None]
    assert stage.planned_inputs(tasks[3:]) is None


def test_inputs_of_a_plan_without_kinds_are_counted(captions) -> None:
    stage = captions.other(shards=[["x", "y"]] * 70).stage()  # two files of the plan
    assert stage.planned_inputs(stage.pending()) == 140


def test_inputs_that_are_done_are_those_of_shards_that_are_not_made_again(captions) -> None:
    shaky = captions.other(shards=[["ant", "!READ_FAILED"], ["bee", "!EMPTY", "cat"]])
    shaky.run()
    stage = shaky.stage()
    assert stage.inputs_done(stage.pending()) == 3


@pytest.mark.parametrize("content", [b"", b"PAR1", None])
def test_a_damaged_plan_is_one_sentence_for_the_driver(captions, content: bytes | None) -> None:
    stage = captions.stage()
    tasks = stage.pending()
    if content is None:
        stage.folder.remove(tasks[0].plan_file)
    else:
        stage.folder.replace(tasks[0].plan_file, content)
    with pytest.raises(TableError, match=f"{tasks[0].plan_file}, which lists the inputs, cannot be read .*--overwrite"):
        stage.planned_inputs(tasks)
