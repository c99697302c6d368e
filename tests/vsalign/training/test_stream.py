"""Pairs from a regions table: each once an epoch, the same for every way of spreading and stopping the work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vsalign.errors import ConfigurationError, TableError
from vsalign.storage import TableReader, shards
from vsalign.training.stream import Batch, PairStream, Text, key_of

DIM = 3
Make = Callable[..., PairStream]


def features_of(number: int) -> np.ndarray:
    """1 to 4 regions whose first value tells the image, whose second the region."""
    n = number % 4 + 1
    return np.stack([np.full(n, number), np.arange(n), np.ones(n)], 1).astype(np.float16)


def texts_of(numbers: Iterable[int], each: int = 1) -> dict[str, list[Text]]:
    """`each` texts of each image; a text's words tell the image and its own number."""
    return {f"{n}.jpg": [Text([4 + n, 4 + k] + [4] * k, key=1000 * n + k) for k in range(each)] for n in numbers}


def image_names(sizes: Sequence[int]) -> list[list[int]]:
    """Image numbers of shards of such sizes."""
    numbers = iter(range(sum(sizes)))
    return [[next(numbers) for _ in range(size)] for size in sizes]


@pytest.fixture
def make(tmp_path: Path, write_regions: Callable[..., str]) -> Make:
    """A stream over shards of such sizes, with `each` texts an image, or such texts."""

    def stream(
        sizes: Sequence[int],
        each: int = 1,
        texts: dict[str, list[Text]] | None = None,
        seed: int = 0,
        window: int = 8192,
        shown: Any = "all",
    ) -> PairStream:
        url = tmp_path / ("-".join(map(str, sizes)) + ".table")
        if not url.exists():
            write_regions(url, [{f"{n}.jpg": features_of(n) for n in shard} for shard in image_names(sizes)])
        every = texts_of(range(sum(sizes)), each) if texts is None else texts
        return PairStream(TableReader(str(url), "regions"), every, seed=seed, window_images=window, shown=shown)

    return stream


def keys(batches: Iterable[Batch]) -> list[int]:
    return [key for batch in batches for key in batch.text_keys.tolist()]


def lists(batches: Iterable[Batch]) -> list[list[int]]:
    return [batch.text_keys.tolist() for batch in batches]


