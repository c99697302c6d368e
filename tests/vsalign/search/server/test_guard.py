"""Who is let in, and what the browser is told about every answer."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from tests.vsalign.search.conftest import Archive
from tests.vsalign.search.server.conftest import Serve
from vsalign.errors import ConfigurationError
from vsalign.search.server.command import ServeOptions, page_address, token_of

TOKEN = "0123456789abcdef-._~"
PATHS = ("/", "/api/index", "/api/search?q=red", "/thumbnails/0", "/assets/page.js", "/openapi.json", "/nothing")


@pytest.fixture
def guarded(archive: Archive, serve: Serve) -> TestClient:
    return serve(archive.index, token=TOKEN)


def test_without_the_token_nothing_is_answered(guarded: TestClient) -> None:
    for path in PATHS:
        answer = guarded.get(path)
        assert answer.status_code == 401 and answer.json().keys() == {"error"}
    for wrong in ("", TOKEN[:-1], TOKEN + "x", "é" * 16):
        assert guarded.get("/", params={"token": wrong}).status_code == 401
        assert guarded.get("/api/index", headers={"authorization": f"Bearer {wrong}".encode()}).status_code == 401
    assert guarded.get("/api/index", params={"token": TOKEN}).status_code == 401, "only the page takes it there"


def test_the_address_gives_a_cookie_that_scripts_do_not_see(guarded: TestClient) -> None:
    page = guarded.get("/", params={"token": TOKEN})
    assert page.status_code == 200
    cookie = page.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert guarded.get("/api/index").status_code == 200, "the cookie is kept"


def test_a_bearer_is_let_in(guarded: TestClient) -> None:
    for kind in ("Bearer", "bearer"):
        answer = guarded.get("/api/index", headers={"authorization": f"{kind} {TOKEN}"})
        assert answer.status_code == 200 and "set-cookie" not in answer.headers
    assert guarded.get("/api/index", headers={"authorization": f"Basic {TOKEN}"}).status_code == 401


def test_a_server_of_this_machine_answers_to_its_names_alone(client: TestClient) -> None:
    for host in ("localhost", "LOCALHOST:8000", "127.0.0.1:1", "127.8.8.8", "[::1]:8000"):
        assert client.get("/api/index", headers={"host": host}).status_code == 200, host
    for host in ("evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "", "a:b:c"):
        answer = client.get("/api/index", headers={"host": host})
        assert answer.status_code == 403 and answer.json().keys() == {"error"}, host


def test_every_answer_forbids_what_the_page_does_not_need(client: TestClient) -> None:
    answers = [client.get(path) for path in PATHS]
    answers.append(client.get("/", headers={"host": "evil.example"}))
    assert {answer.status_code for answer in answers} == {200, 403, 404}
    for answer in answers:
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_other_hosts_than_this_machine_ask_for_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VSALIGN_TOKEN", raising=False)
    for host in ("127.0.0.1", "localhost", "::1"):
        assert token_of(ServeOptions(index="x", host=host)) == ""
    made = {token_of(ServeOptions(index="x", host=host)) for host in ("0.0.0.0", "::", "10.0.0.1", "archive.example")}
    assert len(made) == 4 and min(map(len, made)) >= 32
    monkeypatch.setenv("VSALIGN_TOKEN", TOKEN)
    assert token_of(ServeOptions(index="x")) == token_of(ServeOptions(index="x", host="0.0.0.0")) == TOKEN
    assert token_of(ServeOptions(index="x", token=TOKEN[::-1])) == TOKEN[::-1]


def test_a_token_that_could_be_guessed_or_cut_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for bad in ("short", "x" * 15, "x" * 201, "sixteen letters and a blank", "semi;colon;semi;colon", "é" * 20):
        with pytest.raises(ConfigurationError, match="16 to 200"):
            ServeOptions(index="x", token=bad)
        monkeypatch.setenv("VSALIGN_TOKEN", bad)
        with pytest.raises(ConfigurationError, match="16 to 200"):
            token_of(ServeOptions(index="x"))


def test_the_printed_address_opens_in_a_browser() -> None:
    assert page_address("127.0.0.1", 8000, "") == "http://127.0.0.1:8000/"
    assert page_address("::1", 80, "") == "http://[::1]:80/"
    assert page_address("0.0.0.0", 8000, TOKEN).endswith(f":8000/?token={TOKEN}")
    assert "0.0.0.0" not in page_address("0.0.0.0", 8000, TOKEN)
