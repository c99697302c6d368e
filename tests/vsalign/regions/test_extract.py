"""From encoded pictures to the regions table: in order, in bounded memory, every input accounted for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from vsalign import tables
from vsalign.errors import ConfigurationError, InputError, Reason, TableError
from vsalign.images import ReadImage, decode_sized
from vsalign.regions import Prepared, RegionExtractor, Regions, extract, whole_image
from vsalign.regions.extract import Extracted, ExtractOptions, extract_images, extract_shard, regions_batch
from vsalign.storage import Output, ShardResult, Stage, TableReader

OPTIONS = ExtractOptions(batch_size=4, threads=1)


class Numbered(RegionExtractor):
    """One region a picture; its feature is the number in the picture's name, and the batch it was in."""

    name, dim = "numbered", 2

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def identity(self) -> dict[str, Any]:
        return {"name": self.name, "dim": self.dim}

    def prepare(self, image_id: str, image: np.ndarray, size: tuple[int, int] | None = None) -> Prepared:
        return Prepared(image_id, image.shape[1], image.shape[0], torch.zeros(3, 1, 1))

    def extract(self, batch: list[Prepared]) -> list[Regions]:
        self.batches.append([picture.image_id for picture in batch])
        numbers = [float(picture.image_id.split("/")[1].split(".")[0]) for picture in batch]
        return [
            Regions(whole_image(picture.width, picture.height), np.ones(1, np.float32), np.full((1, 2), number, "f4"))
            for picture, number in zip(batch, numbers, strict=True)
        ]


def broken(name: str, data: bytes = b"<html>") -> ReadImage:
    return ReadImage(name, f"/archive/{name}", data)


def unread(name: str) -> ReadImage:
    return ReadImage(name, f"/archive/{name}", error=InputError(Reason.READ_FAILED, f"/archive/{name}: 503"))


def cut_archive() -> ReadImage:
    error = InputError(Reason.INCOMPLETE, "a.tar: ended early", "a.tar")
    return ReadImage("a.tar", "a.tar", error=error, archive_level=True)


def committed(
    url: Path, images: Iterable[ReadImage], extractor: RegionExtractor, options: ExtractOptions = OPTIONS
) -> tuple[ShardResult, TableReader]:
    """The images as a regions table of one shard."""
    schema = tables.regions_schema(extractor.dim)
    output = Output(str(url), "regions", schema, "extract_regions", {}, {"extractor": extractor.identity()})
    stage = Stage(output)
    stage.plan([[{"n": 0}]], pa.schema([("n", pa.int64())]), {})
    result = extract_shard(images, extractor, options, output.open_shard(stage.pending()[0]))
    stage.finish()
    return result, TableReader(str(url), "regions")


def test_pictures_come_in_order_with_errors_in_their_place(read_picture) -> None:
    images = [read_picture(n) if n % 3 else broken(f"{n}") for n in range(20)]
    found = list(extract_images(images, Numbered(), OPTIONS))
    good = [each for each in found if isinstance(each, Extracted)]
    bad = [each for each in found if not isinstance(each, Extracted)]
    assert [each.image_id for each in good] == [f"photos/{n}.png" for n in range(20) if n % 3]
    assert [image.image_id for image, _ in bad] == [f"{n}" for n in range(0, 20, 3)]
    assert {error.reason for _, error in bad} == {Reason.NOT_IMAGE}
    assert [each.regions.features[0, 0] for each in good] == [n for n in range(20) if n % 3]


def test_batches_are_formed_after_bad_inputs_are_out(read_picture) -> None:
    good = [read_picture(n) for n in range(10)]
    mixed = [broken("x"), *good[:3], broken("y"), unread("z"), *good[3:], broken("w")]
    plain, beside_bad = Numbered(), Numbered()
    list(extract_images(good, plain, OPTIONS))
    list(extract_images(mixed, beside_bad, OPTIONS))
    assert plain.batches == beside_bad.batches
    assert [len(batch) for batch in plain.batches] == [4, 4, 2]


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_bounded_number_of_pictures_is_in_memory(read_picture, batch_size: int) -> None:
    taken = 0

    def source() -> Iterator[ReadImage]:
        nonlocal taken
        for n in range(60):
            taken += 1
            yield read_picture(n) if n % 5 else broken(f"{n}")

    most, given = 0, 0
    for _ in extract_images(source(), Numbered(), ExtractOptions(batch_size=batch_size)):
        most = max(most, taken - given)
        given += 1
    assert given == 60
    assert most <= 3 * batch_size + 1 + batch_size  # errors overtake a batch that is not full yet


def test_no_pictures_give_no_regions() -> None:
    assert list(extract_images([], Numbered(), OPTIONS)) == []


def test_leaving_early_ends_the_threads(read_picture) -> None:
    found = extract_images((read_picture(n) for n in range(40)), Numbered(), OPTIONS)
    next(found)
    found.close()


def test_each_picture_is_decoded_once(read_picture, monkeypatch) -> None:
    decoded: list[str] = []

    def counting(data: bytes, uri: str, *options: Any) -> Any:
        decoded.append(uri)
        return decode_sized(data, uri, *options)

    monkeypatch.setattr(extract, "decode_sized", counting)
    images = [read_picture(n) for n in range(20)]
    assert len(list(extract_images(images, Numbered(), OPTIONS))) == 20
    assert sorted(decoded) == sorted(image.uri for image in images)


