"""What a reader gives, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from vsalign import tables
from vsalign.errors import IncompleteTableError, MissingInputError, SchemaVersionError, TableError, WrongExtractorError
from vsalign.storage import Folder, Output, Stage, TableReader

EXTRACTOR = {"name": "lite", "dim": 4, "weights_sha256": "ab" * 32, "input_size": 448}


@pytest.fixture
def regions(tmp_path: Path) -> str:
    """A regions table of three pictures with 1, 2 and 3 regions."""
    url = str(tmp_path / "regions")
    schema = tables.regions_schema(4)
    output = Output(url, "regions", schema, "extract_regions", {}, {"extractor": EXTRACTOR})
    stage = Stage(output)
    stage.plan([[{"n": n}] for n in (1, 2, 3)], pa.schema([("n", pa.int64())]), {})
    for task in stage.pending():
        n = output.read_plan(task)[0]["n"]
        writer = output.open_shard(task)
        row = {"image_id": f"{n}.jpg", "uri": f"x/{n}.jpg", "width": 640, "height": 480}
        row |= {"boxes": [[0, 0, 640, 480]] * n, "scores": [1.0] * n}
        row |= {"features": [np.full(4, n + i / 8, "<f2").tobytes() for i in range(n)]}
        writer.write([row])
        writer.commit(1)
    stage.finish()
    return url


def test_columns_come_in_the_order_asked_for(anywhere) -> None:
    anywhere.run()
    reader = TableReader(anywhere.url, "captions")
    assert reader.read(["text", "image_id"]).column_names == ["text", "image_id"]
    assert next(reader.batches(["tokens", "split"])).schema.names == ["tokens", "split"]
    assert reader.read([]).num_columns == 0


def test_a_column_that_is_not_there_is_named(captions) -> None:
    captions.run()
    with pytest.raises(TableError, match="no column 'caption': its columns are image_id, caption_id"):
        TableReader(captions.url, "captions").read(["caption"])


def test_chosen_shards_are_read(captions) -> None:
    captions.run()
    reader = TableReader(captions.url, "captions")
    names = [batch["image_id"].to_pylist() for batch in reader.batches(["image_id"], shards=[2, 0])]
    assert names == [["photos/elk.jpg"], ["photos/ant.jpg", "photos/bee.jpg"]]
    assert [(part["rows"], part["inputs"]) for part in reader.shards] == [(2, 2), (2, 3), (1, 1)]


def test_an_unfinished_table_is_refused(anywhere) -> None:
    stage = anywhere.stage()
    for task in stage.pending():
        anywhere.commit(task)
    with pytest.raises(IncompleteTableError, match="is not finished .* run the command that makes it again"):
        TableReader(anywhere.url, "captions")


def test_a_folder_that_is_not_there_is_named(anywhere) -> None:
    with pytest.raises(MissingInputError, match="there is no captions table at .*"):
        TableReader(anywhere.url, "captions")


def test_a_file_is_no_table(tmp_path) -> None:
    (tmp_path / "captions.txt").write_text("a#0\ta dog")
    with pytest.raises(MissingInputError, match="captions.txt"):
        TableReader(str(tmp_path / "captions.txt"), "captions")


def test_another_table_and_another_version_are_refused(captions) -> None:
    captions.run()
    with pytest.raises(SchemaVersionError, match="holds a captions table where a regions table is needed"):
        TableReader(captions.url, "regions")
    folder = Folder(captions.url)
    manifest = json.loads(folder.read("_manifest.json"))
    folder.replace("_manifest.json", json.dumps({**manifest, "schema_version": 2}).encode())
    with pytest.raises(SchemaVersionError, match="schema version 2, this vsalign reads 1"):
        TableReader(captions.url, "captions")


def test_features_of_another_extractor_are_refused(regions) -> None:
    reader = TableReader(regions, "regions")
    reader.require_extractor(EXTRACTOR, "the model")
    with pytest.raises(WrongExtractorError, match="input_size: 448 here, 224 there.*extract the regions again"):
        reader.require_extractor({**EXTRACTOR, "input_size": 224}, "the model")


def test_regions_are_read_with_their_own_width(regions) -> None:
    reader = TableReader(regions, "regions")
    assert reader.schema == tables.regions_schema(4)
    table = reader.read()
    assert [len(boxes) for boxes in table["boxes"].to_pylist()] == [1, 2, 3]
    assert np.frombuffer(table["features"][2].as_py()[1], "<f2").tolist() == [3.125] * 4


def test_zero_copy_features_mind_the_offset(regions) -> None:
    """A slice of a batch shares the buffer of the whole."""
    batch = pa.concat_batches(list(TableReader(regions, "regions").batches())).slice(1)
    column = batch["features"]
    vectors = column.flatten()
    matrix = np.frombuffer(vectors.buffers()[1], "<f2", len(vectors) * 4, vectors.offset * 8).reshape(-1, 4)
    assert matrix[:, 0].tolist() == [2.0, 2.125, 3.0, 3.125, 3.25]


def test_a_regions_table_that_does_not_say_whose_it_is_is_refused(captions) -> None:
    output = Output(captions.url, "regions", tables.regions_schema(4), "extract_regions", {})
    stage = Stage(output)
    stage.plan([], pa.schema([("n", pa.int64())]), {})
    stage.finish()
    with pytest.raises(TableError, match="does not say whose features"):
        TableReader(captions.url, "regions").read()
