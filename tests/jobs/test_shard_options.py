"""How many actors a cluster gives, what they cost, and when errors are too many."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.shards import COUNTED, ShardOptions, _require_few_errors
from vsalign.errors import ConfigurationError, RunStopped


@pytest.mark.parametrize(
    ("options", "resources", "shards", "expected"),
    [
        ({}, {"CPU": 16.0}, 100, 16),
        ({"cpus_per_actor": 3}, {"CPU": 16.0}, 100, 5),
        ({"cpus_per_actor": 32}, {"CPU": 16.0}, 100, 1),
        ({"gpus_per_actor": 0.5}, {"CPU": 16.0, "GPU": 2.0}, 100, 4),
        ({"gpus_per_actor": 1.0}, {"CPU": 16.0}, 100, 1),
        ({"actors": 7}, {"CPU": 16.0}, 100, 7),
        ({"actors": 7}, {"CPU": 16.0}, 3, 3),
    ],
)
def test_the_pool_is_as_large_as_the_cluster_and_the_work_allow(
    options: dict[str, Any], resources: dict[str, float], shards: int, expected: int
) -> None:
    assert ShardOptions(output="o", **options).pool_size(resources, shards) == expected


def test_cost_is_that_of_all_actors() -> None:
    assert ShardOptions(output="o", cpus_per_actor=2).cost(4, 1800) == "4.00 CPU-hours"
    assert ShardOptions(output="o", gpus_per_actor=0.5).cost(4, 3600) == "4.00 CPU-hours, 2.00 GPU-hours"


def test_too_many_errors_end_the_run() -> None:
    _require_few_errors(0.1, COUNTED - 1, COUNTED - 1, "images")
    _require_few_errors(0.1, 200, 20, "images")
    _require_few_errors(1.0, 200, 200, "images")
    with pytest.raises(RunStopped, match="21 of the 200 images of this run are errors, more than --max-error"):
        _require_few_errors(0.1, 200, 21, "images")


@pytest.mark.parametrize("wrong", [{"max_error_share": 1.5}, {"gpus_per_actor": -1.0}, {"stall_seconds": -1}])
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong)).replace("_", "-")):
        ShardOptions(output="o", **wrong)