def test_every_input_of_a_shard_becomes_a_row_or_an_error(read_picture, tmp_path) -> None:
    images = [read_picture(0), broken("empty", b""), read_picture(1), unread("z"), cut_archive()]
    result, reader = committed(tmp_path / "regions", images, Numbered())
    assert (result.inputs, result.rows) == (4, 2)
    assert (result.errors, result.archive_errors) == ({"EMPTY": 1, "READ_FAILED": 1}, {"INCOMPLETE": 1})
    assert reader.read(["image_id"]).to_pydict() == {"image_id": ["photos/0.png", "photos/1.png"]}
    assert {row["stage"] for row in reader.errors().to_pylist()} == {"extract_regions"}


def test_a_feature_beyond_float16_is_an_error_of_its_picture(read_picture, tmp_path) -> None:
    class Overflowing(Numbered):
        def extract(self, batch: list[Prepared]) -> list[Regions]:
            found = super().extract(batch)
            found[1].features[:] = {0: 7e4, 1: np.inf, 2: np.nan}[len(self.batches) - 1]
            return found

    result, reader = committed(tmp_path / "regions", map(read_picture, range(12)), Overflowing())
    assert (result.rows, result.errors) == (9, {"NOT_FINITE": 3})
    assert [row["uri"] for row in reader.errors().to_pylist()] == [f"/archive/photos/{n}.png" for n in (1, 5, 9)]


def test_a_picture_of_too_many_pixels_is_refused_from_its_header(read_picture, tmp_path) -> None:
    images = [read_picture(0), read_picture(1, width=200, height=200)]
    result, _ = committed(tmp_path / "regions", images, Numbered(), ExtractOptions(max_pixels=20_000))
    assert (result.rows, result.errors) == (1, {"TOO_LARGE": 1})


def test_rows_are_the_same_bytes_whatever_is_bad_beside_them(lite, read_picture, tmp_path) -> None:
    good = [read_picture(n) for n in range(7)]
    mixed = [broken("x"), *good[:2], unread("y"), *good[2:], broken("z")]
    _, plain = committed(tmp_path / "plain", good, lite)
    _, beside_bad = committed(tmp_path / "mixed", mixed, lite)
    _, more_threads = committed(tmp_path / "threads", good, lite, ExtractOptions(4, threads=1, decode_threads=5))
    assert plain.read().equals(beside_bad.read())
    assert plain.read().equals(more_threads.read())


def test_a_batch_of_rows_is_what_lists_of_numbers_would_give() -> None:
    random = np.random.default_rng(0)
    found = []
    for n in (1, 3, 2):
        boxes, scores = random.random((n, 4), np.float32), random.random(n, np.float32)
        found.append(Extracted(f"{n}", f"u{n}", n, 9, Regions(boxes, scores, random.random((n, 5)).astype("<f2"))))
    rows = [
        {
            "image_id": each.image_id,
            "uri": each.uri,
            "width": each.width,
            "height": each.height,
            "boxes": each.regions.boxes.tolist(),
            "scores": each.regions.scores.tolist(),
            "features": [vector.tobytes() for vector in each.regions.features],
        }
        for each in found
    ]
    batch = regions_batch(found)
    batch.validate(full=True)
    assert batch.equals(pa.RecordBatch.from_pylist(rows, schema=tables.regions_schema(5)))


def test_features_that_are_not_float16_yet_make_no_rows() -> None:
    regions = Regions(whole_image(1, 1), np.ones(1, np.float32), np.zeros((1, 5), np.float32))
    with pytest.raises(TypeError, match="float32"):
        regions_batch([Extracted("a", "a", 1, 1, regions)])


def test_an_extractor_of_another_width_than_the_table_is_refused(read_picture, tmp_path) -> None:
    output = Output(str(tmp_path), "regions", tables.regions_schema(3), "extract_regions", {})
    stage = Stage(output)
    stage.plan([[{"n": 0}]], pa.schema([("n", pa.int64())]), {})
    with pytest.raises(TableError, match="does not fit the regions table"):
        extract_shard([read_picture(0)], Numbered(), OPTIONS, output.open_shard(stage.pending()[0]))


@pytest.mark.parametrize("option", [{"batch_size": 0}, {"threads": -1}, {"decode_threads": 0}, {"max_pixels": 0}])
def test_a_wrong_option_is_one_sentence(option: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match=f"{next(iter(option))} is .*: give at least"):
        ExtractOptions(**option)


class Small(Numbered):
    """A GPU that holds two pictures at a time, and not the one with the number 5."""

    def extract(self, batch: list[Prepared]) -> list[Regions]:
        if len(batch) > 2 or any(picture.image_id == "photos/5.png" for picture in batch):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return super().extract(batch)


def test_a_batch_that_does_not_fit_into_the_gpu_is_halved(read_picture) -> None:
    found = list(extract_images([read_picture(n) for n in range(8)], Small(), ExtractOptions(batch_size=8)))
    assert [isinstance(each, Extracted) for each in found] == [n != 5 for n in range(8)]
    image, error = found[5]
    assert image.image_id == "photos/5.png" and error.reason is Reason.TOO_LARGE
    assert [each.regions.features[0, 0] for each in found if isinstance(each, Extracted)] == [0, 1, 2, 3, 4, 6, 7]
