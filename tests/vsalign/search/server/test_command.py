"""`vsalign serve` as a person types it."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.vsalign.search.conftest import SCENES, Archive
from vsalign import cli
from vsalign.search.server import command

TOKEN = "0123456789abcdef0123"


def get(address: str, **headers: str) -> Any:
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=30) as answer:
        return json.load(answer)


def started(*words: str) -> tuple[subprocess.Popen[str], str]:
    """A server's process, once it has said where it is, and that address."""
    server = subprocess.Popen(
        [sys.executable, "-m", "vsalign.cli", "serve", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stdout
    said = server.stdout.readline()
    address = re.search(r"http://\S+", said)
    if not address:
        server.kill()
        raise AssertionError(said + server.communicate()[1])
    return server, address[0]


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_told_to_end(archive: Archive, end: int) -> None:
    server, address = started(archive.index, "--port", "0")
    try:
        assert get(f"{address}api/index")["images"] == SCENES
        assert len(get(f"{address}api/search?q=red")["hits"]) == SCENES
        server.send_signal(end)
        _, said = server.communicate(timeout=30)
    finally:
        server.kill()
    assert server.returncode == (0 if end == signal.SIGINT else 128 + end)
    assert "Traceback" not in said


def test_the_token_of_the_environment_is_asked_for(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VSALIGN_TOKEN", TOKEN)
    server, address = started(archive.index, "--port", "0", "--host", "localhost")
    try:
        assert address.endswith(f"/?token={TOKEN}")
        bare = address.partition("?")[0]
        with pytest.raises(urllib.error.HTTPError, match="401"):
            get(f"{bare}api/index")
        assert get(f"{bare}api/index", Authorization=f"Bearer {TOKEN}")["images"] == SCENES
    finally:
        server.kill()
        server.communicate()


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """told(words of the command) -> the sentence of a mistake."""

    def run(*words: str) -> str:
        assert cli.main(["serve", *words]) == 2
        *_, said = capsys.readouterr().err.splitlines()
        assert said.startswith("error: ")
        return said

    return run


def test_a_port_that_is_taken_is_told_before_anything_long(told: Callable[..., str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"--port {port}: cannot listen there" in told(str(tmp_path / "nothing"), "--port", str(port))
    assert "cannot listen there" in told(str(tmp_path / "nothing"), "--host", "no host.invalid")
    assert "0 (any) to 65535" in told("x", "--port", "70000")


def test_what_is_no_index_and_no_pictures_is_told(told: Callable[..., str], archive: Archive, tmp_path: Path) -> None:
    assert "there is no file or folder" in told(str(tmp_path / "nothing"), "--port", "0")
    assert "holds a regions table" in told(archive.regions, "--port", "0")
    assert "holds nothing to read" in told(str(tmp_path), "--port", "0", "--work", f"{tmp_path}-work", "--no-captions")


def test_a_missing_extra_is_told(told: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "uvicorn" else find(name, *rest)
    )
    assert "pip install 'vsalign[search]'" in told("x")


def test_it_is_imported_without_the_extra() -> None:
    code = (
        "import sys; sys.modules.update(fastapi=None, uvicorn=None, starlette=None); "
        f"import vsalign.cli, {command.__name__}; sys.exit(vsalign.cli.main(['serve', '--help']))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0 and "VSALIGN_TOKEN" in run.stdout, run.stderr
