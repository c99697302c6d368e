"""The features column as numpy arrays: views of the right rows, however Arrow cut the column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from vsalign.tables import feature_arrays

DIM = 3


def features_of(n: int) -> np.ndarray:
    """n regions, of which each value is its own."""
    return (np.arange(n * DIM).reshape(n, DIM) + 100 * n).astype(np.float16)


def column(rows: Sequence[np.ndarray]) -> pa.Array:
    return pa.array([[row.astype("<f2").tobytes() for row in each] for each in rows], pa.list_(pa.binary(2 * DIM)))


def assert_rows(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == np.float16
        assert np.array_equal(one, other)


def test_feature_arrays_are_the_rows_of_whole_sliced_and_offset_columns() -> None:
    rows = [features_of(n) for n in (3, 0, 5, 6)] + [np.zeros((0, DIM), np.float16), features_of(2)]
    whole = column(rows)

    assert_rows(feature_arrays(whole), rows)
    for start in range(len(rows)):
        for length in range(len(rows) - start + 1):
            assert_rows(feature_arrays(whole.slice(start, length)), rows[start : start + length])


def test_feature_arrays_follow_the_offset_of_the_values() -> None:
    rows = [features_of(n) for n in (2, 1, 3)]
    values = column(rows).values.slice(1)
    lists_of = pa.ListArray.from_arrays(pa.array([0, 2, 5], pa.int32()), values)
    flat = np.concatenate(rows)[1:]

    assert_rows(feature_arrays(lists_of), [flat[:2], flat[2:5]])


def test_feature_arrays_of_no_region_are_empty() -> None:
    for rows in ([], [np.zeros((0, DIM))], [np.zeros((0, DIM))] * 3):
        assert_rows(feature_arrays(column(rows)), rows)
