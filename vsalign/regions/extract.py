"""From encoded pictures to regions: decoding in threads beside the network, batches that hang on the shard alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch

from vsalign import tables
from vsalign.errors import ConfigurationError, InputError, Reason, VsalignError
from vsalign.images import DecodeOptions, ReadImage, decode_sized
from vsalign.regions.base import Prepared, RegionExtractor, Regions, to_float16
from vsalign.storage import ShardResult, ShardWriter

Decode = Callable[[bytes, str], tuple[np.ndarray, tuple[int, int]]]
"""A picture's bytes and URI -> pixels and the picture's own size, as vsalign.images.decode_sized; raises InputError."""
_Batch = list[tuple[ReadImage, Prepared]]


@dataclass(frozen=True)
class ExtractOptions:
    """How a worker goes through its pictures."""

    batch_size: int = 16
    """Pictures a pass of the network; batches never cross a shard."""
    threads: int = 0
    """Threads of the network in a worker process; 0: torch's own choice. Rows are the same bytes for the same
    number."""
    decode_threads: int = 2
    """Threads that decode beside the network."""
    max_pixels: int = DecodeOptions().max_pixels
    """A picture that announces more is refused (TOO_LARGE) before it is decoded."""
    on_error: Literal["record", "stop"] = "record"
    """What an input that cannot be used does. record: it becomes a row of errors/. stop: the run ends with its message,
    and what is committed stands."""

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("threads", 0), ("decode_threads", 1), ("max_pixels", 1)):
            if getattr(self, name) < least:
                raise ConfigurationError(f"{name} is {getattr(self, name)}: give at least {least}")


@dataclass(frozen=True)
class Extracted:
    """A picture's regions."""

    image_id: str
    uri: str
    width: int
    height: int
    """px, of the upright picture."""
    regions: Regions
    content_hash: str = ""
    """BLAKE2b of the encoded bytes, 128 bits, in hexadecimal digits; empty where nobody asked."""


MOST_STREAMS = 8
"""Batches in the network at once, at most: each holds its own maps. A guess; `rcnn-lite` by ONNX Runtime with one, two
and eight of 16 pictures peaked at 1.6, 1.9 and 3.8 GB."""


