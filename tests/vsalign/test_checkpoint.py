"""A model folder: written and read bit for bit, and refused in one sentence where anything in it is not as written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from vsalign.alignment import AlignmentModel, AlignmentModelConfig
from vsalign.checkpoint import (
    CARD,
    CONFIG,
    VOCABULARY,
    WEIGHTS,
    load_detector,
    load_model,
    read_config,
    save_detector,
    save_model,
)
from vsalign.errors import MissingInputError, ModelError
from vsalign.generation import MRNN, DescriberConfig
from vsalign.regions.detector import Detector, DetectorConfig
from vsalign.regions.rcnn_lite import default_detector
from vsalign.storage import Folder
from vsalign.text import Vocabulary

WORDS = Vocabulary(["a", "dog", "été", "犬"])
EXTRACTOR = {"name": "lite", "dim": 4, "weights_sha256": "abc"}
TRAINING = {"configuration": {"epochs": 3}, "best_epoch": 1, "history": [{"epoch": 0, "loss": 1.5}]}


def model_of(kind: str) -> Any:
    torch.manual_seed(0)
    if kind == "alignment":
        model: Any = AlignmentModel(4, len(WORDS), AlignmentModelConfig(h=6, hidden=5, word_dim=3))
        model.regions.standardise(torch.randn(4), 2.5)
    else:
        model = MRNN(4, len(WORDS), DescriberConfig(hidden=5, word_dim=3))
        model.standardise(torch.randn(4), 2.5)
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An alignment model's folder."""
    save_model(str(tmp_path / "model"), "alignment", model_of("alignment"), WORDS, EXTRACTOR, TRAINING)
    return tmp_path / "model"


def refused(folder: Path | str, kind: str = "alignment") -> str:
    """The one sentence with which a model is refused."""
    with pytest.raises((ModelError, MissingInputError)) as caught:
        load_model(str(folder), kind)
    message = str(caught.value)
    assert "\n" not in message and str(folder) in message
    return message


@pytest.mark.parametrize("kind", ["alignment", "describer"])
@pytest.mark.parametrize("place", ["folder", "memory"])
def test_a_model_comes_back_bit_for_bit(tmp_path: Path, kind: str, place: str) -> None:
    url = f"memory://checkpoint/{kind}" if place == "memory" else str(tmp_path / "deep" / "model")
    model = model_of(kind)
    save_model(url, kind, model, WORDS, EXTRACTOR, TRAINING)

    loaded = load_model(url, kind)

    expected, found = model.state_dict(), loaded.model.state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert loaded.model.config == model.config
    assert (loaded.vocabulary, loaded.extractor, loaded.training) == (WORDS, EXTRACTOR, TRAINING)
    assert not loaded.model.training


def test_config_is_removed_first_and_written_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done: list[tuple[str, str]] = []
    remove, replace = Folder.remove, Folder.replace
    monkeypatch.setattr(Folder, "remove", lambda self, name: (done.append(("remove", name)), remove(self, name))[1])
    monkeypatch.setattr(
        Folder, "replace", lambda self, name, data: (done.append(("write", name)), replace(self, name, data))[1]
    )

    save_model(str(tmp_path), "alignment", model_of("alignment"), WORDS, EXTRACTOR, TRAINING)

    assert done[0] == ("remove", CONFIG)
    assert done[-1] == ("write", CONFIG)
    assert {name for _, name in done} == {CONFIG, WEIGHTS, VOCABULARY, CARD}


def test_a_model_saved_over_another_is_the_new_one(folder: Path) -> None:
    save_model(str(folder), "describer", model_of("describer"), WORDS, EXTRACTOR, TRAINING)

    assert load_model(str(folder), "describer").kind == "describer"


