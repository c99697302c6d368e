"""The page in Chromium: `make browser`, for a machine that has one (Debian's package chromium)."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from axe_core_python import sync_playwright as axe_package
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.vsalign.search.conftest import Archive, make_archive
from vsalign.search import SearchIndex
from vsalign.search.server.app import application
from vsalign.search.server.guard import Guard
from vsalign.search.server.opened import OpenIndex

AXE = Path(axe_package.__file__).with_name("axe.min.js")
SERIOUS = ("serious", "critical")


expect.set_options(timeout=20_000)  # ms: a busy machine is no fault of the page


@contextmanager
def served(url: str, images: str | None = None, token: str = "") -> Iterator[str]:
    """The address of a server of an index, in a thread of this process."""
    guard = Guard(application(OpenIndex(url, lambda: SearchIndex(url)), images), token)
    server = uvicorn.Server(uvicorn.Config(guard, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return make_archive(tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="session")
def address(archive: Archive) -> Iterator[str]:
    """Of a server of the small archive."""
    with served(archive.index) as address:
        yield address


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert chromium, "no Chromium is installed: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def new_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """new_page(width=…, height=…, dark=…) -> a page; what it complains of, or asks of another host, fails the test."""
    complaints: list[str] = []
    contexts = []

    def make(width: int = 1200, height: int = 800, dark: bool = False, **more: Any) -> Page:
        scheme: Any = "dark" if dark else "light"
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, **more)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda asked: None if "//127.0.0.1:" in asked.url else complaints.append(asked.url))
        return page

    yield make
    for context in contexts:
        context.close()
    expected = "Failed to load resource"  # that is how Chromium tells a status, which the page shows
    assert not [each for each in complaints if expected not in each]


@pytest.fixture
def page(new_page: Callable[..., Page]) -> Page:
    return new_page()


def faults(page: Page) -> list[str]:
    """What axe-core finds serious or critical on a page."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")["violations"]
    return [
        f"{each['id']} ({each['impact']}): {node['html'][:200]}"
        for each in found
        if each["impact"] in SERIOUS
        for node in each["nodes"]
    ]


def search(page: Page, address: str, sentence: str) -> None:
    """Type a sentence, and wait for what is found."""
    page.goto(address)
    page.get_by_role("searchbox").fill(sentence)
    page.keyboard.press("Enter")
    page.locator(".tile").first.wait_for()
