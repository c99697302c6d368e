"""How many actors a cluster gives, what they cost, and when errors are too many."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.shards import Pool, ShardOptions
from jobs.watching import COUNTED, Monotony, require_few_errors
from vsalign.errors import ConfigurationError, RunStopped


@pytest.mark.parametrize(
    ("options", "resources", "shards", "expected"),
    [
        ({}, {"CPU": 16.0}, 100, (16, 0)),
        ({"cpus_per_actor": 3}, {"CPU": 16.0}, 100, (5, 0)),
        ({"cpus_per_actor": 32}, {"CPU": 16.0}, 100, (1, 0)),
        ({"gpus_per_actor": 0.5}, {"CPU": 16.0, "GPU": 2.0}, 100, (4, 0.5)),
        ({"gpus_per_actor": 1.0}, {"CPU": 16.0}, 100, (1, 1)),
        ({}, {"CPU": 16.0, "GPU": 2.0}, 100, (2, 1)),
        ({"gpus_per_actor": 0.0}, {"CPU": 16.0, "GPU": 2.0}, 100, (16, 0)),
        ({"actors": 7}, {"CPU": 16.0}, 100, (7, 0)),
        ({"actors": 7}, {"CPU": 16.0}, 3, (3, 0)),
    ],
)
def test_the_pool_is_as_large_as_the_cluster_and_the_work_allow(
    options: dict[str, Any], resources: dict[str, float], shards: int, expected: tuple[int, float]
) -> None:
    pool = ShardOptions(output="o", **options).pool(resources, shards, uses_gpus=True)
    assert (pool.actors, pool.gpus) == expected


def test_work_that_has_no_use_for_gpus_takes_none() -> None:
    assert ShardOptions(output="o").pool({"CPU": 16.0, "GPU": 2.0}, 100, uses_gpus=False) == (16, 1, 0.0)


def test_cost_is_that_of_all_actors() -> None:
    assert Pool(4, 2, 0.0).cost(1800) == "4.00 CPU-hours"
    assert Pool(4, 1, 0.5).cost(3600) == "4.00 CPU-hours, 2.00 GPU-hours"


def test_too_many_errors_end_the_run() -> None:
    require_few_errors(0.1, COUNTED - 1, COUNTED - 1, "images")
    require_few_errors(0.1, 200, 20, "images")
    require_few_errors(1.0, 200, 200, "images")
    with pytest.raises(RunStopped, match="21 of the 200 images of this run are errors, more than --max-error"):
        require_few_errors(0.1, 200, 21, "images")


def test_one_sentence_for_a_fifth_of_the_pictures_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    monotony = Monotony("images")
    for _ in range(3):
        monotony.add({"rows": 30, "common": "a dog", "times": 30})
    assert capsys.readouterr().err == ""  # a few pictures say nothing
    monotony.add({"rows": 0, "common": "", "times": 0})
    monotony.add({"rows": 110, "common": "a cat", "times": 10})
    monotony.add({"rows": 100, "common": "a cat", "times": 10})
    said = capsys.readouterr().err
    assert said == "warning: 45 % or more of 200 images are described as 'a dog': look at some of them\n"


def test_different_sentences_are_told_nothing_of(capsys: pytest.CaptureFixture[str]) -> None:
    monotony = Monotony("images")
    for number in range(12_000):
        monotony.add({"rows": 10, "common": f"a dog {number}", "times": 1})
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("wrong", [{"max_error_share": 1.5}, {"gpus_per_actor": -1.0}, {"stall_seconds": -1}])
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong)).replace("_", "-")):
        ShardOptions(output="o", **wrong)
