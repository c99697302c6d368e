"""URIs in a column of a CSV or Parquet file; pictures in Arrow files, such as Hugging Face's datasets on disk."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.vsalign.images.test_archives import read, reasons, reds
from tests.vsalign.images.test_sources import AWKWARD, content_of, rows_of, write
from vsalign.errors import ConfigurationError, MissingInputError, Reason
from vsalign.images import ImageInput, list_images

NAMES = [*AWKWARD, 'quo"te.jpg', "com,ma.jpg", "None", "NA", "new\nline.jpg"]


def listed(path: Path, values: list[str | None], form: str) -> str:
    if form == "parquet":
        pq.write_table(pa.table({"id": range(len(values)), "url": values}), path, row_group_size=3)
    else:
        with path.open("w", newline="") as file:
            writer = csv.writer(file, quoting=csv.QUOTE_ALL)
            writer.writerow(["id", "url"])
            writer.writerows(enumerate(value or "" for value in values))
    return str(path)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_column_lists_uris_literally(form: str, tmp_path: Path, dot: Any) -> None:
    names = [name for name in NAMES if "\n" not in name or form == "parquet"]
    write(tmp_path / "in", {name: dot(number) for number, name in enumerate(names)})
    values = [f"{tmp_path}/in/{name}" for name in names]
    url = listed(tmp_path / f"list.{form}", [values[0], None, *values], form)

    listing = list_images(ImageInput(url, uri_column="url", root=str(tmp_path / "in"), shard_size=4))

    found = content_of(rows_of(listing))
    assert list(found.values()) == list(range(len(names)))
    assert listing.duplicates == 1
    assert listing.facts()["uri_column"] == "url"
    assert "uri_column" not in list_images(ImageInput(str(tmp_path / "in"))).facts()


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_column_that_is_not_there_is_one_sentence(form: str, tmp_path: Path) -> None:
    url = listed(tmp_path / f"list.{form}", ["a.jpg"], form)
    with pytest.raises(ConfigurationError, match="no column 'uri' of URIs"):
        rows_of(list_images(ImageInput(url, uri_column="uri")))
    with pytest.raises(MissingInputError):
        rows_of(list_images(ImageInput(str(tmp_path / "absent.csv"), uri_column="uri")))


def arrow(values: list[Any], path: Path, form: str) -> bytes:
    table = pa.table({"image": values, "label": list(range(len(values)))})
    with path.open("wb") as sink:
        writer = pa.ipc.new_stream(sink, table.schema) if form == "stream" else pa.ipc.new_file(sink, table.schema)
        with writer:
            writer.write_table(table, max_chunksize=2)
    return path.read_bytes()


@pytest.mark.parametrize("form", ["stream", "file"])
def test_arrow_files_are_read_and_a_cut_one_is_incomplete(form: str, tmp_path: Path, dot: Any) -> None:
    values = [{"bytes": dot(n), "path": f"{n}.png"} for n in range(5)]
    data = arrow([*values, {"bytes": None, "path": "y.jpg"}], tmp_path / "t", form)
    images = read(tmp_path / "x.arrow", data)
    assert reds(images) == {f"x.arrow/row-00000000{n}": n for n in range(5)}
    assert [reason for _, reason, _ in reasons(images)] == [Reason.NOT_FOUND]

    for cut in (len(data) // 2, len(data) - 1, len(data) - 8):
        found = reasons(read(tmp_path / "x.arrow", data[:cut]))
        assert ("x.arrow", Reason.INCOMPLETE, True) in found, cut


def test_a_dataset_on_disk_is_a_folder_of_pictures(tmp_path: Path, dot: Any) -> None:
    import datasets

    values = [{"bytes": dot(n), "path": None} for n in range(6)]
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    whole = datasets.Dataset.from_dict({"image": values, "text": ["t"] * 6}, features=features)
    whole.save_to_disk(str(tmp_path / "data"), num_shards=2)

    listing = list_images(ImageInput(str(tmp_path / "data")))

    found = content_of(rows_of(listing))
    assert list(found.values()) == list(range(6)) and listing.archives == 2
    assert list(found)[0] == "data-00000-of-00002.arrow/row-000000000"
