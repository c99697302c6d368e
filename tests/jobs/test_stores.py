"""The road on stores that fail five of a hundred requests: the local tables, row by row. The whole of it takes minutes:
the long form."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import LONG
from tests.jobs.stores import HUNDRED
from tests.jobs.whole_road import roads_beside_local


@pytest.mark.timeout(1800 if LONG else 400)
def test_the_road_on_failing_stores_equals_the_local_one(tmp_path: Path) -> None:
    roads = roads_beside_local(tmp_path, ["gs", "s3"], 24 if LONG else 16, whole=LONG)
    for road in roads:
        assert road.requests["passed"] > (200 if LONG else 50), road.requests
        assert all(road.requests[fate] for fate in HUNDRED), road.requests
        assert road.differences == [], road.protocol
