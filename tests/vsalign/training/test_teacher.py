"""A model of words of its own, taught by one that reads a sentence encoder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.vsalign.training.test_alignment import Run, run
from tests.vsalign.training.test_states import BEST, DIM, Hashed, hashed
from vsalign.checkpoint import load_model
from vsalign.errors import ConfigurationError
from vsalign.evaluation.retrieval import evaluate_ranking
from vsalign.storage import TableReader
from vsalign.training.stream import Text
from vsalign.training.texts import captions_of
from vsalign.training.word_vectors import mean_states

__all__ = ["hashed", "run"]  # fixtures
TEACHER = replace(BEST, epochs=30)


def student(teacher: Path, **changes: Any) -> Any:
    model = replace(BEST.model, text="gru", word_dim=DIM, hidden=16)
    return replace(BEST, **{"model": model, "teacher": str(teacher), "epochs": 30, "learning_rate": 0.02, **changes})


def test_a_student_ranks_without_the_encoder_and_keeps_its_teachers_regions(
    run: Run, pictures: Any, tmp_path: Path, hashed: None
) -> None:
    run(TEACHER, pictures, tmp_path / "teacher")

    reported = run(student(tmp_path / "teacher" / "model"), pictures, tmp_path / "student")

    assert reported[-1]["differing"] < 0.2 * reported[0]["differing"]
    taught, teacher = (load_model(str(tmp_path / name / "model"), "alignment") for name in ("student", "teacher"))
    assert taught.language == {} and taught.reader().language is None
    for name, weight in teacher.model.regions.state_dict().items():
        assert torch.equal(taught.model.regions.state_dict()[name], weight)
    train = captions_of(TableReader(pictures.captions, "captions"), "train")
    ranking = evaluate_ranking(taught.model, TableReader(pictures.regions, "regions"), train, taught.reader())
    assert (ranking.annotation.recall[1], ranking.search.recall[1]) == (100, 100)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": replace(BEST.model, text="gru", word_dim=DIM, h=9)}, "the teacher's h is 24, the model's 9"),
        ({"model": replace(BEST.model, text="gru", word_dim=DIM, score="symmetric")}, "the teacher's score is maxsim"),
        ({"model": replace(BEST.model, text="gru", word_dim=5)}, f"give --model.word-dim {DIM}"),
        ({"model": BEST.model}, "give --recipe student"),
        ({"imitation": -1.0}, "imitation is -1.0"),
    ],
)
def test_a_teacher_of_another_space_is_refused(
    changes: dict[str, Any], says: str, run: Run, pictures: Any, tmp_path: Path, hashed: None
) -> None:
    run(replace(TEACHER, epochs=1), pictures, tmp_path / "teacher")
    with pytest.raises(ConfigurationError, match=says):
        run(student(tmp_path / "teacher" / "model", **changes), pictures, tmp_path / "student")


def test_a_model_of_words_is_no_teacher(run: Run, pictures: Any, tmp_path: Path, hashed: None) -> None:
    words = replace(BEST, model=replace(BEST.model, text="brnn"), epochs=1)
    run(words, pictures, tmp_path / "teacher")
    with pytest.raises(ConfigurationError, match="reads no sentence encoder's states"):
        run(student(tmp_path / "teacher" / "model"), pictures, tmp_path / "student")


def test_a_words_vector_is_the_mean_of_its_states() -> None:
    language = Hashed()
    first, second = language.states([["a", "dog", "a"], ["dog"]])
    texts = {"x": [Text([4, 5, 4], states=first)], "y": [Text([5], states=2 * second), Text([6])]}

    vectors = mean_states(texts)

    assert vectors.keys() == {4, 5}
    np.testing.assert_allclose(vectors[4], (first[0].astype(np.float32) + first[2]) / 2)
    np.testing.assert_allclose(vectors[5], (first[1].astype(np.float32) + 2 * second[0]) / 2)
