"""How a shard is committed: whole, once, and by whoever is first."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vsalign import tables
from vsalign.errors import Reason, TableError
from vsalign.storage import Folder, Output, ShardTask, TableReader
from vsalign.storage.shards import check_shard


def test_a_stage_makes_a_table_that_reads_back(anywhere) -> None:
    summary = anywhere.run()
    reader = TableReader(anywhere.url, "captions")
    assert reader.read()["image_id"].to_pylist() == [
        f"photos/{name}.jpg" for name in ("ant", "bee", "cat", "dog", "elk")
    ]
    assert reader.read().schema == tables.CAPTIONS
    assert [row["reason"] for row in reader.errors().to_pylist()] == ["EMPTY"]
    assert (summary.inputs, summary.rows, summary.errors, summary.counts) == (6, 5, {"EMPTY": 1}, {"litter": 2})
    assert summary.exit_status == 0
    assert (summary.rows_made, summary.done_before, summary.shards) == (5, 0, 3)
    assert reader.manifest["configuration"] == anywhere.configuration


def test_only_the_documented_files_are_left(anywhere) -> None:
    anywhere.run()
    names = Folder(anywhere.url).names()
    assert [name for name in names if not name.startswith(("errors/", "_plan/"))] == [
        "_manifest.json",
        "_plan.json",
        "_run.json",
        "part-00000.g0.parquet",
        "part-00001.g0.parquet",
        "part-00002.g0.parquet",
    ]
    assert len([name for name in names if name.startswith("errors/part-00001.g0.")]) == 1
    assert len(names) == 8


def test_a_rows_file_names_its_input_rows_and_errors_file(captions) -> None:
    captions.run()
    folder = Folder(captions.url)
    with folder.open("part-00001.g0.parquet") as file:
        metadata = pq.ParquetFile(file).metadata.metadata
    shard = json.loads(metadata[b"vsalign.shard"])
    assert (shard["shard"], shard["generation"], shard["rows"], shard["inputs"]) == (1, 0, 2, 3)
    assert folder.exists(shard["errors_file"])
    assert json.loads(metadata[b"vsalign.configuration"]) == captions.configuration
    assert metadata[b"vsalign.schema_version"] == b"1"


def test_of_two_writers_of_a_shard_one_is_kept_and_both_are_told_of_it(anywhere) -> None:
    task = anywhere.stage().pending()[1]
    (first, inputs), (second, _) = anywhere.filled(task), anywhere.filled(task)
    won, lost = first.commit(inputs), second.commit(inputs)
    assert lost == won
    folder = Folder(anywhere.url)
    assert [name for name in folder.names() if name.startswith("errors/")] == [won.errors_file]
    assert check_shard(folder, task) == won


def test_a_table_without_rows_and_shards_keeps_its_schema(anywhere) -> None:
    nothing = anywhere.other(shards=[])
    assert nothing.run().rows == 0
    assert TableReader(nothing.url, "captions").read().schema == tables.CAPTIONS


def test_shards_of_errors_alone_and_of_no_input_are_read(anywhere) -> None:
    anywhere.other(shards=[["!EMPTY"], [], ["ant"]]).run()
    reader = TableReader(anywhere.url, "captions")
    assert [part["rows"] for part in reader.shards] == [0, 0, 1]
    assert reader.read().num_rows == 1


def test_a_shard_in_which_no_picture_has_a_detection_has_typed_columns(captions) -> None:
    """The type of an empty list is not guessed from the rows."""
    schema = tables.regions_schema(2)
    output = Output(captions.url, "regions", schema, "extract_regions", {}, {"extractor": {"dim": 2}})
    writer = output.open_shard(ShardTask(0, "", 0))
    row = {"image_id": "a", "uri": "a", "width": 1, "height": 1, "boxes": [], "scores": [], "features": []}
    writer.write([row])
    writer.commit(1)
    with Folder(captions.url).open("part-00000.g0.parquet") as file:
        assert pq.ParquetFile(file).schema_arrow.remove_metadata() == schema.remove_metadata()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image_id": None}, "image_id is missing"),
        ({"image_id": 7}, "image_id is 7, not string"),
        ({"tokens": 3}, "tokens is 3, not list"),
        ({"text": "\udcff"}, "surrogates not allowed"),
        ({"caption": "misnamed"}, "no column 'caption'"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_at_once(captions, change, said) -> None:
    writer, _ = captions.filled(captions.stage().pending()[0])
    row = {"image_id": "x", "caption_id": "x#0", "split": "train", "text": "x", "tokens": ["x"], **change}
    with pytest.raises(TableError, match="does not fit the captions table") as refused:
        writer.write([row])
    assert said in str(refused.value)
    assert writer.rows == 2


def test_a_batch_of_another_schema_is_refused(captions) -> None:
    writer, _ = captions.filled(captions.stage().pending()[0])
    with pytest.raises(TableError, match="does not fit"):
        writer.write(pa.RecordBatch.from_pylist([tables.error_row("u", "s", Reason.EMPTY, "m")], schema=tables.ERRORS))


def test_inputs_that_do_not_add_up_are_never_committed(captions) -> None:
    task = captions.stage().pending()[0]
    writer, inputs = captions.filled(task)
    with pytest.raises(TableError, match="3 inputs, but 2 rows and 0 errors"):
        writer.commit(inputs + 1)
    assert not Folder(captions.url).exists(task.rows_file)


def test_row_groups_are_closed_by_bytes(captions, monkeypatch) -> None:
    monkeypatch.setattr("vsalign.storage.shards.ROW_GROUP_BYTES", 200)
    captions.other(shards=[["word" * 20] * 9]).run()
    with Folder(captions.url).open("part-00000.g0.parquet") as file:
        parquet = pq.ParquetFile(file)
        assert parquet.num_row_groups == 9
        assert parquet.metadata.num_rows == 9


def test_a_thousand_rows_written_one_by_one_are_one_row_group(captions) -> None:
    captions.other(shards=[[f"{n}" for n in range(1000)]]).run()
    with Folder(captions.url).open("part-00000.g0.parquet") as file:
        metadata = pq.ParquetFile(file).metadata
        assert (metadata.num_row_groups, metadata.num_rows) == (1, 1000)


def test_an_archive_that_ended_early_is_counted_apart(captions) -> None:
    stage = captions.other(shards=[["ant"]]).stage()
    writer, inputs = captions.filled(stage.pending()[0])
    writer.add_error(tables.error_row("a.tar", "s", Reason.INCOMPLETE, "ended early"), archive_level=True)
    writer.counts["litter"] += 3
    writer.commit(inputs)
    summary = stage.finish()
    assert (summary.inputs, summary.rows, summary.errors) == (1, 1, {})
    assert (summary.archive_errors, summary.exit_status) == ({"INCOMPLETE": 1}, 3)
    assert summary.counts == {"litter": 5}
    assert TableReader(captions.url, "captions").errors().num_rows == 1


def test_output_and_tasks_travel_to_workers(captions, there_and_back) -> None:
    task = captions.stage().pending()[0]
    output, sent = there_and_back((captions.output, task))
    assert (output, sent) == (captions.output, task)
    assert output.read_plan(sent) == [{"name": "ant"}, {"name": "bee"}]
