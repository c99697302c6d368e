"""Descriptions against pycocoevalcap called as its authors call it, and the inputs of cases.md.

On a machine without Java, the tests that need it check instead that its absence is said at once.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

from vsalign.errors import ConfigurationError, VsalignError
from vsalign.evaluation import java as java_programs
from vsalign.evaluation.descriptions import Descriptions, caption_variety, evaluate_descriptions
from vsalign.evaluation.java import clean, meteor, ptb_tokenize, require_java

WITHOUT_JAVA = ("BLEU", "ROUGE-L", "CIDEr-D")


def needs_java(test: Callable[..., None]) -> Callable[..., None]:
    """Run the test; without Java, check that it is refused (conftest.py allows no skip for it)."""

    @wraps(test)
    def run(*args: object, **kwargs: object) -> None:
        if shutil.which("java"):
            test(*args, **kwargs)
        else:
            with pytest.raises(ConfigurationError, match="no 'java' is on PATH"):
                require_java()

    return run


def sentences(seed: int, images: int) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Captions that share words, with punctuation, capitals, accents, contractions and 1 to 7 references."""
    rng = random.Random(seed)
    subjects = ["A man", "Two dogs", "The café's owner", "A little girl", "Someone (a climber)"]
    verbs = ["is running", "runs", "doesn't jump", "sits", "plays; laughs"]
    places = ["on the beach.", "in the snow", "near a red car!", "over the 3.5 m wall", "at 10:30, outside"]

    def sentence() -> str:
        return " ".join(rng.choice(part) for part in (subjects, verbs, places))

    references = {f"{number}.jpg": [sentence() for _ in range(rng.randint(1, 7))] for number in range(images)}
    return {image_id: sentence() for image_id in references}, references


def reference_meteor(gts: Any, res: Any) -> float:
    """Meteor keeps its lock where it is interrupted (pytest's time-out), and would wait for it when it is deleted."""
    scorer = Meteor()
    try:
        return float(scorer.compute_score(gts, res)[0])
    finally:
        if scorer.lock.locked():
            scorer.lock.release()


def reference_scores(candidates: dict[str, str], references: dict[str, list[str]]) -> dict[str, float]:
    """The figures of pycocoevalcap's own tokenizer and scorers, wired as its COCOEvalCap wires them."""
    tokenizer = PTBTokenizer()
    gts = tokenizer.tokenize({i: [{"caption": text} for text in texts] for i, texts in references.items()})
    res = tokenizer.tokenize({i: [{"caption": candidates[i]}] for i in references})
    bleu, _ = Bleu(4).compute_score(gts, res, verbose=0)
    return {
        **{f"BLEU-{n}": score for n, score in enumerate(bleu, start=1)},
        "METEOR": reference_meteor(gts, res),
        "ROUGE-L": Rouge().compute_score(gts, res)[0],
        "CIDEr-D": Cider().compute_score(gts, res)[0],
    }


@needs_java
def test_scores_equal_pycocoevalcap_called_directly() -> None:
    candidates, references = sentences(seed=7, images=50)

    measured = evaluate_descriptions(candidates, references)

    expected = reference_scores(candidates, references)
    assert list(measured.scores) == list(expected)
    assert {name: score / 100 for name, score in measured.scores.items()} == pytest.approx(expected, abs=1e-6)
    assert 5 < measured.scores["BLEU-4"] < 95


@needs_java
def test_empty_lines_and_separators_in_predictions_shift_nothing_in_meteor() -> None:
    candidates, references = sentences(seed=8, images=12)
    tokens = [*candidates.values(), "a b", "", "\n", "...", "\x00|||||", "two\nlines", "a ||| b"]
    truths = [*references.values(), *[["a b on two lines", "x ||| y"]] * 7]

    whole, each = meteor(tokens, truths, timeout=100)
    good, each_good = meteor(tokens[:13], truths[:13], timeout=100)

    assert each[:13] == each_good
    assert each[13:17] == [0.0, 0.0, 0.0, 0.0]
    assert each[17] > 0
    assert each[18] == each[12] > 0  # "a ||| b" counts as "a b"
    assert whole < good


@needs_java
def test_empty_lines_and_separators_in_predictions_shift_nothing_in_the_tokenizer() -> None:
    texts = ["", "A dog.", "\n", "a ||| b", "...", "two\nlines", "\u2028\x00|||||", "isn't", "", "\r"]

    assert ptb_tokenize(texts, timeout=100) == ["", "a dog", "", "a b", "", "two lines", "", "is n't", "", ""]
    assert ptb_tokenize(["", "\n"], timeout=100) == ["", ""]


@needs_java
def test_an_empty_prediction_scores_zero_alone_and_lowers_the_whole() -> None:
    candidates, references = sentences(seed=9, images=10)
    full, lower, nothing = (
        evaluate_descriptions({**candidates, **change}, references, metrics=WITHOUT_JAVA).scores
        for change in ({}, {"0.jpg": "\n"}, dict.fromkeys(candidates, ""))
    )

    assert all(lower[name] < full[name] for name in full)
    assert nothing == pytest.approx(dict.fromkeys(full, 0.0), abs=1e-6)


def test_the_simple_tokenizer_needs_no_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    references = {"a": ["A dog runs!", "the dog is running"], "b": ["two cats sit on a mat"]}

    measured = evaluate_descriptions(
        {"a": "a DOG, runs", "b": "Two cats sit on a mat."},
        references,
        metrics=WITHOUT_JAVA,
        tokenizer="simple",
    )

    assert measured.scores["BLEU-1"] == pytest.approx(100, abs=1e-5)
    assert measured.scores["ROUGE-L"] == pytest.approx(100, abs=1e-5)
    assert "not comparable with published figures" in str(measured)


