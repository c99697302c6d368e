"""The JSON API: what it finds, what it refuses, and that whatever it is told stays text."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.vsalign.search.conftest import HOSTILE_CAPTIONS, HOSTILE_NAMES, SCENES, Archive
from vsalign.search import SearchIndex, Wanted

SENTENCE = "a small red circle"


def found(client: TestClient, address: str = "/api/search", /, **asked: Any) -> dict[str, Any]:
    answer = client.get(address, params={"q": SENTENCE, **asked} if address == "/api/search" else asked)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def refused(client: TestClient, address: str = "/api/search", /, **asked: Any) -> str:
    """The sentence of an answer that is 422."""
    answer = client.get(address, params=asked)
    assert answer.status_code == 422 and answer.json().keys() == {"error"}, answer.text
    sentence: str = answer.json()["error"]
    return sentence


def test_it_finds_what_the_index_finds(client: TestClient, archive: Archive) -> None:
    index = SearchIndex(archive.index)
    told = found(client, limit=100)
    hits = index.search(index.asker.sentence(SENTENCE), 100)
    assert [hit["image_id"] for hit in told["hits"]] == [hit.image_id for hit in hits]
    assert [hit["score"] for hit in told["hits"]] == pytest.approx([hit.score for hit in hits])
    places = [[(place["phrase"], tuple(place["box"])) for place in hit["places"]] for hit in told["hits"]]
    assert places == [[(place.phrase, place.box) for place in hit.places] for hit in hits]
    assert told["tokens"] == SENTENCE.split() and not told["more"] and "uri" not in told["hits"][0]


def test_parts_put_together_are_the_whole(client: TestClient) -> None:
    whole = found(client, limit=100)["hits"]
    parts = [found(client, offset=offset, limit=5) for offset in range(0, SCENES, 5)]
    assert [hit for part in parts for hit in part["hits"]] == whole and len(whole) == SCENES
    assert [part["more"] for part in parts] == [True, True, False]
    assert found(client, offset=500)["hits"] == []


def test_filters_are_those_of_the_index(client: TestClient, archive: Archive) -> None:
    index = SearchIndex(archive.index)
    for wanted in ({"path": "holiday/"}, {"path": "PACKED.*"}, {"caption": "circle number"}, {"min_width": 321}):
        hits = index.search(index.asker.sentence(SENTENCE), 100, Wanted(**wanted))
        assert [hit["number"] for hit in found(client, **wanted)["hits"]] == [hit.number for hit in hits]


@pytest.mark.parametrize("box", [(), (20.0, 30.5, 200.0, 310.0)])
def test_what_looks_like_a_box_is_what_the_index_finds(
    client: TestClient, archive: Archive, box: tuple[float, ...]
) -> None:
    index = SearchIndex(archive.index)
    sides = dict(zip(("x1", "y1", "x2", "y2"), box, strict=False))
    for hit in found(client, path="holiday/")["hits"]:
        told = found(client, "/api/like", number=hit["number"], key=hit["key"], **sides)["hits"]
        hits = index.search(index.asker.place(f"{archive.images}/{hit['image_id']}", box), 24)
        assert [each["number"] for each in told] == [each.number for each in hits]
        assert told[0]["number"] == hit["number"] and told[0]["score"] > 0.99


def test_the_index_is_described(client: TestClient, archive: Archive) -> None:
    told = client.get("/api/index").json()
    assert (told["images"], told["captions"], told["model"]["extractor"]) == (SCENES, True, "lite")
    assert archive.model not in str(told)
    assert {"/api/search", "/api/like", "/thumbnails/{number}"} <= client.get("/openapi.json").json()["paths"].keys()
    for external in ("/docs", "/redoc"):
        assert client.get(external).status_code == 404


def test_empty_and_unknown_questions_are_answered_with_a_sentence(client: TestClient) -> None:
    assert "no words" in refused(client, q="")
    assert "no words" in refused(client, q="?!… \x00")
    assert "none of these words (frobnicate)" in refused(client, q="frobnicate")
    assert refused(client) == "q: field required"
    assert found(client, q="a red frobnicate")["unknown"] == ["frobnicate"]
    assert found(client, path="nowhere/")["hits"] == []


def test_numbers_out_of_bounds_are_refused(client: TestClient) -> None:
    assert "limit" in refused(client, q=SENTENCE, limit=10**12)
    assert "limit" in refused(client, q=SENTENCE, limit=0)
    assert "offset" in refused(client, q=SENTENCE, offset=-1)
    assert "offset + limit is 1040" in refused(client, q=SENTENCE, offset=990, limit=50)
    assert "min_width" in refused(client, q=SENTENCE, min_width=-1)
    assert "min_width" in refused(client, q=SENTENCE, min_width=2**40)
    assert "10000" in refused(client, q="r" * 10_001)
    assert len(found(client, q="red " * 2500)["tokens"]) == 64
    assert found(client, offset=976, limit=24)["more"] is False


def test_boxes_that_are_none_are_refused(client: TestClient) -> None:
    assert "four sides" in refused(client, "/api/like", number=0, x1=1, y1=1)
    for sides in ((9, 9, 1, 1), (0, 0, "nan", 5), (400, 400, 500, 500), (0, 0, 0, 0)):
        box = dict(zip(("x1", "y1", "x2", "y2"), sides, strict=True))
        assert "give x1,y1,x2,y2" in refused(client, "/api/like", number=0, **box)
    assert client.get("/api/like", params={"number": SCENES}).status_code == 404


def test_hostile_patterns_end(client: TestClient) -> None:
    for pattern in ("*?" * 499, "(" * 1000, "\\" * 999, "[^a]{999}*"):
        answer = client.get("/api/search", params={"q": SENTENCE, "path": pattern, "caption": pattern})
        assert answer.status_code in (200, 422)


def test_hostile_captions_and_names_come_back_as_they_are(client: TestClient) -> None:
    hits = found(client, limit=100)["hits"]
    assert set(HOSTILE_CAPTIONS) <= {hit["caption"] for hit in hits}
    assert set(HOSTILE_NAMES) <= {hit["image_id"].replace("\\x5c", "\\") for hit in hits}


@pytest.mark.parametrize(
    "path", ["/nothing", "/assets/../app.py", "/assets/%2e%2e%2fapp.py", "/assets/..%5capp.py", "/etc"]
)
def test_there_is_nothing_else(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404 and answer.json().keys() == {"error"}
    assert client.post("/api/search").status_code == 405


def test_the_page_has_no_part_from_outside_and_no_inline_script(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "://" not in page.text and "<script>" not in page.text and " style=" not in page.text
    for name, kind in (("page.css", "css"), ("palette.css", "css"), ("page.js", "javascript"), ("icon.svg", "svg")):
        part = client.get(f"/assets/{name}")
        assert part.status_code == 200 and kind in part.headers["content-type"]
        assert "http" not in part.text.replace("http://www.w3.org/2000/svg", "")
