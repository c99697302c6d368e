"""An index answers as the model itself does, picture by picture; what is not wanted is not found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.jobs.conftest import write_table
from tests.vsalign.search.random_archive import IMAGES, SENTENCES, regions_rows, write_model
from vsalign import cli, tables
from vsalign.alignment import SentenceReader
from vsalign.errors import ConfigurationError, ModelError
from vsalign.padding import padded
from vsalign.search import SearchIndex, Wanted
from vsalign.search.building import IndexOptions, build_index
from vsalign.storage import Output, TableReader
from vsalign.text import tokenize


def told_by_the_model(options: IndexOptions, sentence: str) -> dict[str, float]:
    """Each image's score, by the model itself."""
    from vsalign.checkpoint import load_model

    loaded = load_model(options.model, "alignment")
    rows = TableReader(options.regions, "regions").read(["image_id", "features"])
    features = [np.stack([np.frombuffer(each, "<f2") for each in row]) for row in rows["features"].to_pylist()]
    regions, mask = padded(features)
    sentences = SentenceReader(loaded.vocabulary).read([tokenize(sentence)])
    with torch.inference_mode():
        s = loaded.model.sentences(*sentences)
        scores = loaded.model.score(loaded.model.regions(regions.float()), mask, s, sentences.lengths)
    return dict(zip(rows["image_id"].to_pylist(), scores[:, 0].tolist(), strict=True))


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("score", ["symmetric", "maxsim"])
@pytest.mark.parametrize("normalise", [True, False])
def test_an_index_of_all_numbers_scores_as_the_model_does(
    made: IndexOptions, score: str, normalise: bool, resident: bool
) -> None:
    write_model(made.model, score=score, normalise=normalise)
    assert build_index(made) == 0
    index = SearchIndex(made.output, resident=resident)
    assert len(index.table.shards) > 1
    for sentence in SENTENCES:
        told = told_by_the_model(made, sentence)
        hits = index.search(index.asker.sentence(sentence), IMAGES + 5)
        assert {hit.image_id for hit in hits} == told.keys()
        np.testing.assert_allclose([hit.score for hit in hits], [told[hit.image_id] for hit in hits], atol=2e-3)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert index.search(index.asker.sentence(sentence), 7) == hits[:7]


def test_fewer_and_smaller_numbers_keep_most_of_a_score(made: IndexOptions, tmp_path: Path) -> None:
    errors = {}
    for dim, precision in [(16, "int8"), (12, "int8"), (4, "int8")]:
        url = str(tmp_path / f"{dim}")
        build_index(IndexOptions(regions=made.regions, model=made.model, output=url, dim=dim, precision=precision))
        index = SearchIndex(url)
        assert index.table.properties["space"]["dim"] == dim
        told = told_by_the_model(made, SENTENCES[0])
        hits = index.search(index.asker.sentence(SENTENCES[0]), IMAGES)
        errors[dim] = float(np.mean([abs(hit.score - told[hit.image_id]) for hit in hits]))
    assert errors[16] < 0.02 < errors[4] and errors[16] < errors[12] < errors[4], errors


@pytest.mark.parametrize("k", [1, 4, 30])
def test_whole_numbers_find_what_the_exact_score_finds(
    made: IndexOptions, monkeypatch: pytest.MonkeyPatch, k: int
) -> None:
    build_index(IndexOptions(**{**vars(made), "precision": "int8", "dim": 16}))
    index = SearchIndex(made.output)
    queries = [index.asker.sentence(sentence) for sentence in SENTENCES]
    found = []
    for quick in (True, False):
        monkeypatch.setattr("vsalign.search.index.is_quick", lambda regions, quick=quick: quick)
        found.append([index.search(query, k, wanted) for query in queries for wanted in (None, Wanted(path="work"))])
    for quick, exact in zip(*found, strict=True):
        assert [hit.number for hit in quick] == [hit.number for hit in exact]
        np.testing.assert_allclose([hit.score for hit in quick], [hit.score for hit in exact], atol=1e-5)


def test_questions_together_are_answered_as_each_alone(made: IndexOptions) -> None:
    from vsalign.search import Question

    build_index(made)
    index = SearchIndex(made.output)
    questions = [Question(index.asker.sentence(text), Wanted(path=path)) for text in SENTENCES for path in ("", "work")]
    for question, found in zip(questions, index.find(questions, 5), strict=True):
        (alone,) = index.find([question], 5)
        assert [each.number for each in found] == [each.number for each in alone]
        np.testing.assert_allclose([each.score for each in found], [each.score for each in alone], atol=1e-5)


def test_a_phrase_is_on_the_region_that_its_words_like(made: IndexOptions) -> None:
    build_index(made)
    index = SearchIndex(made.output)
    query = index.asker.sentence("a red dog runs")
    rows = {row["image_id"]: row for row in regions_rows(range(IMAGES))}
    for hit in index.search(query, 10):
        assert [word for place in hit.places for word in place.phrase.split()] == list(query.tokens)
        assert [(place.start, place.end) for place in hit.places][0][0] == 0
        assert all(list(place.box) in rows[hit.image_id]["boxes"] for place in hit.places)
        assert (hit.width, hit.height) == (rows[hit.image_id]["width"], 80)