@pytest.mark.parametrize("options", [{}, {"tokenizer": "simple"}, {"metrics": WITHOUT_JAVA}])
def test_absent_java_is_said_before_any_work(options: dict, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(ConfigurationError, match="no 'java' is on PATH: install a Java runtime"):
        evaluate_descriptions({"a": "a dog"}, {"a": ["a dog"]}, **options)


def test_a_java_that_does_not_run_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_java(tmp_path, "exit 1", monkeypatch)

    with pytest.raises(ConfigurationError, match="-version' failed"):
        require_java()


def test_an_absent_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java_programs.importlib.util, "find_spec", lambda name: None)

    with pytest.raises(ConfigurationError, match=r"extra 'eval'"):
        evaluate_descriptions({"a": "a"}, {"a": ["a"]}, metrics=["BLEU"], tokenizer="simple")


def fake_java(folder: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program named java first on PATH that does `body`, a line of sh."""
    program = folder / "java"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


@pytest.mark.parametrize("program", ["tokenizer", "METEOR"])
def test_a_java_that_hangs_is_stopped(program: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_java(tmp_path, '[ "$1" = -version ] && exit 0\nexec sleep 60', monkeypatch)

    started = time.monotonic()
    with pytest.raises(VsalignError, match=f"{program} was stopped after 0.5 s"):
        if program == "METEOR":
            meteor(["a"], [["a"]], timeout=0.5)
        else:
            ptb_tokenize(["a"], timeout=0.5)
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    "body",
    ["exit 3", "echo lost; echo lost; cat > /dev/null", "read line; echo; cat > /dev/null"],
    ids=["ends", "no numbers", "empty answer"],
)
def test_a_meteor_that_answers_out_of_turn_is_an_error(
    body: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_java(tmp_path, f'[ "$1" = -version ] && exit 0\n{body}', monkeypatch)

    with pytest.raises(VsalignError, match="METEOR stopped or answered out of turn"):
        meteor(["a", "b"], [["a"], ["b"]], timeout=20)


def test_a_tokenizer_that_loses_a_line_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_java(tmp_path, '[ "$1" = -version ] && exit 0\nread line; echo "$line"', monkeypatch)

    with pytest.raises(VsalignError, match="status 0, 1 lines for 3 texts"):
        ptb_tokenize(["a", "", "b", "c"], timeout=20)


def simple(candidates: dict, references: dict) -> Descriptions:
    return evaluate_descriptions(candidates, references, metrics=WITHOUT_JAVA, tokenizer="simple")


def test_coverage_is_reported_first_and_does_not_change_the_scores() -> None:
    candidates, references = sentences(seed=10, images=20)
    alone = simple(candidates, references)

    more = simple(
        {**candidates, "x.jpg": "a dog", "y.jpg": "a cat"},
        {**references, "y.jpg": ["..."], "z.jpg": ["a cat"], "0.jpg": [*references["0.jpg"], "!"]},
    )

    assert more.scores == pytest.approx(alone.scores)
    assert more.scored == alone.scored == 20
    assert more.without_references == ("x.jpg", "y.jpg")
    assert more.without_candidate == ("z.jpg",)
    assert more.empty_references == 2
    assert more.lines()[:3] == [
        "20 descriptions scored",
        "NOT SCORED: 2 descriptions without references (x.jpg, y.jpg)",
        "NOT SCORED: 1 references without a description (z.jpg)",
    ]


def test_variety_counts_distinct_captions_and_the_most_frequent_one() -> None:
    variety = caption_variety(["a dog", "a cat", "a dog", "", "a dog"])

    assert (variety.captions, variety.distinct, variety.empty, variety.vocabulary) == (5, 3, 1, 3)
    assert (variety.most_frequent, variety.most_frequent_share) == ("a dog", 0.6)
    assert caption_variety([]).most_frequent_share == 0.0


@pytest.mark.parametrize(
    ("candidates", "references", "options", "message"),
    [
        ({"a": "x"}, {"a.jpg": ["x"]}, {}, r"'a'\) is among .*'a\.jpg'"),
        ({}, {"a": ["x"]}, {}, "no description can be scored"),
        ({"a": None}, {"a": ["x"]}, {}, "description of 'a' is None"),
        ({"a": "x"}, {"a": "a dog"}, {}, "give a list of texts"),
        ({"a": "x"}, {"a": ["x"]}, {"metrics": ["SPICE"]}, "choose one or more of BLEU, METEOR"),
        ({"a": "x"}, {"a": ["x"]}, {"metrics": []}, "choose one or more"),
        ({"a": "x"}, {"a": ["x"]}, {"tokenizer": "bpe"}, "'bpe' is unknown; choose of ptb, simple"),
        ({"a": "x"}, {"a": ["x"]}, {"timeout": 0}, "above 0"),
    ],
)
def test_what_cannot_be_scored_is_refused(candidates: dict, references: dict, options: dict, message: str) -> None:
    options = {"metrics": WITHOUT_JAVA, "tokenizer": "simple", **options}
    with pytest.raises(VsalignError, match=message):
        evaluate_descriptions(candidates, references, **options)


def test_clean_gives_one_line_without_separators_or_lone_surrogates() -> None:
    assert clean(" a\r\n|||\tb\u2028c\x85d\x00 |e| \ud800 ") == "a b c d |e| ?"