def extract_images(
    images: Iterable[ReadImage], extractor: RegionExtractor, options: ExtractOptions, decode: Decode | None = None
) -> Iterator[Extracted | tuple[ReadImage, InputError]]:
    """Every picture's regions, in order; what cannot be used comes with its error instead, and is in no batch.

    decode: what makes pixels of bytes, called by `options.decode_threads` threads; left out: this process.

    Yielded images are without their bytes. Where the extractor allows it (`RegionExtractor.parallel`), each thread of
    the network has a batch of its own: no core waits for the others in the middle of a layer, which is a tenth faster
    on two cores. At most 2 * streams + 2 batches are in memory, where streams is the number of batches in the network.
    """
    threads = options.threads or torchs_own_threads()
    streams = min(threads, MOST_STREAMS) if extractor.parallel else 1
    decode_options = DecodeOptions(options.max_pixels, extractor.least_side)
    decode = decode or (lambda data, uri: decode_sized(data, uri, decode_options))

    def prepare(image: ReadImage) -> Prepared:
        return extractor.prepare(image.image_id, *decode(image.content(), image.uri))

    batch: _Batch = []
    under_way: deque[tuple[_Batch, Future[list[Regions | None]]]] = deque()
    with (
        ThreadPoolExecutor(options.decode_threads) as decoders,
        ThreadPoolExecutor(streams, "network", torch.set_num_threads, (threads // streams,)) as networks,
    ):

        def start() -> None:
            under_way.append((batch, networks.submit(_in_halves, extractor, [prepared for _, prepared in batch])))

        try:
            for image, prepared in _ahead(decoders, prepare, images, streams * options.batch_size):
                if isinstance(prepared, InputError):
                    yield image, prepared
                    continue
                batch.append((image, prepared))
                if len(batch) == options.batch_size:
                    start()
                    batch = []
                    if len(under_way) > streams:
                        yield from _extracted(*under_way.popleft())
            if batch:
                start()
            while under_way:
                yield from _extracted(*under_way.popleft())
        finally:
            for _, future in under_way:
                future.cancel()


@lru_cache(maxsize=1)
def torchs_own_threads() -> int:
    """The threads that torch chose in this process, before it was told another number for the network's threads."""
    return torch.get_num_threads()


def _ahead(
    pool: ThreadPoolExecutor, prepare: Any, images: Iterable[ReadImage], window: int
) -> Iterator[tuple[ReadImage, Prepared | InputError]]:
    """Each image with what `prepare` made of it, in order, at most `window` under way."""
    under_way: deque[tuple[ReadImage, Future[Prepared]]] = deque()

    def take() -> tuple[ReadImage, Prepared | InputError]:
        image, future = under_way.popleft()
        try:
            return image, future.result()
        except InputError as error:
            return image, error

    for image in images:
        # Its bytes go once it is decoded: they may be many.
        under_way.append((replace(image, data=None), pool.submit(prepare, image)))
        if len(under_way) >= window:
            yield take()
    while under_way:
        yield take()


def _in_halves(extractor: RegionExtractor, prepared: list[Prepared]) -> list[Regions | None]:
    """The regions of pictures; where they do not fit into a GPU's memory together, of half of them at a time.

    None for a picture that does not fit alone.
    """
    try:
        return list(extractor.extract(prepared))
    except torch.cuda.OutOfMemoryError:
        if len(prepared) == 1:
            return [None]
    torch.cuda.empty_cache()
    middle = len(prepared) // 2
    return _in_halves(extractor, prepared[:middle]) + _in_halves(extractor, prepared[middle:])


def _extracted(
    batch: _Batch, found: Future[list[Regions | None]]
) -> Iterator[Extracted | tuple[ReadImage, InputError]]:
    for (image, prepared), regions in zip(batch, found.result(), strict=True):
        if regions is None:
            message = f"{image.uri}: the GPU's memory is too small for this picture alone"
            yield image, InputError(Reason.TOO_LARGE, message, image.uri)
        else:
            yield Extracted(image.image_id, image.uri, prepared.width, prepared.height, regions, image.content_hash)


class RegionsShard:
    """A shard of the regions table in the making, from what extract_images yields."""

    def __init__(self, writer: ShardWriter, batch_size: int) -> None:
        self._writer, self._batch_size, self._inputs = writer, batch_size, 0
        self._found: list[Extracted] = []

    def add(self, result: Extracted | tuple[ReadImage, InputError]) -> InputError | None:
        """Take a picture's regions, or its error; returns that, or the one that its features are."""
        if not isinstance(result, Extracted):
            image, failure = result
            self._inputs += not image.archive_level
            return self._failed(image.uri, failure, image.archive_level)
        self._inputs += 1
        try:
            self._found.append(_in_float16(result))
        except InputError as error:
            return self._failed(result.uri, error)
        if len(self._found) == self._batch_size:
            self._write()
        return None

    def commit(self, counts: Mapping[str, int] | None = None) -> ShardResult:
        """Publish the shard, as ShardWriter.commit. counts: what was skipped, where another writer counted it."""
        self._write()
        self._writer.counts.update(counts or {})
        return self._writer.commit(self._inputs)

    def _failed(self, uri: str, error: InputError, archive_level: bool = False) -> InputError:
        row = tables.error_row(uri, self._writer.output.stage, error.reason, error.message)
        self._writer.add_error(row, archive_level=archive_level)
        return error

    def _write(self) -> None:
        if self._found:
            self._writer.write(regions_batch(self._found))
            self._found = []


def extract_shard(
    images: Iterable[ReadImage], extractor: RegionExtractor, options: ExtractOptions, writer: ShardWriter
) -> ShardResult:
    """Extract the pictures of one shard into the regions table, and commit it.

    Raises VsalignError at the first input that cannot be used, where `options` says to stop.
    """
    shard = RegionsShard(writer, options.batch_size)
    for result in extract_images(images, extractor, options):
        error = shard.add(result)
        if error is not None and options.on_error == "stop":
            raise VsalignError(f"{error.reason}: {error.message} (--on-error stop)")
    return shard.commit()


def _in_float16(extracted: Extracted) -> Extracted:
    regions = extracted.regions
    return replace(extracted, regions=replace(regions, features=to_float16(regions.features, extracted.uri)))


def regions_batch(found: Sequence[Extracted]) -> pa.RecordBatch:
    """Rows of the regions table from at least one picture's regions, whose features are float16 already.

    Whole arrays become columns: lists of Python numbers would cost a hundred times as much.
    """
    regions = [extracted.regions for extracted in found]
    boxes = np.concatenate([each.boxes for each in regions]).astype(np.float32, copy=False)
    scores = np.concatenate([each.scores for each in regions]).astype(np.float32, copy=False)
    features = np.concatenate([each.features for each in regions])
    if features.dtype != np.dtype("<f2"):
        raise TypeError(f"features are {features.dtype}; to_float16 makes them float16")
    ends = pa.array(np.cumsum([0, *(len(each.boxes) for each in regions)]), pa.int32())
    schema = tables.regions_schema(features.shape[1])
    vectors = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(2 * features.shape[1]), len(features), [None, pa.py_buffer(np.ascontiguousarray(features))]
    )
    columns = [
        pa.array([extracted.image_id for extracted in found], pa.string()),
        pa.array([extracted.uri for extracted in found], pa.string()),
        pa.array([extracted.width for extracted in found], pa.int32()),
        pa.array([extracted.height for extracted in found], pa.int32()),
        pa.ListArray.from_arrays(ends, pa.FixedSizeListArray.from_arrays(pa.array(boxes.ravel()), 4)),
        pa.ListArray.from_arrays(ends, pa.array(scores)),
        pa.ListArray.from_arrays(ends, vectors),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
