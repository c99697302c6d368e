"""Training the alignment model without Ray: it learns its pairs, and goes on where it stopped."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vsalign.alignment import AlignmentModelConfig
from vsalign.checkpoint import load_model
from vsalign.errors import ConfigurationError, ModelError, VsalignError
from vsalign.evaluation.retrieval import evaluate_ranking
from vsalign.storage import TableReader
from vsalign.training.alignment import AlignmentData, AlignmentTraining, train_alignment
from vsalign.training.texts import captions_of

TINY = AlignmentTraining(
    model=AlignmentModelConfig(h=24, hidden=16, word_dim=12, dropout=0.0),
    epochs=70,
    batch_size=8,
    learning_rate=0.003,
    warmup=5,
    min_count=1,
    patience=80,
    window_images=4,
)
SHORT = replace(TINY, model=replace(TINY.model, dropout=0.3), epochs=3, batch_size=3)


def run(config: AlignmentTraining, tables: Any, folder: Path, resume: Path | None = None) -> list[dict[str, Any]]:
    """Train into folder/model, with a copy of each epoch's checkpoint in folder/epochN; the reported metrics."""
    work = folder / "work"
    work.mkdir(parents=True)
    reported = []

    def report(metrics: dict[str, Any], checkpoint: Path | None) -> None:
        assert checkpoint == work
        shutil.copytree(checkpoint, folder / f"epoch{metrics['epoch']}")
        reported.append(metrics)

    train_alignment(
        config, AlignmentData(tables.regions, tables.captions), str(folder / "model"), work, report, resume
    )
    return reported


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = load_model(str(folder / "model"), "alignment").model.state_dict()
    return state


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_eight_pairs_are_learned_by_heart(pictures: Any, tmp_path: Path) -> None:
    reported = run(TINY, pictures, tmp_path)

    assert reported[-1]["loss"] < 0.05 * reported[0]["loss"]
    trained = load_model(str(tmp_path / "model"), "alignment")
    ranking = evaluate_ranking(
        trained.model,
        TableReader(pictures.regions, "regions"),
        captions_of(TableReader(pictures.captions, "captions"), "train"),
        trained.vocabulary,
    )
    assert (ranking.annotation.recall[1], ranking.search.recall[1]) == (100, 100)
    assert trained.extractor == {"name": "lite", "dim": 12}
    best = trained.training["history"][trained.training["best_epoch"]]
    assert best["annotation_r1"] == best["search_r1"] == 100
    assert trained.training["configuration"]["learning_rate"] == TINY.learning_rate


def test_a_run_resumed_from_any_epoch_ends_bitwise_as_an_undisturbed_one(pictures: Any, tmp_path: Path) -> None:
    undisturbed = run(SHORT, pictures, tmp_path / "undisturbed")

    for epoch in range(SHORT.epochs):
        folder = tmp_path / f"resumed{epoch}"
        resumed = run(SHORT, pictures, folder, tmp_path / "undisturbed" / f"epoch{epoch}")
        assert_equal(weights(folder), weights(tmp_path / "undisturbed"))
        assert [m["loss"] for m in resumed] == [m["loss"] for m in undisturbed[epoch + 1 :]]


def test_the_seed_fixes_the_result(pictures: Any, tmp_path: Path) -> None:
    config = replace(SHORT, epochs=1)
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        run(replace(config, seed=seed), pictures, tmp_path / name)

    assert_equal(weights(tmp_path / "one"), weights(tmp_path / "same"))
    assert not torch.equal(
        weights(tmp_path / "one")["regions.W_m.weight"], weights(tmp_path / "other")["regions.W_m.weight"]
    )


def test_a_checkpoint_of_another_configuration_is_refused(pictures: Any, tmp_path: Path) -> None:
    config = replace(SHORT, epochs=1)
    run(config, pictures, tmp_path / "one")

    with pytest.raises(ModelError, match="of another run"):
        run(replace(config, learning_rate=0.01), pictures, tmp_path / "two", tmp_path / "one" / "epoch0")


