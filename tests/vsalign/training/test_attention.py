"""Training the describer with attention: by likelihood, and paid by CIDEr-D."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.vsalign.training.conftest import TINY, RunDescriber
from vsalign.checkpoint import load_model, save_model
from vsalign.errors import ConfigurationError, WrongExtractorError
from vsalign.generation import DecodeOptions, DescriberConfig
from vsalign.generation.describe import sentences_of
from vsalign.training.describer import (
    DescriberTraining,
)

ATTENTION = replace(
    TINY,
    model=DescriberConfig(describer="attention", hidden=24, word_dim=12, dropout=0.0),
    optimiser="adamw",
    batch_size=4,
    choose_by="cider",
    average=0.8,
)
REGULARISED = replace(
    ATTENTION,
    model=replace(ATTENTION.model, dropout=0.3),
    epochs=3,
    batch_size=3,
    label_smoothing=0.1,
    drop_words=0.2,
    drop_regions=0.3,
)


def test_attention_learns_eight_captions_by_heart(run_describer: RunDescriber, pictures: Any, tmp_path: Path) -> None:
    reported = run_describer(replace(ATTENTION, epochs=90, patience=90), pictures, tmp_path)

    trained = load_model(str(tmp_path / "model"), "describer")
    features = list(pictures.features.values())
    found = sentences_of(trained.model, trained.vocabulary, features, [[0]] * len(features), DecodeOptions(3, 12))
    assert [sentence.caption for (sentence,) in found] == list(pictures.sentences.values())
    assert reported[-1]["cider"] > 550 and reported[-1]["perplexity"] < 1.3


def paid(folder: Path) -> DescriberTraining:
    """The second training of a model that stands in `folder`."""
    return replace(ATTENTION, objective="cider", start=str(folder / "model"), epochs=40, learning_rate=0.02, draws=8)


def test_drawn_sentences_that_are_paid_get_better(run_describer: RunDescriber, pictures: Any, tmp_path: Path) -> None:
    first = run_describer(replace(ATTENTION, epochs=20), pictures, tmp_path / "first")

    second = run_describer(paid(tmp_path / "first"), pictures, tmp_path / "second")

    assert second[-1]["reward"] > 1.3 * second[0]["reward"] > 0
    assert max(metrics["cider"] for metrics in second) > first[-1]["cider"]
    before, after = (load_model(str(tmp_path / name / "model"), "describer") for name in ("first", "second"))
    assert before.vocabulary == after.vocabulary and after.model.config == ATTENTION.model


@pytest.mark.parametrize("stage", ["first", "second"])
def test_an_averaged_run_resumed_from_any_epoch_ends_bitwise_as_an_undisturbed_one(
    run_describer: RunDescriber, pictures: Any, tmp_path: Path, stage: str
) -> None:
    run_describer(REGULARISED, pictures, tmp_path / "first")
    config = REGULARISED if stage == "first" else replace(paid(tmp_path / "first"), epochs=3)
    if stage == "second":
        run_describer(config, pictures, tmp_path / "second")
    expected = load_model(str(tmp_path / stage / "model"), "describer").model.state_dict()

    for epoch in range(config.epochs - 1):
        folder = tmp_path / f"resumed{epoch}"
        run_describer(config, pictures, folder, "", tmp_path / stage / f"epoch{epoch}")
        found = load_model(str(folder / "model"), "describer").model.state_dict()
        assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"objective": "cider"}, "teaches a model of whole images that --start names"),
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0: it lies in"),
        ({"drop_words": -0.1}, "drop_words is -0.1"),
        ({"average": 1.0}, "average is 1.0"),
    ],
)
def test_impossible_trainings_are_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        replace(ATTENTION, **changed)


def test_a_start_on_other_features_is_refused(run_describer: RunDescriber, pictures: Any, tmp_path: Path) -> None:
    run_describer(replace(ATTENTION, epochs=1), pictures, tmp_path)
    known = load_model(str(tmp_path / "model"), "describer")
    save_model(str(tmp_path / "other"), "describer", known.model, known.vocabulary, {"name": "other"}, {})

    with pytest.raises(WrongExtractorError, match="other"):
        run_describer(replace(paid(tmp_path), start=str(tmp_path / "other")), pictures, tmp_path / "second")
