"""Training the detector on rendered scenes: it learns, goes on where it stopped, and leaves out what is no use."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from vsalign.checkpoint import load_detector
from vsalign.datasets.records import PhraseTruth
from vsalign.datasets.scenes.files import read_phrases, split_of, write_scenes
from vsalign.errors import ConfigurationError, ModelError
from vsalign.evaluation.recall import evaluate_recall
from vsalign.images import ImageInput, decode_image, list_images, read_images
from vsalign.regions.detector import DetectorSizes
from vsalign.regions.pooled import fixed_boxes
from vsalign.regions.rcnn_lite import RcnnLite
from vsalign.training.detector import DetectorTraining, MapStream, train_detector
from vsalign.training.detector_pictures import DetectorData, Pictures

WORKER = Path(__file__).with_name("detector_worker.py")
SPLITS = {"train": 0.7, "tune": 0.3}
SCENES = 40
EPOCHS = 8
TRAINING = DetectorTraining(
    model=DetectorSizes(input_size=128, channels=32, hidden=64),
    epochs=EPOCHS,
    batch_size=7,
    learning_rate=0.002,
    warmup=5,
    patience=EPOCHS,
)


@dataclass(frozen=True)
class Road:
    """Rendered scenes in two splits."""

    data: DetectorData
    phrases: list[PhraseTruth]
    """Of the split tune."""

    @property
    def places(self) -> tuple[str, str, str]:
        return self.data.images.input, self.data.captions, self.data.truth


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory, write_captions: Callable[..., str]) -> Road:
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(str(folder / "scenes"), SCENES, 0, SPLITS)
    splits: dict[str, dict[str, list[str]]] = {name: {} for name in SPLITS}
    for line in (folder / "scenes/captions.txt").read_text().splitlines():
        caption_id, text = line.split("\t")
        image_id = caption_id.split("#")[0]
        splits[of(image_id)].setdefault(image_id, []).append(text)
    truth = str(folder / "scenes/phrases.jsonl")
    images = ImageInput(str(folder / "scenes/images"))
    tune = [phrase for phrase in read_phrases(truth) if of(phrase.image_id) == "tune"]
    return Road(DetectorData(images, write_captions(folder / "captions", splits), truth, terms="drawn by me"), tune)


def of(image_id: str) -> str:
    return split_of(int(Path(image_id).stem), SPLITS)


def weights_of(url: str) -> dict[str, torch.Tensor]:
    return load_detector(url).model.state_dict()


@pytest.fixture(scope="module")
def trained(road: Road, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the detector in `model`, and the checkpoint of each epoch in `epochN`."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "work").mkdir()

    def keep(metrics: dict[str, Any], checkpoint: Path | None) -> None:
        assert checkpoint is not None
        shutil.copytree(checkpoint, folder / f"epoch{metrics['epoch']}")

    train_detector(TRAINING, road.data, str(folder / "model"), folder / "work", keep)
    return folder


def test_its_regions_meet_far_more_phrases_than_fixed_boxes(road: Road, trained: Path) -> None:
    """Also as an extractor: the recall that training reported is that of its regions."""
    loaded = load_detector(str(trained / "model"))
    history = loaded.training["history"]
    best = max(epoch["recall50"] for epoch in history)
    assert history[loaded.training["best_epoch"]]["recall50"] == best
    fixed = evaluate_recall(road.phrases, {phrase.image_id: phrase.width * fixed_boxes() for phrase in road.phrases})
    assert best > 100 * fixed.total + 25

    extractor = RcnnLite(str(trained / "model"))
    regions = {}
    for shard in list_images(road.data.images):
        wanted = [image for image in read_images(shard) if of(image.image_id) == "tune"]
        prepared = [extractor.prepare(i.image_id, decode_image(i.data or b"", i.uri)) for i in wanted]
        regions |= {i.image_id: r.boxes for i, r in zip(wanted, extractor.extract(prepared), strict=True)}
    assert 100 * evaluate_recall(road.phrases, regions).total == pytest.approx(best, abs=3)  # maps in files are float16


def test_the_folder_tells_what_it_was_trained_on(road: Road, trained: Path) -> None:
    loaded = load_detector(str(trained / "model"))
    learned = sum(of(f"{index}") == "train" for index in range(SCENES))
    known = {phrase.caption_id for phrase in read_phrases(road.data.truth) if of(phrase.image_id) == "train"}
    assert loaded.terms == "drawn by me"
    data = loaded.training["data"]
    assert data["truth"] == "phrases.jsonl" and data["pictures"] == learned
    assert data["truth_records"] >= len(known) > learned
    assert loaded.training["configuration"]["epochs"] == EPOCHS
    assert loaded.extractor["name"] == "lite" and loaded.backbone is None
    assert sorted(path.name for path in (trained / "model").iterdir()) == [
        "config.json", "model.safetensors", "model_card.md"
    ]  # fmt: skip


@pytest.mark.parametrize("epoch", [0, EPOCHS - 2])
def test_a_resumed_run_ends_in_the_undisturbed_weights(epoch: int, road: Road, trained: Path, record: Any) -> None:
    recorder = record(trained / f"resumed{epoch}")
    output = str(recorder.folder / "model")
    train_detector(TRAINING, road.data, output, recorder.work, recorder, trained / f"epoch{epoch}")
    assert [metrics["epoch"] for metrics in recorder.reported] == [*range(epoch + 1, EPOCHS)]
    resumed, undisturbed = weights_of(output), weights_of(str(trained / "model"))
    assert all(torch.equal(resumed[name], undisturbed[name]) for name in undisturbed)
    first, again = (load_detector(url).training for url in (str(trained / "model"), output))
    assert [e["loss"] for e in first["history"]] == [e["loss"] for e in again["history"]]


@pytest.mark.parametrize("change", [{"seed": 1}, {"model": replace(TRAINING.model, kinds=("circle",))}])
def test_a_checkpoint_of_other_options_is_refused(
    change: dict[str, Any], road: Road, trained: Path, record: Any, tmp_path: Path
) -> None:
    recorder = record(tmp_path / "run")
    with pytest.raises(ModelError, match="is of another run"):
        train_detector(replace(TRAINING, **change), road.data, "", recorder.work, recorder, trained / "epoch0")


def test_two_workers_take_equal_steps_to_equal_weights(road: Road, tmp_path: Path) -> None:
    workers = [
        subprocess.Popen([sys.executable, WORKER, str(rank), tmp_path / "meeting", tmp_path, *road.places])
        for rank in (0, 1)
    ]
    try:
        assert [worker.wait(60) for worker in workers] == [0, 0]
    finally:
        for worker in workers:
            worker.kill()
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1))
    learned = sum(of(f"{index}") == "train" for index in range(SCENES))
    assert first["reported"] == [0, 1] and first["steps"] == 2 * (learned // 2 // 4)
    assert first == second
    counted = load_detector(str(tmp_path / "model")).training["data"]
    assert counted["pictures"] == learned // 2 * 2  # of both workers


def test_pictures_that_cannot_be_read_are_left_out_and_counted(road: Road, record: Any, tmp_path: Path) -> None:
    """One is cut, one is no picture, one is not there."""
    shutil.copytree(road.data.images.input, tmp_path / "images")
    names = [name for name in sorted(path.name for path in (tmp_path / "images").iterdir()) if of(name) == "train"]
    whole = (tmp_path / "images" / names[0]).read_bytes()
    (tmp_path / "images" / names[0]).write_bytes(whole[: len(whole) // 2])
    (tmp_path / "images" / names[3]).write_bytes(b"no picture")
    (tmp_path / "images" / names[5]).unlink()
    data = replace(road.data, images=ImageInput(str(tmp_path / "images")))
    recorder = record(tmp_path / "run")
    train_detector(replace(TRAINING, epochs=1), data, str(tmp_path / "model"), recorder.work, recorder)
    counted = load_detector(str(tmp_path / "model")).training["data"]
    assert (counted["pictures"], counted["pictures_not_read"]) == (len(names) - 3, 3)
    assert len(recorder.reported) == 1 and recorder.reported[0]["loss"] > 0


def test_kinds_are_scored_apart(road: Road, record: Any, tmp_path: Path) -> None:
    recorder = record(tmp_path / "run")
    config = replace(TRAINING, epochs=2, model=replace(TRAINING.model, kinds=("circle", "other")))
    train_detector(config, road.data, str(tmp_path / "model"), recorder.work, recorder)
    loaded = load_detector(str(tmp_path / "model"))
    assert loaded.model.config.kinds == ("circle", "other") and loaded.model.score.weight.shape == (2, 64)
    assert loaded.training["configuration"]["model"]["kinds"] == ["circle", "other"]


@pytest.mark.parametrize("kinds", [("cirle",), ("circle", "cirle")])
def test_a_kind_that_the_truth_lacks_is_refused(
    kinds: tuple[str, ...], road: Road, record: Any, tmp_path: Path
) -> None:
    recorder = record(tmp_path / "run")
    config = replace(TRAINING, model=replace(TRAINING.model, kinds=kinds))
    with pytest.raises(ConfigurationError, match=r"is of the kind 'cirle': the kinds are .*circle \(\d+\)"):
        train_detector(config, road.data, str(tmp_path / "none"), recorder.work, recorder)


def test_a_detector_on_timms_network_is_trained_on_its_maps(road: Road, record: Any, tmp_path: Path) -> None:
    """Its folder needs no weights file afterwards, and the network is as it was."""
    torch.manual_seed(0)
    given = timm.create_model("resnet18").state_dict()
    save_file(given, tmp_path / "weights.safetensors")
    data = replace(road.data, backbone="timm:resnet18", backbone_weights=str(tmp_path / "weights.safetensors"))
    recorder = record(tmp_path / "run")
    train_detector(replace(TRAINING, epochs=1), data, str(tmp_path / "model"), recorder.work, recorder)
    (tmp_path / "weights.safetensors").unlink()
    loaded = load_detector(str(tmp_path / "model"))
    assert loaded.model.config.maps == (128, 256, 512) and loaded.extractor["name"] == "timm:resnet18"
    extractor = RcnnLite(str(tmp_path / "model"))
    assert all(torch.equal(value, given[name]) for name, value in extractor.network.model.state_dict().items())
    regions = extractor.extract([extractor.prepare("x", np.zeros((60, 90, 3), np.uint8))])[0]
    assert regions.features.shape == (len(regions.boxes), 512)


def test_fewer_pictures_than_workers_are_refused() -> None:
    stream = MapStream(Pictures([], [], []), 3, seed=0)
    assert [stream.steps(batch, workers) for batch, workers in ((1, 1), (2, 1), (9, 1), (1, 3))] == [3, 1, 1, 1]
    with pytest.raises(ConfigurationError, match="3 pictures do not reach for 4 workers"):
        stream.steps(1, 4)