def test_no_model_at_all_is_said_plainly(tmp_path: Path) -> None:
    assert "there is no model at" in refused(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    assert "there is no model at" in refused(tmp_path / "empty")


def test_a_folder_without_its_config_is_no_model_yet(folder: Path) -> None:
    (folder / CONFIG).unlink()

    assert "there is no model at" in refused(folder)


def test_another_kind_of_model_is_refused(folder: Path) -> None:
    assert "'alignment' where 'describer' is needed" in refused(folder, "describer")


@pytest.mark.parametrize("name", [WEIGHTS, VOCABULARY])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()

    message = refused(folder)

    assert name in message and "copy the model folder again" in message


def altered(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize("change", [altered, lambda data: data[: len(data) // 2], lambda data: b""])
def test_altered_or_cut_weights_are_refused(folder: Path, change: Callable[[bytes], bytes]) -> None:
    (folder / WEIGHTS).write_bytes(change((folder / WEIGHTS).read_bytes()))

    assert f"{WEIGHTS} is not the file that {CONFIG} names" in refused(folder)


def test_another_vocabulary_of_the_same_size_is_refused(folder: Path) -> None:
    (folder / VOCABULARY).write_text(Vocabulary(["a", "犬", "été", "dog"]).to_json())

    assert "is not the vocabulary that the model was trained with" in refused(folder)


@pytest.mark.parametrize("content", [b"", b"no JSON", b"[]", b"\xff\xfe", b'{"words": ["a", "b"], "sha256": "edited"}'])
def test_a_broken_vocabulary_is_refused_with_its_file(folder: Path, content: bytes) -> None:
    (folder / VOCABULARY).write_bytes(content)

    assert VOCABULARY in refused(folder)


@pytest.mark.parametrize("content", ["", "no JSON", "[]", "{}", '{"format_version": 99}', '{"format_version": 1}'])
def test_a_broken_config_is_refused(folder: Path, content: str) -> None:
    (folder / CONFIG).write_text(content)

    assert CONFIG in refused(folder)
    with pytest.raises(ModelError, match=CONFIG):
        read_config(str(folder))


@pytest.mark.parametrize(
    "changes",
    [{"feature_dim": 5}, {"vocabulary_size": 9}, {"model": {"h": 7}}, {"model": {"hh": 6}}, {"model": {"h": 0}}],
)
def test_a_config_that_does_not_fit_the_weights_is_refused(folder: Path, changes: dict[str, Any]) -> None:
    config = json.loads((folder / CONFIG).read_text())
    changes = {**changes, **({"model": {**config["model"], **changes["model"]}} if "model" in changes else {})}
    (folder / CONFIG).write_text(json.dumps({**config, **changes}))

    assert f"does not fit its {CONFIG}" in refused(folder)


def test_weights_that_lack_a_tensor_are_refused_though_the_hash_fits(folder: Path) -> None:
    import hashlib

    tensors = load((folder / WEIGHTS).read_bytes())
    del tensors["sentences.W_e.bias"]
    data = save(tensors)
    (folder / WEIGHTS).write_bytes(data)
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**config, "weights_sha256": hashlib.sha256(data).hexdigest()}))

    assert f"does not fit its {CONFIG}" in refused(folder)


def test_the_model_card_says_what_it_was_trained_on(folder: Path, tmp_path: Path) -> None:
    card = (folder / CARD).read_text()

    assert card.startswith("# Alignment model")
    for fact in ("`lite`", "4 numbers a region", "`abc`", f"{len(WORDS)} words", WORDS.sha256, '"best_epoch": 1'):
        assert fact in card
    shutil.copytree(folder, tmp_path / "copy")
    assert load_model(str(tmp_path / "copy"), "alignment").url == str(tmp_path / "copy")


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    """A detector's folder."""
    torch.manual_seed(0)
    model = Detector(DetectorConfig(input_size=64, channels=8, hidden=8, kinds=("people", "other")))
    save_detector(str(tmp_path / "detector"), model, EXTRACTOR, TRAINING, "for the tests alone")
    return tmp_path / "detector"


def refused_detector(folder: Path | str) -> str:
    """The one sentence with which a detector is refused."""
    with pytest.raises((ModelError, MissingInputError)) as caught:
        load_detector(str(folder))
    message = str(caught.value)
    assert "\n" not in message and str(folder) in message
    return message


def test_a_detector_comes_back_bit_for_bit(detector: Path) -> None:
    loaded = load_detector(str(detector))
    torch.manual_seed(0)
    expected = Detector(DetectorConfig(input_size=64, channels=8, hidden=8, kinds=("people", "other")))
    found = loaded.model.state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.state_dict().items())
    assert loaded.model.config == expected.config and not loaded.model.training
    assert (loaded.extractor, loaded.training, loaded.backbone) == (EXTRACTOR, TRAINING, None)
    assert sorted(path.name for path in detector.iterdir()) == [CONFIG, WEIGHTS, CARD]


def test_the_published_detector_is_saved_as_the_same_bytes(tmp_path: Path) -> None:
    published = load_detector(default_detector())
    save_detector(str(tmp_path), published.model, published.extractor, published.training, published.terms)
    assert (tmp_path / WEIGHTS).read_bytes() == (Path(default_detector()) / WEIGHTS).read_bytes()


def test_a_detectors_card_says_its_terms(detector: Path, tmp_path: Path) -> None:
    card = (detector / CARD).read_text()
    assert card.startswith("# Detector") and "terms of that data: for the tests alone." in card and "`abc`" in card
    assert load_detector(str(detector)).terms == "for the tests alone"
    save_detector(str(tmp_path / "silent"), load_detector(str(detector)).model, EXTRACTOR, {})
    assert "carries the terms of that data." in (tmp_path / "silent" / CARD).read_text()
    assert load_detector(str(tmp_path / "silent")).terms == "those of its training data"


def test_a_detector_and_a_model_are_not_taken_for_each_other(detector: Path, folder: Path) -> None:
    assert "'alignment' where 'detector' is needed" in refused_detector(folder)
    assert "'detector' where 'alignment' is needed" in refused(detector)


def test_a_broken_detector_is_refused(detector: Path, tmp_path: Path) -> None:
    def cut(data: bytes) -> bytes:
        return data[: len(data) // 2]

    for name, change, said in (
        (WEIGHTS, altered, f"{WEIGHTS} is not the file that {CONFIG} names"),
        (WEIGHTS, cut, f"{WEIGHTS} is not the file that {CONFIG} names"),
        (WEIGHTS, None, "lacks a file"),
        (CONFIG, None, "there is no model at"),
        (CONFIG, cut, f"{CONFIG} is no JSON"),
    ):
        copy = shutil.copytree(detector, tmp_path / "copy", dirs_exist_ok=True)
        if change is None:
            (copy / name).unlink()
        else:
            (copy / name).write_bytes(change((copy / name).read_bytes()))
        assert said in refused_detector(copy)


@pytest.mark.parametrize(
    "changes", [{"channels": 9}, {"kinds": ["people"]}, {"maps": [1, 2]}, {"sides": 3}, {"input_size": 3}, {"bins": 0}]
)
def test_sizes_that_do_not_fit_a_detectors_weights_are_refused(detector: Path, changes: dict[str, Any]) -> None:
    config = json.loads((detector / CONFIG).read_text())
    (detector / CONFIG).write_text(json.dumps({**config, "model": {**config["model"], **changes}}))
    assert f"does not fit its {CONFIG}" in refused_detector(detector)


def test_a_detectors_config_of_an_earlier_vsalign_is_read(detector: Path) -> None:
    """One without kinds and maps: its backbone is EfficientNet-Lite0."""
    model = Detector(DetectorConfig(input_size=64, channels=8, hidden=8))
    save_detector(str(detector), model, EXTRACTOR, TRAINING)
    config = json.loads((detector / CONFIG).read_text())
    del config["model"]["kinds"], config["model"]["maps"], config["terms"]
    (detector / CONFIG).write_text(json.dumps(config))
    assert load_detector(str(detector)).model.config == model.config
