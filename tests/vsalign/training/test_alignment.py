"""Training the alignment model without Ray: it learns its pairs, and goes on where it stopped."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from vsalign.alignment import AlignmentModel, AlignmentModelConfig
from vsalign.checkpoint import load_model
from vsalign.errors import ConfigurationError, ModelError, VsalignError
from vsalign.evaluation.retrieval import evaluate_ranking, score_matrix
from vsalign.storage import TableReader
from vsalign.training.alignment import AlignmentData, AlignmentTraining, train_alignment, warned
from vsalign.training.texts import captions_of

TINY = AlignmentTraining(
    model=AlignmentModelConfig(h=24, hidden=16, word_dim=12, dropout=0.0),
    epochs=70,
    batch_size=8,
    learning_rate=0.003,
    warmup=5,
    weight_decay=0.0,
    min_count=1,
    patience=80,
    window_images=4,
)
SHORT = replace(TINY, model=replace(TINY.model, dropout=0.3), epochs=3, batch_size=3)


Run = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def run(record: Callable[[Path], Any]) -> Run:
    """(configuration, tables, folder, checkpoint to resume) -> the reported metrics; see Recorder."""

    def train(config: AlignmentTraining, tables: Any, folder: Path, resume: Path | None = None) -> list[dict[str, Any]]:
        recorder = record(folder)
        data = AlignmentData(tables.regions, tables.captions)
        train_alignment(config, data, str(folder / "model"), recorder.work, recorder, resume)
        reported: list[dict[str, Any]] = recorder.reported
        return reported

    return train


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = load_model(str(folder / "model"), "alignment").model.state_dict()
    return state


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_eight_pairs_are_learned_by_heart(run: Run, pictures: Any, tmp_path: Path) -> None:
    reported = run(TINY, pictures, tmp_path)

    assert reported[-1]["loss"] < 0.05 * reported[0]["loss"]
    trained = load_model(str(tmp_path / "model"), "alignment")
    ranking = evaluate_ranking(
        trained.model,
        TableReader(pictures.regions, "regions"),
        captions_of(TableReader(pictures.captions, "captions"), "train"),
        trained.reader(),
    )
    assert (ranking.annotation.recall[1], ranking.search.recall[1]) == (100, 100)
    assert trained.extractor == {"name": "lite", "dim": 12}
    best = trained.training["history"][trained.training["best_epoch"]]
    assert best["annotation_r1"] == best["search_r1"] == 100
    assert trained.training["configuration"]["learning_rate"] == TINY.learning_rate


def test_a_run_resumed_from_any_epoch_ends_bitwise_as_an_undisturbed_one(
    run: Run, pictures: Any, tmp_path: Path
) -> None:
    undisturbed = run(SHORT, pictures, tmp_path / "undisturbed")

    for epoch in range(SHORT.epochs):
        folder = tmp_path / f"resumed{epoch}"
        resumed = run(SHORT, pictures, folder, tmp_path / "undisturbed" / f"epoch{epoch}")
        assert_equal(weights(folder), weights(tmp_path / "undisturbed"))
        assert [m["loss"] for m in resumed] == [m["loss"] for m in undisturbed[epoch + 1 :]]


def test_the_seed_fixes_the_result(run: Run, pictures: Any, tmp_path: Path) -> None:
    config = replace(SHORT, epochs=1)
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        run(replace(config, seed=seed), pictures, tmp_path / name)

    assert_equal(weights(tmp_path / "one"), weights(tmp_path / "same"))
    assert not torch.equal(
        weights(tmp_path / "one")["regions.W_m.weight"], weights(tmp_path / "other")["regions.W_m.weight"]
    )


def test_a_checkpoint_of_another_configuration_is_refused(run: Run, pictures: Any, tmp_path: Path) -> None:
    config = replace(SHORT, epochs=1)
    run(config, pictures, tmp_path / "one")

    with pytest.raises(ModelError, match="of another run"):
        run(replace(config, learning_rate=0.01), pictures, tmp_path / "two", tmp_path / "one" / "epoch0")


Prepare = Callable[[Any], Any]


@pytest.fixture
def prepare(pictures: Any, tmp_path: Path, write_captions: Callable[..., str]) -> Prepare:
    """Such sentences of the images of train, and their own of tune, as tables: at one place, as when prepared anew."""
    place = tmp_path / "captions"

    def tables(train: dict[str, list[str]]) -> Any:
        shutil.rmtree(place, ignore_errors=True)
        write_captions(place, {"train": train, "tune": {i: [text] for i, text in pictures.sentences.items()}})
        return replace(pictures, captions=str(place))

    return tables


def test_a_checkpoint_of_another_vocabulary_of_the_same_size_is_refused(
    run: Run, pictures: Any, prepare: Prepare, tmp_path: Path
) -> None:
    config = replace(SHORT, epochs=1)
    run(config, prepare({i: [text] for i, text in pictures.sentences.items()}), tmp_path / "one")

    renamed = prepare({i: [text.replace("dog", "zebra")] for i, text in pictures.sentences.items()})

    with pytest.raises(ModelError, match="vocabulary differ"):
        run(config, renamed, tmp_path / "two", tmp_path / "one" / "epoch0")


def test_a_checkpoint_of_other_pairs_is_refused(run: Run, pictures: Any, prepare: Prepare, tmp_path: Path) -> None:
    config = replace(SHORT, epochs=1)
    run(config, prepare({i: [text] for i, text in pictures.sentences.items()}), tmp_path / "one")

    twice = prepare({i: [text, text] for i, text in pictures.sentences.items()})

    with pytest.raises(ModelError, match="of another run"):
        run(config, twice, tmp_path / "two", tmp_path / "one" / "epoch0")


def test_training_stops_when_patience_is_over(run: Run, pictures: Any, tmp_path: Path) -> None:
    # A learning rate of nearly nothing changes no rank, so no epoch is better than the first.
    reported = run(replace(SHORT, learning_rate=1e-12, patience=2, epochs=10), pictures, tmp_path)

    assert len(reported) == 3
    assert load_model(str(tmp_path / "model"), "alignment").training["best_epoch"] == 0


def test_diverging_training_is_refused_with_epoch_and_step(run: Run, pictures: Any, tmp_path: Path) -> None:
    with pytest.raises(VsalignError, match=r"the loss of epoch \d+, step \d+ of 2, is (nan|inf).*lower learning_rate"):
        run(replace(SHORT, learning_rate=1e30, clip=1e30, epochs=10), pictures, tmp_path)
    assert not (tmp_path / "model").exists()


def test_a_validation_split_without_images_is_refused_before_the_first_epoch(
    run: Run, pictures: Any, tmp_path: Path, write_captions: Callable[..., str]
) -> None:
    sentences = {image_id: [text] for image_id, text in pictures.sentences.items()}
    url = write_captions(tmp_path / "captions", {"train": sentences, "tune": {"elsewhere.jpg": ["a dog"]}})

    with pytest.raises(ConfigurationError, match="are both tables of the same images"):
        run(SHORT, replace(pictures, captions=url), tmp_path / "run")
    assert not (tmp_path / "run" / "epoch0").exists()


def test_frozen_features_of_one_value_are_learned_from_too(
    run: Run, tmp_path: Path, write_regions: Callable[..., str], write_captions: Callable[..., str]
) -> None:
    images = {f"{n}.jpg": np.ones((2, 4), np.float16) for n in range(4)}
    sentences = {image_id: [f"word{n} here"] for n, image_id in enumerate(images)}
    tables = AlignmentData(
        write_regions(tmp_path / "regions", [images]),
        write_captions(tmp_path / "captions", {"train": sentences, "tune": sentences}),
    )

    reported = run(replace(SHORT, epochs=1), tables, tmp_path / "run")

    assert np.isfinite(reported[0]["loss"])


@pytest.mark.parametrize("wrong", [{"momentum": 1.0}, {"momentum": -0.1}, {"margin": 0.0}, {"epochs": 0}])
def test_impossible_settings_are_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        replace(TINY, **wrong)  # type: ignore[arg-type]


def test_word_vectors_of_a_file_stay_as_they_are_or_learn(run: Run, pictures: Any, tmp_path: Path) -> None:
    captions = captions_of(TableReader(pictures.captions, "captions"), "train")
    known = sorted({token for caption in captions for token in caption.tokens})[:3]
    vectors = np.random.default_rng(0).standard_normal((3, TINY.model.word_dim)).astype(np.float32)
    lines = [f"{word} {' '.join(map(repr, row.tolist()))}" for word, row in zip(known, vectors, strict=True)]
    file = tmp_path / "vectors.txt"
    file.write_text("\n".join(lines) + "\n")
    config = replace(SHORT, epochs=1, word_vectors=str(file))

    run(config, pictures, tmp_path / "fixed")
    run(replace(config, fix_word_vectors=False), pictures, tmp_path / "learning")

    ids = load_model(str(tmp_path / "fixed" / "model"), "alignment").vocabulary.encode(known)
    fixed, learning = (weights(tmp_path / name)["sentences.W_w.weight"][ids].numpy() for name in ("fixed", "learning"))
    np.testing.assert_array_equal(fixed, vectors)
    assert (learning != vectors).any(1).all()
    training = load_model(str(tmp_path / "fixed" / "model"), "alignment").training
    assert training["words_with_vectors"] == 3 and training["configuration"]["word_vectors"] == str(file)


def test_word_vectors_that_do_not_fit_are_refused(run: Run, pictures: Any, tmp_path: Path) -> None:
    file = tmp_path / "vectors.txt"
    for content, says in (
        ("dog 1 2 3\n", "give --model.word-dim 3"),
        (f"zzz{' 1' * TINY.model.word_dim}\n", "holds none of the"),
    ):
        file.write_text(content)
        with pytest.raises(ConfigurationError, match=says):
            run(replace(SHORT, word_vectors=str(file)), pictures, tmp_path / says[:4])


def test_the_score_of_defrag_is_learned_by_and_ranked_by(run: Run, pictures: Any, tmp_path: Path) -> None:
    config = replace(TINY, model=replace(TINY.model, score="defrag"), epochs=20, warmup=50)
    reported = run(config, pictures, tmp_path)

    assert reported[-1]["loss"] < 0.9 * reported[0]["loss"]
    trained, regions = load_model(str(tmp_path / "model"), "alignment"), TableReader(pictures.regions, "regions")
    captions = captions_of(TableReader(pictures.captions, "captions"), "train")
    scores, _, _ = score_matrix(trained.model, regions, captions, trained.reader())
    by_maxsim = AlignmentModel(12, len(trained.vocabulary), replace(config.model, score="maxsim")).eval()
    by_maxsim.load_state_dict(trained.model.state_dict())
    other, _, _ = score_matrix(by_maxsim, regions, captions, trained.reader())
    assert (scores >= other.clip(min=0) - 1e-4).all() and (scores > other + 1e-3).any()


def test_hardest_negatives_that_stick_are_told(run: Run, pictures: Any, tmp_path: Path) -> None:
    """A model whose scores are all alike pays two margins a pair, epoch after epoch."""
    config = replace(TINY, objective="hardest_negative", margin=0.2, learning_rate=1e-9, batch_size=8, epochs=2)
    config = replace(config, model=replace(TINY.model, normalise=True))
    stuck = {"epoch": 1, "loss": 2 * 8 * 0.2}

    (warning,) = warned(config, stuck).values()
    assert "2 x batch x margin = 3.2" in warning and "lower learning_rate" in warning
    assert warned(config, {**stuck, "epoch": 0}) == {}  # the first epoch is of the summed hinges
    assert warned(config, {**stuck, "loss": 2.0}) == warned(config, {**stuck, "loss": 5.0}) == {}
    assert warned(config, {"epoch": 1, "step": 3}) == warned(replace(config, objective="max_margin"), stuck) == {}
    with mock.patch("vsalign.training.alignment.warned", lambda config, metrics: {"warning": "said"}):
        reported = run(config, pictures, tmp_path)
    assert [metrics["warning"] for metrics in reported] == ["said", "said"]
    history = load_model(str(tmp_path / "model"), "alignment").training["history"]
    assert all("violating" in metrics and "warning" not in metrics for metrics in history)