@pytest.mark.parametrize("window", [1, 7, 8192])
@pytest.mark.parametrize("sizes", [[30, 10], [17], [5, 0, 7, 1]])
@pytest.mark.parametrize(("workers", "batch_size"), [(1, 8), (2, 8), (2, 4), (3, 2)])
def test_an_epoch_gives_every_worker_as_many_steps_and_every_pair_at_most_once(
    make: Make, sizes: list[int], window: int, workers: int, batch_size: int
) -> None:
    stream = make(sizes, window=window)
    steps = stream.steps(batch_size, workers)
    size = min(batch_size, sum(sizes) // workers)

    shares = [lists(stream.epoch(0, batch_size, worker=worker, workers=workers)) for worker in range(workers)]

    assert [[len(batch) for batch in share] for share in shares] == [[size] * steps] * workers
    seen = Counter(key for share in shares for batch in share for key in batch)
    assert max(seen.values()) == 1
    assert sum(sizes) - len(seen) < workers * size + workers  # what is over waits for the next epoch


def test_over_the_epochs_no_pair_is_left_out(make: Make) -> None:
    stream = make([5, 8], each=2, window=6)

    seen = {key for epoch in range(6) for key in keys(stream.epoch(epoch, 8))}

    assert len(seen) == 26


def test_the_order_changes_with_epoch_and_seed_and_with_nothing_else(make: Make) -> None:
    orders = {
        (seed, epoch): keys(make([9, 4, 7], each=2, seed=seed, window=8).epoch(epoch, 5))
        for seed in (0, 1)
        for epoch in (0, 1, 2)
    }

    assert len({tuple(order) for order in orders.values()}) == 6
    for (seed, epoch), order in orders.items():
        assert keys(make([9, 4, 7], each=2, seed=seed, window=8).epoch(epoch, 5)) == order


@pytest.mark.parametrize("workers", [1, 2])
def test_a_first_step_skips_just_the_steps_before_it(make: Make, workers: int) -> None:
    stream = make([9, 4, 7], each=2, window=6)
    for worker in range(workers):
        whole = lists(stream.epoch(3, 4, worker=worker, workers=workers))
        for first in range(len(whole) + 1):
            rest = lists(stream.epoch(3, 4, worker=worker, workers=workers, first_step=first))
            assert rest == whole[first:]


def test_fewer_pairs_than_a_batch_make_one_smaller_batch(make: Make) -> None:
    assert [len(batch) for batch in lists(make([3]).epoch(0, 8))] == [3]
    stream = make([5])
    assert [[len(b) for b in lists(stream.epoch(0, 8, worker=w, workers=2))] for w in (0, 1)] == [[2], [2]]


def test_fewer_pairs_than_workers_are_refused(make: Make) -> None:
    with pytest.raises(ConfigurationError, match="3 pairs do not reach for 4 workers: use fewer workers"):
        make([3]).epoch(0, 8, worker=0, workers=4)


def test_all_pairs_gives_the_remainder_too(make: Make) -> None:
    batches = list(make([9, 4], each=2, window=5).all_pairs(8))

    assert [len(batch.words) for batch in batches] == [8, 8, 8, 2]
    assert sorted(keys(batches)) == sorted(1000 * n + k for n in range(13) for k in range(2))


def test_each_text_comes_with_its_own_image(make: Make) -> None:
    for batch in make([6, 0, 5], each=3, window=4).all_pairs(4):
        for row in range(len(batch.words)):
            number, which = divmod(int(batch.text_keys[row]), 1000)
            expected = features_of(number)
            mask = batch.region_mask[row]
            assert mask.tolist() == [True] * len(expected) + [False] * (len(mask) - len(expected))
            assert np.array_equal(batch.features[row][mask].numpy(), expected.astype(np.float32))
            assert (batch.features[row][~mask] == 0).all()
            assert batch.words[row, : batch.lengths[row]].tolist() == [4 + number, 4 + which] + [4] * which
            assert (batch.words[row, batch.lengths[row] :] == 0).all()
            assert batch.image_keys[row] == key_of(f"{number}.jpg")


def test_images_come_once_each_in_the_table_s_order(make: Make) -> None:
    stream = make([3, 0, 4], texts=texts_of([5, 1, 2, 6], each=2))

    found = [
        features[mask][:, 0].unique().item()
        for batch, masks in stream.images(3)
        for features, mask in zip(batch, masks, strict=True)
    ]

    assert stream.image_ids == [["1.jpg", "2.jpg"], ["5.jpg", "6.jpg"]]
    assert found == [1, 2, 5, 6]


def test_images_that_the_table_lacks_are_counted_and_left_out(make: Make) -> None:
    stream = make([4], texts={**texts_of([1, 2, 50, 60]), "3.jpg": []})

    assert (stream.pairs, stream.left_out) == (2, 2)
    with pytest.raises(ConfigurationError, match="are both tables of the same images"):
        make([4], texts=texts_of([50]))


def test_memory_is_bounded_by_the_window(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = make([4] * 10, each=2, window=8)
    windows: list[tuple[int, dict[str, np.ndarray]]] = []
    read = PairStream._features

    def watched(self: PairStream, shards: Sequence[int]) -> dict[str, np.ndarray]:
        windows.append((len(shards), read(self, shards)))
        return windows[-1][1]

    monkeypatch.setattr(PairStream, "_features", watched)
    list(stream.epoch(0, 8))

    assert [(shards, len(images)) for shards, images in windows] == [(2, 8)] * 5  # each read once
    # Copies: a view would keep the row group that it was read with in memory.
    assert all(features.base is None for _, images in windows for features in images.values())


def test_a_worker_reads_only_the_windows_of_its_share(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = make([4] * 10, window=4)
    read: list[list[int]] = []
    features = PairStream._features
    monkeypatch.setattr(
        PairStream, "_features", lambda self, shards: (read.append(list(shards)), features(self, shards))[1]
    )

    list(stream.epoch(0, 4, worker=1, workers=5))

    assert len(read) == 2


def test_an_earlier_window_is_let_go_before_the_next_is_read(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    import weakref

    class Window(dict[str, np.ndarray]):
        pass

    windows: list[weakref.ref[Window]] = []
    read = PairStream._features

    def watched(self: PairStream, shards: Sequence[int]) -> Window:
        assert all(window() is None for window in windows)
        window = Window(read(self, shards))
        windows.append(weakref.ref(window))
        return window

    monkeypatch.setattr(PairStream, "_features", watched)
    stream = make([4, 4, 4], window=1)

    assert len(list(stream.epoch(0, 5))) == 2
    assert len(list(stream.images(5))) == 3
    assert len(windows) == 6


def test_statistics_are_the_mean_and_spread_of_the_features(make: Make) -> None:
    mean, scale = make([5, 4]).statistics()

    every = np.concatenate([features_of(n) for n in range(9)]).astype(np.float64)
    np.testing.assert_allclose(mean.numpy(), every.mean(0), rtol=1e-5)
    assert scale == pytest.approx(np.sqrt(((every - every.mean(0)) ** 2).mean()), rel=1e-5)


def test_a_window_holds_no_more_of_a_large_shard_than_a_row_group_more(make: Make, monkeypatch: Any) -> None:
    whole = make([12], each=2)
    monkeypatch.setattr(shards, "ROW_GROUP_BYTES", 1)
    stream = make([12, 0], texts=texts_of(range(12), 2), window=3)
    groups = [len(ids) for ids in stream.image_ids]
    assert len(groups) > 4 and sum(groups) == 12

    held = [sum(len(stream.image_ids[group]) for group in window) for window, _ in stream._windows(0)]
    assert sum(held) == 12 and max(held) < 3 + max(groups)
    assert sorted(keys(stream.all_pairs(5))) == sorted(keys(whole.all_pairs(5)))
    for batch in stream.all_pairs(5):
        assert torch.equal(batch.features[:, 0, 0].long(), batch.text_keys // 1000)


def test_features_that_are_all_equal_have_the_scale_1(make: Make) -> None:
    mean, scale = make([1]).statistics()

    assert scale == 1.0
    assert mean.tolist() == [0, 0, 1]


def test_a_text_comes_alone_with_the_region_that_it_describes(make: Make) -> None:
    texts = {f"{n}.jpg": [Text([4], region=region, key=10 * n + region) for region in range(n + 1)] for n in range(4)}

    (batch,) = make([4], texts=texts, shown="described").all_pairs(100)

    assert batch.features.shape == (10, 1, DIM) and bool(batch.region_mask.all())
    for key, (image, region, _) in zip(batch.text_keys.tolist(), batch.features[:, 0].tolist(), strict=True):
        assert (image, region) == divmod(key, 10)


def test_a_text_on_a_region_that_is_not_there_is_refused(make: Make) -> None:
    stream = make([4], texts={"1.jpg": [Text([4], region=2)]})

    with pytest.raises(TableError, match=r"1\.jpg: a text describes region 2, the regions table has 2"):
        list(stream.epoch(0, 1))
    stream = make([4], texts={"1.jpg": [Text([4], region=-1)]})
    with pytest.raises(TableError, match="describes region -1"):
        list(stream.epoch(0, 1))


def test_keys_are_the_same_in_every_process_and_positive() -> None:
    assert key_of("a dog") == 7182415866560184703
    assert key_of("a dog") != key_of("a dog ")
    assert all(0 <= key_of(str(n)) < 2**63 for n in range(100))
    assert torch.tensor([key_of("été 犬")]).dtype == torch.int64
