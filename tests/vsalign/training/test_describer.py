"""Training the Multimodal RNN without Ray: it learns its sentences, and goes on where it stopped."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.vsalign.training.conftest import TINY, RunDescriber
from vsalign.checkpoint import load_model
from vsalign.errors import ConfigurationError, ModelError, TableError, WrongExtractorError
from vsalign.generation import MRNN, DecodeOptions, DescriberConfig
from vsalign.generation.describe import sentences_of
from vsalign.storage import TableReader
from vsalign.text import END, PAD, START
from vsalign.training.describer import (
    perplexity,
    shifted,
    whole_image_features,
)
from vsalign.training.stream import PairStream, Text, collate

SHORT = replace(TINY, model=replace(TINY.model, dropout=0.3), epochs=3, batch_size=3)


def said(folder: Path, features: np.ndarray, beam: int) -> list[str]:
    """What the trained model says of features (n, D)."""
    trained = load_model(str(folder / "model"), "describer")
    views = [feature[None] for feature in features]
    found = sentences_of(trained.model, trained.vocabulary, views, [[0]] * len(views), DecodeOptions(beam, 12))
    assert all(sentence.finished for (sentence,) in found)
    return [sentence.caption for (sentence,) in found]


def test_eight_captions_are_learned_by_heart(run_describer: RunDescriber, pictures: Any, tmp_path: Path) -> None:
    reported = run_describer(TINY, pictures, tmp_path)

    assert reported[-1]["perplexity"] < 1.1
    whole = np.stack([features[0] for features in pictures.features.values()])
    for beam in (1, 7):
        assert said(tmp_path, whole, beam) == list(pictures.sentences.values())


def test_phrases_are_learned_of_their_own_regions(run_describer: RunDescriber, pictures: Any, tmp_path: Path) -> None:
    run_describer(replace(TINY, whole_images=False), pictures, tmp_path, segments=pictures.segments)

    for region, part in ((1, slice(None, 2)), (2, slice(2, None))):
        features = np.stack([features[region] for features in pictures.features.values()])
        halves = []
        for sentence in pictures.sentences.values():
            words = sentence.split()
            middle = len(words) // 2
            halves.append(" ".join(words[:middle] if part.start is None else words[middle:]))
        assert said(tmp_path, features, 3) == halves


def test_captions_and_phrases_are_learned_together_unless_told_otherwise(
    run_describer: RunDescriber, pictures: Any, tmp_path: Path
) -> None:
    config = replace(SHORT, epochs=1, batch_size=1)
    steps = {}
    for name, whole, segments in (("both", True, True), ("phrases", False, True), ("captions", True, False)):
        work = tmp_path / name
        run_describer(
            replace(config, whole_images=whole), pictures, work, segments=pictures.segments if segments else ""
        )
        state = torch.load(work / "epoch0" / "state.pt", weights_only=True)
        steps[name] = int(next(iter(state["optimiser"]["state"].values()))["step"])
    assert steps == {"both": 24, "phrases": 16, "captions": 8}


@pytest.mark.parametrize("with_segments", [False, True])
def test_a_run_resumed_from_any_epoch_ends_bitwise_as_an_undisturbed_one(
    run_describer: RunDescriber, pictures: Any, tmp_path: Path, with_segments: bool
) -> None:
    segments = pictures.segments if with_segments else ""
    run_describer(SHORT, pictures, tmp_path / "undisturbed", segments)
    expected = load_model(str(tmp_path / "undisturbed" / "model"), "describer").model.state_dict()

    for epoch in range(SHORT.epochs):
        folder = tmp_path / f"resumed{epoch}"
        run_describer(SHORT, pictures, folder, segments, tmp_path / "undisturbed" / f"epoch{epoch}")
        found = load_model(str(folder / "model"), "describer").model.state_dict()
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_checkpoint_of_another_configuration_is_refused(
    run_describer: RunDescriber, pictures: Any, tmp_path: Path
) -> None:
    config = replace(SHORT, epochs=1)
    run_describer(config, pictures, tmp_path / "one")

    with pytest.raises(ModelError, match="of another run"):
        run_describer(replace(config, smoothing=0.9), pictures, tmp_path / "two", "", tmp_path / "one" / "epoch0")
    with pytest.raises(ModelError, match="of another run"):
        run_describer(config, pictures, tmp_path / "three", pictures.segments, tmp_path / "one" / "epoch0")


def test_segments_on_another_extractor_s_regions_are_refused(
    run_describer: RunDescriber, pictures: Any, tmp_path: Path, write_segments: Callable[..., str]
) -> None:
    pairs = {(i, f"{i}#0"): [(0, 1, 0)] for i in pictures.sentences}
    url = write_segments(tmp_path / "segments", pairs, {"name": "torchvision", "dim": 12})

    with pytest.raises(WrongExtractorError, match="align the segments again"):
        run_describer(SHORT, pictures, tmp_path / "run", url)


def test_a_segment_on_a_missing_region_is_refused(
    run_describer: RunDescriber, pictures: Any, tmp_path: Path, write_segments: Callable[..., str]
) -> None:
    images = [*pictures.sentences, *(f"copy/{image_id}" for image_id in pictures.sentences)]
    url = write_segments(tmp_path / "segments", {(i, f"{i}#0"): [(0, 1, 3)] for i in images})

    with pytest.raises(TableError, match="describes region 3, the regions table has 3"):
        run_describer(replace(SHORT, whole_images=False), pictures, tmp_path / "run", url)


def test_inputs_and_targets_are_shifted_by_one_word() -> None:
    pairs = [("a", Text([7, 8, 9], 1)), ("b", Text([5], 0)), ("c", Text([6, 6], 2))]
    features = np.arange(18, dtype=np.float16).reshape(3, 6)
    batch = collate([(image_id, text, features) for image_id, text in pairs])

    inputs, targets = shifted(batch)

    assert inputs.tolist() == [[START, 7, 8, 9], [START, 5, PAD, PAD], [START, 6, 6, PAD]]
    assert targets.tolist() == [7, 8, 9, END, 5, END, 6, 6, END]


def alone(pictures: Any, texts: dict[str, list[Text]]) -> PairStream:
    """A stream of the texts, each with the region it describes."""
    return PairStream(TableReader(pictures.regions, "regions"), texts, seed=0, shown="described")


@pytest.mark.parametrize("batch_size", [1, 3, 256])
def test_perplexity_is_over_every_word_of_every_text(pictures: Any, batch_size: int) -> None:
    torch.manual_seed(0)
    model = MRNN(12, 9, DescriberConfig(hidden=8, word_dim=6))
    texts = {image_id: [Text([4 + n % 5] * (n % 3 + 1), n % 3)] for n, image_id in enumerate(pictures.features)}
    nats, words = 0.0, 0
    model.eval()
    for image_id, (text,) in texts.items():
        feature = torch.from_numpy(pictures.features[image_id][text.region].astype(np.float32))
        inputs = torch.tensor([[[START, *text.words]]])
        one = torch.ones(1, 1, dtype=torch.bool), torch.zeros(1, dtype=torch.long)
        logits = model(feature[None, None], *one, inputs, torch.tensor([[len(text.words) + 1]]))
        log_probs = logits.log_softmax(1)
        nats -= sum(log_probs[t, word].item() for t, word in enumerate([*text.words, END]))
        words += len(text.words) + 1
    model.train()

    found = perplexity(model, alone(pictures, texts), batch_size)

    assert found == pytest.approx(math.exp(nats / words), rel=1e-5)


def test_a_perplexity_that_no_float_holds_is_infinite(pictures: Any) -> None:
    model = MRNN(12, 9, DescriberConfig(hidden=8, word_dim=6))
    with torch.no_grad():
        model.W_oh.bias[PAD] = 1e6
    texts = {image_id: [Text([4])] for image_id in pictures.features}

    assert perplexity(model, alone(pictures, texts)) == math.inf


def test_whole_image_features_are_region_0_and_keep_no_other_in_memory(pictures: Any) -> None:
    wanted = ["7.jpg", "absent.jpg", "copy/1.jpg", "0.jpg"]

    found = dict(whole_image_features(TableReader(pictures.regions, "regions"), wanted))

    assert list(found) == ["0.jpg", "7.jpg", "copy/1.jpg"]
    for image_id, feature in found.items():
        assert np.array_equal(feature, pictures.features[image_id.removeprefix("copy/")][0].astype(np.float32))
        assert feature.base is None


@pytest.mark.parametrize(
    "wrong",
    [{"smoothing": 1.0}, {"smoothing": -0.1}, {"min_phrase": 0}, {"min_phrase": 3, "max_phrase": 2}, {"epochs": 0}],
)
def test_impossible_settings_are_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        replace(TINY, **wrong)  # type: ignore[arg-type]


def test_a_region_model_sees_the_whole_image_beside(run_describer: RunDescriber, pictures: Any, tmp_path: Path) -> None:
    config = replace(TINY, whole_images=False, model=replace(TINY.model, whole=True), epochs=40)

    run_describer(config, pictures, tmp_path, segments=pictures.segments)

    trained = load_model(str(tmp_path / "model"), "describer")
    features = list(pictures.features.values())
    found = sentences_of(trained.model, trained.vocabulary, features, [[1, 2]] * len(features), DecodeOptions(3, 12))
    assert [" ".join(each.caption for each in both) for both in found] == list(pictures.sentences.values())