def test_a_checkpoint_of_another_vocabulary_is_refused_though_of_the_same_size(
    pictures: Any, tmp_path: Path, write_captions: Callable[..., str]
) -> None:
    config = replace(SHORT, epochs=1)
    renamed = {image_id: [text.replace("dog", "zebra")] for image_id, text in pictures.sentences.items()}
    both = []
    for name, sentences in (("one", {i: [t] for i, t in pictures.sentences.items()}), ("two", renamed)):
        # The tables lie at the same place, as when captions were prepared anew.
        place = tmp_path / "captions"
        shutil.rmtree(place, ignore_errors=True)
        write_captions(place, {"train": sentences, "tune": sentences})
        both.append(replace_captions(pictures, str(place)))
        resume = tmp_path / "one" / "epoch0" if name == "two" else None
        if resume is None:
            run(config, both[0], tmp_path / name)
            continue
        with pytest.raises(ModelError, match="vocabulary differ"):
            run(config, both[1], tmp_path / name, resume)


def replace_captions(pictures: Any, url: str) -> Any:
    return replace(pictures, captions=url)


def test_a_checkpoint_of_other_pairs_is_refused(
    pictures: Any, tmp_path: Path, write_captions: Callable[..., str]
) -> None:
    config, place = replace(SHORT, epochs=1), tmp_path / "captions"
    sentences = {image_id: [text] for image_id, text in pictures.sentences.items()}
    write_captions(place, {"train": sentences, "tune": sentences})
    run(config, replace_captions(pictures, str(place)), tmp_path / "one")
    shutil.rmtree(place)
    twice = {image_id: [text, text] for image_id, (text,) in sentences.items()}
    write_captions(place, {"train": twice, "tune": sentences})

    with pytest.raises(ModelError, match="of another run"):
        run(config, replace_captions(pictures, str(place)), tmp_path / "two", tmp_path / "one" / "epoch0")


def test_training_stops_when_patience_is_over(pictures: Any, tmp_path: Path) -> None:
    # A learning rate of nearly nothing changes no rank, so no epoch is better than the first.
    reported = run(replace(SHORT, learning_rate=1e-12, patience=2, epochs=10), pictures, tmp_path)

    assert len(reported) == 3
    assert load_model(str(tmp_path / "model"), "alignment").training["best_epoch"] == 0


def test_diverging_training_is_refused_with_epoch_and_step(pictures: Any, tmp_path: Path) -> None:
    with pytest.raises(VsalignError, match=r"the loss of epoch \d+, step \d+ of 2, is (nan|inf).*lower learning_rate"):
        run(replace(SHORT, learning_rate=1e30, clip=1e30, epochs=10), pictures, tmp_path)
    assert not (tmp_path / "model").exists()


def test_a_validation_split_without_images_is_refused_before_the_first_epoch(
    pictures: Any, tmp_path: Path, write_captions: Callable[..., str]
) -> None:
    sentences = {image_id: [text] for image_id, text in pictures.sentences.items()}
    url = write_captions(tmp_path / "captions", {"train": sentences, "tune": {"elsewhere.jpg": ["a dog"]}})

    with pytest.raises(ConfigurationError, match="are both tables of the same images"):
        run(SHORT, replace_captions(pictures, url), tmp_path / "run")
    assert not (tmp_path / "run" / "epoch0").exists()


def test_frozen_features_of_one_value_are_learned_from_too(
    tmp_path: Path, write_regions: Callable[..., str], write_captions: Callable[..., str]
) -> None:
    images = {f"{n}.jpg": np.ones((2, 4), np.float16) for n in range(4)}
    sentences = {image_id: [f"word{n} here"] for n, image_id in enumerate(images)}
    tables = AlignmentData(
        write_regions(tmp_path / "regions", [images]),
        write_captions(tmp_path / "captions", {"train": sentences, "tune": sentences}),
    )

    reported = run(replace(SHORT, epochs=1), tables, tmp_path / "run")

    assert np.isfinite(reported[0]["loss"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0}, {"batch_size": 0}, {"min_count": 0}, {"patience": 0}, {"window_images": 0}, {"momentum": 1.0},
        {"learning_rate": 0.0}, {"clip": -1.0}, {"margin": 0.0}, {"weight_decay": -0.1}, {"warmup": -1},
    ],
)  # fmt: skip
def test_impossible_settings_are_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        replace(TINY, **wrong)  # type: ignore[arg-type]
