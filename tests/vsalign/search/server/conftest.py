"""A server of the small archive, asked without a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from starlette.testclient import TestClient

from tests.vsalign.search.conftest import Archive
from vsalign.search import SearchIndex
from vsalign.search.server.app import application
from vsalign.search.server.guard import Guard
from vsalign.search.server.opened import OpenIndex

Serve = Callable[..., TestClient]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """serve(index's URL, images=…, token=…, seconds=…) -> what asks it; seconds: between looks at the index."""
    with ExitStack() as stack:

        def start(url: str, images: str | None = None, token: str = "", seconds: float = 60.0) -> TestClient:
            index = OpenIndex(url, lambda: SearchIndex(url), seconds)
            guard = Guard(application(index, images), token)
            client = TestClient(guard, base_url="http://127.0.0.1:8000", raise_server_exceptions=False)
            return stack.enter_context(client)

        yield start


@pytest.fixture
def client(archive: Archive, serve: Serve) -> TestClient:
    """Of the small archive, as it was indexed."""
    return serve(archive.index)
