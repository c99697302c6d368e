"""`vsalign evaluate ranking` of a model, and of a score matrix of anybody's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.vsalign.evaluation.conftest import SENTENCES, Files, one_sentence
from vsalign.alignment import AlignmentModel
from vsalign.checkpoint import load_model, save_model
from vsalign.evaluation.retrieval import evaluate_ranking, score_matrix
from vsalign.storage import TableReader
from vsalign.training.texts import captions_of


def test_ranking_prints_and_writes_the_figures_of_the_split(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    status, figures = files.evaluate("ranking", *files.aligned)

    model = load_model(files.model, "alignment")
    dev = captions_of(TableReader(files.captions, "captions"), "dev")
    expected = evaluate_ranking(model.model, TableReader(files.regions, "regions"), dev, model.reader())
    assert status == 0
    assert str(expected) in capsys.readouterr().out
    assert figures["annotation_r1"] == expected.annotation.recall[1]
    assert figures["search_median_rank"] == expected.search.median_rank
    assert figures["chance_search_r1"] == pytest.approx(25)
    assert figures["rsum"] == pytest.approx(expected.rsum)


def test_an_ensemble_is_ranked_by_the_sum_of_its_scores(files: Files) -> None:
    known = load_model(files.model, "alignment")
    other = AlignmentModel(known.model.feature_dim, known.model.vocabulary_size, known.model.config)
    save_model(str(files.folder / "other"), "alignment", other, known.vocabulary, known.extractor, {})
    regions, dev = TableReader(files.regions, "regions"), captions_of(TableReader(files.captions, "captions"), "dev")
    one, two = (score_matrix(model, regions, dev, known.reader())[0] for model in (known.model, other))
    np.save(files.folder / "sum.npy", one + two)

    found = files.evaluate("ranking", *files.aligned, "--ensemble", str(files.folder / "other"))

    expected = files.evaluate("ranking", "--scores", str(files.folder / "sum.npy"), "--captions", files.captions)
    assert found == expected and found[0] == 0
    assert files.evaluate("ranking", "--scores", str(files.folder / "sum.npy"), "--ensemble", files.model)[0] == 2


def test_ranking_reads_a_score_matrix_of_ones_own(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    model = load_model(files.model, "alignment")
    regions, dev = TableReader(files.regions, "regions"), captions_of(TableReader(files.captions, "captions"), "dev")
    scores, image_ids, used = score_matrix(model.model, regions, dev, model.reader())
    assert image_ids == list(SENTENCES) and used == dev
    matrix = str(files.folder / "scores.npy")
    np.save(matrix, scores)

    asked = [
        files.evaluate("ranking", *files.aligned),
        files.evaluate("ranking", "--scores", matrix, "--captions", files.captions),
        files.evaluate("ranking", "--scores", matrix, "--sentences-per-image", "2"),
    ]
    assert asked[0][0] == 0 and asked == [asked[0]] * 3
    folded = [files.evaluate("ranking", *files.aligned, "--folds", "2")]
    folded.append(files.evaluate("ranking", "--scores", matrix, "--sentences-per-image", "2", "--folds", "2"))
    assert folded[0] == folded[1] and folded[0][1]["chance_search_r1"] == pytest.approx(50)
    assert "mean of 2 folds" in capsys.readouterr().out


def test_a_score_matrix_that_does_not_fit_is_refused(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    matrix, text, cube = (str(files.folder / name) for name in ("scores.npy", "text.npy", "cube.npy"))
    np.save(matrix, np.ones((4, 7)))
    np.save(cube, np.ones((4, 7, 1)))
    Path(text).write_text("1 2 3")
    for options, says in (
        (
            ["--scores", matrix, "--captions", files.captions],
            "4 rows and 7 columns, which does not fit the split 'dev'",
        ),
        (["--scores", matrix], "5 sentences an image (2 images, 7 sentences)"),
        (["--scores", text], "is no .npy file of numbers"),
        (["--scores", cube], "is no matrix"),
        (["--scores", matrix + "x"], "there is no file"),
        (["--scores", matrix, "--folds", "0"], "--folds 0"),
        (["--scores", matrix, "--model", files.model], "either --regions, --captions and --model, or --scores"),
        (["--regions", files.regions, "--model", files.model], "--captions is missing"),
    ):
        assert files.evaluate("ranking", *options) == (2, {}), options
        assert says in one_sentence(capsys)
