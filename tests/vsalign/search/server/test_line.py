"""The line of questions: answered together, each on its own merits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import pytest

from tests.vsalign.search.conftest import SCENES, Archive
from vsalign.errors import ConfigurationError
from vsalign.search import Question, SearchIndex, Wanted
from vsalign.search.server import line
from vsalign.search.server.line import TOGETHER, Busy, Line, Result, Search
from vsalign.search.server.remembered import Remembered

SENTENCES = ("a red circle", "a small blue star", "a green square", "red", "a large circle")


@pytest.fixture
def index(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> SearchIndex:
    """An index that counts how it is asked, in `passes`."""
    index = SearchIndex(archive.index)
    passes: list[int] = []
    find = index.find

    def counted(questions: Sequence[Question], k: int) -> Any:
        passes.append(len(questions))
        return find(questions, k)

    monkeypatch.setattr(index, "find", counted)
    monkeypatch.setattr(index, "passes", passes, raising=False)
    return index


@contextmanager
def held(index: SearchIndex) -> Iterator[tuple[Line, Callable[[], None]]]:
    """A line whose thread waits until it is let go."""
    go = threading.Event()
    waiting = Line(lambda: (go.wait(30), index)[1])
    try:
        yield waiting, go.set
    finally:
        go.set()
        waiting.close()


def numbers(future: Future[Result]) -> list[int]:
    return [hit.number for hit in future.result(30).hits]


def test_questions_that_wait_are_answered_by_one_pass(index: SearchIndex) -> None:
    with held(index) as (waiting, go):
        first = waiting.ask(Search("a circle"))
        asked = [waiting.ask(Search(sentence)) for sentence in SENTENCES for _ in range(2)]
        go()
        found = [numbers(future) for future in asked]
        assert numbers(first)
    expected = [[hit.number for hit in index.search(index.asker.sentence(each), SCENES)] for each in SENTENCES]
    assert found == [each for each in expected for _ in range(2)]
    assert sum(index.passes[: -len(SENTENCES)]) == 1 + len(SENTENCES), "one of two equal questions is searched for"
    assert len(index.passes) - len(SENTENCES) <= 2


def test_a_bad_sentence_spoils_no_other(index: SearchIndex) -> None:
    with held(index) as (waiting, go):
        good, bad = waiting.ask(Search("a circle")), waiting.ask(Search("???"))
        filtered = waiting.ask(Search("a circle", wanted=Wanted(path="holiday/")))
        go()
        with pytest.raises(ConfigurationError, match="no words"):
            bad.result(30)
        assert len(numbers(good)) == SCENES and len(numbers(filtered)) == 2


def test_the_next_part_needs_no_search(index: SearchIndex) -> None:
    with held(index) as (waiting, go):
        go()
        parts = [waiting.ask(Search("a circle", offset=offset, limit=5)).result(30) for offset in (0, 5, 10)]
        assert index.passes == [1]
        assert len({hit.number for part in parts for hit in part.hits}) == SCENES
        waiting.ask(Search("a circle", offset=60, limit=20)).result(30)
        assert index.passes == [1, 1], "deeper than what was found at first"


def test_a_long_line_is_refused(index: SearchIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "MOST_WAITING", 3)
    with held(index) as (waiting, go):
        asked = []
        with pytest.raises(Busy):
            for _ in range(TOGETHER + 5):
                asked.append(waiting.ask(Search("a circle")))
        go()
        assert all(numbers(future) for future in asked) and len(asked) >= 3


def test_a_pass_that_fails_ends_its_own_questions_only(index: SearchIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    find = index.find
    with held(index) as (waiting, go):
        go()
        monkeypatch.setattr(index, "find", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            waiting.ask(Search("a circle")).result(30)
        monkeypatch.setattr(index, "find", find)
        assert numbers(waiting.ask(Search("a circle")))


def test_another_index_is_asked_anew(archive: Archive) -> None:
    opened = [SearchIndex(archive.index)]
    waiting = Line(lambda: opened[-1])
    before = waiting.ask(Search("a circle")).result(30)
    opened.append(SearchIndex(archive.index))
    after = waiting.ask(Search("a circle")).result(30)
    waiting.close()
    assert after.hits == before.hits and after.query is not before.query


def test_only_the_values_used_last_are_remembered() -> None:
    kept: Remembered[str] = Remembered(6, len)
    for key in "abc":
        kept.put(key, key * 2)
    assert kept.get("a") == "aa"
    kept.put("d", "dd")
    assert [kept.get(key) for key in "abcd"] == ["aa", None, "cc", "dd"]
    kept.put("a", "a")
    kept.put("e", "e")
    assert kept.get("c") == "cc", "a lighter value in an older one's place makes room"
    kept.put("f", "f" * 7)
    assert [kept.get(key) for key in "acdef"] == [None] * 5, "what is too heavy alone is not kept"