@pytest.mark.parametrize(
    ("wanted", "held"),
    [
        (Wanted(path="work"), lambda row: row["image_id"].startswith("Work")),
        (Wanted(path="*/00? [x].JPG"), lambda row: "/00" in row["image_id"]),
        (Wanted(path="00?"), lambda row: False),
        (Wanted(path="[x]"), lambda row: True),
        (Wanted(min_width=130), lambda row: row["width"] >= 130),
        (Wanted(path="holiday", min_width=150), lambda row: row["image_id"][0] == "h" and row["width"] >= 150),
        (Wanted(min_height=81), lambda row: False),
        (Wanted(caption="BIRDS two"), lambda row: row["width"] % 2 == 0),
    ],
    ids=["part", "pattern", "whole pattern", "brackets", "width", "both", "height", "caption"],
)
def test_what_is_not_wanted_is_not_found(made: IndexOptions, tmp_path: Path, wanted: Wanted, held: Any) -> None:
    rows = regions_rows(range(IMAGES))
    described = [
        {
            **{name: row[name] for name in ("image_id", "uri", "width", "height")},
            **{"caption": "two blue birds" if row["width"] % 2 == 0 else "a dog", "log_prob": -1.0, "finished": True},
            **{"content_hash": None, "regions": []},
        }
        for row in rows
    ]
    write_table(Output(str(tmp_path / "said"), "descriptions", tables.DESCRIPTIONS, "test", {}), [described])
    build_index(IndexOptions(**{**vars(made), "descriptions": str(tmp_path / "said")}))
    index = SearchIndex(made.output)
    hits = index.search(index.asker.sentence("a dog"), IMAGES, wanted)
    assert {hit.image_id for hit in hits} == {row["image_id"] for row in rows if held(row)}
    assert all(hit.caption == ("two blue birds" if hit.width % 2 == 0 else "a dog") for hit in hits)


def test_what_was_forgotten_is_not_found_until_it_is_restored(
    made: IndexOptions, capsys: pytest.CaptureFixture[str]
) -> None:
    build_index(made)
    gone = [row["image_id"] for row in regions_rows(range(3))]

    def found() -> set[str]:
        index = SearchIndex(made.output)
        return {hit.image_id for hit in index.search(index.asker.sentence("a dog"), IMAGES)}

    everything = found()
    assert cli.main(["forget", made.output, "--image-id", *gone]) == 0
    assert found() == everything - set(gone)
    assert cli.main(["forget", made.output, "--path", "holiday/*"]) == 0
    assert all(name.startswith("Work") for name in found())
    assert cli.main(["forget", made.output, "--image-id", "no such.jpg"]) == 2
    assert "has no picture 'no such.jpg'" in capsys.readouterr().err
    assert cli.main(["forget", made.output, "--restore"]) == 0
    assert found() == everything
    assert cli.main(["forget", made.output]) == 2


def test_an_index_asks_for_its_own_model(made: IndexOptions) -> None:
    build_index(made)
    write_model(made.model + "-other", h=8)
    with pytest.raises(ModelError, match="made with another model"):
        SearchIndex(made.output, model=made.model + "-other")


def test_a_sentence_of_no_or_of_unknown_words_is_refused(made: IndexOptions) -> None:
    build_index(made)
    asker = SearchIndex(made.output).asker
    for nothing in ("", "  ", "...", "🙂"):
        with pytest.raises(ConfigurationError, match=r"no words|knows none"):
            asker.sentence(nothing)
    with pytest.raises(ConfigurationError, match="knows none of these words \\(xylophone\\)"):
        asker.sentence("xylophone xylophone")
    assert asker.sentence("a red xylophone").unknown == ("xylophone",)
    assert len(asker.sentence("red dog " * 5000).tokens) == 64


def test_the_commands_say_what_they_found(made: IndexOptions, capsys: pytest.CaptureFixture[str]) -> None:
    described = ["--regions", made.regions, "--model", made.model, "--output", made.output]
    assert cli.main(["index", *described]) == 2, "128 numbers are more than the model has"
    assert "give at most that" in capsys.readouterr().err
    assert cli.main(["index", *described, "--dim", "8"]) == 0
    assert "index finished" in capsys.readouterr().out
    assert cli.main(["search", made.output, "a red xylophone", "-k", "3", "--path", "work"]) == 0
    out = capsys.readouterr().out
    assert out.count("Work/") == 3 and "does not know: xylophone" in out
    assert cli.main(["search", made.output, "a dog", "--path", "nowhere"]) == 0
    assert "nothing is found there" in capsys.readouterr().out
    assert cli.main(["search", made.output, "a dog", "-k", "2", "--json"]) == 0
    hits = json.loads(capsys.readouterr().out)
    assert len(hits) == 2 and hits[0]["places"][0]["box"]
    for wrong, named in [
        (["search", made.output], "say what is looked for"),
        (["search", made.output, "a dog", "-k", "0"], "give 1 to 10,000"),
        (["search", made.output, "a dog", "--box", "1", "2", "3", "4"], "--like names"),
        (["search", made.output + "-none", "a dog"], "there is no index table"),
        (["search", made.regions, "a dog"], "holds a regions table"),
    ]:
        assert cli.main(wrong) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ") and said.count("\n") == 1 and named in said, said
