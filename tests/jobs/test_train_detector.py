"""`jobs.train_detector`: disturbed it ends as undisturbed, its folder extracts, and mistakes are said at once."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from jobs import train_detector
from vsalign.checkpoint import load_detector
from vsalign.images import ImageInput
from vsalign.regions import ExtractorConfig, build_extractor
from vsalign.regions.detector import DetectorSizes
from vsalign.training import detector
from vsalign.training.detector import DetectorTraining
from vsalign.training.detector_pictures import DetectorData

EPOCHS = 6
SIZES = {"input_size": 128, "channels": 16, "hidden": 32}
KINDS = {"kinds": ("circle", "other")}
OPTIONS = {"epochs": EPOCHS, "batch_size": 8, "learning_rate": 0.002, "warmup": 5, "patience": EPOCHS}


def spelled(options: dict[str, Any], group: str = "") -> list[str]:
    return [
        word
        for name, value in options.items()
        for word in (f"--{group}{name.replace('_', '-')}", *map(str, value if isinstance(value, tuple) else (value,)))
    ]


def inputs(road: Any, output: Path | str) -> dict[str, str]:
    truth = str(Path(road.images).parent / "phrases.jsonl")
    return {"--images": road.images, "--captions": road.captions, "--truth": truth, "--output": str(output)}


def words(options: dict[str, str]) -> list[str]:
    return [word for item in options.items() for word in item]


@pytest.mark.timeout(200)
def test_a_killed_worker_goes_on_to_the_undisturbed_weights_and_the_folder_extracts(
    road: Any, start: Any, cluster: Any, tmp_path: Path, capsys: Any
) -> None:
    output = tmp_path / "job"
    arguments = [*words(inputs(road, output)), *spelled(OPTIONS), *spelled({**SIZES, **KINDS}, "model.")]
    arguments += ["--terms", "drawn by me", "--cpus-per-worker", "1"]
    job = start("train_detector", *arguments, **cluster.environment)
    job.wait_for_line(f"epoch 2 of {EPOCHS}")
    (worker,) = cluster.workers("RayTrainWorker")
    os.kill(worker, signal.SIGKILL)
    status, out, said = job.finish()
    assert status == 0, said
    assert said.count(f"epoch 1 of {EPOCHS}") == 1 and f"epoch {EPOCHS} of {EPOCHS}" in said
    assert "train_detector finished" in out and "recall50" in out and str(output) in out
    assert sorted(os.listdir(output)) == ["_run.json", "config.json", "model.safetensors", "model_card.md"]

    config = DetectorTraining(model=DetectorSizes(**SIZES, **KINDS), **OPTIONS)
    given = inputs(road, "")
    data = DetectorData(ImageInput(road.images), road.captions, given["--truth"], terms="drawn by me")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        (tmp_path / "here/work").mkdir(parents=True)
        here = str(tmp_path / "here/model")
        detector.train_detector(config, data, here, tmp_path / "here/work", lambda metrics, work: None)
    finally:
        torch.set_num_threads(threads)
    loaded, expected = load_detector(str(output)), load_detector(here)
    assert all(
        torch.equal(value, expected.model.state_dict()[name]) for name, value in loaded.model.state_dict().items()
    )
    assert len(loaded.training["history"]) == EPOCHS and loaded.terms == "drawn by me"

    extractor = build_extractor(ExtractorConfig(name="rcnn-lite", weights=str(output)))
    regions = extractor.extract([extractor.prepare("x", np.zeros((60, 90, 3), np.uint8))])[0]
    assert len(regions.boxes) > 1 and regions.features.shape == (len(regions.boxes), 1280)

    assert train_detector.main(arguments) == 0  # without Ray: there is nothing to do
    assert "the model was complete, nothing was done" in capsys.readouterr().out
    assert train_detector.main([*arguments, "--model.kinds", "circle"]) == 2
    assert "training.model.kinds: there ['circle', 'other'], asked ['circle']" in capsys.readouterr().err


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("timm")
    for name in ("resnet18", "vit_tiny_patch16_224"):
        save_file(timm.create_model(name).state_dict(), folder / f"{name}.safetensors")
    (folder / "captions.txt").write_text("1.jpg#0\ta dog")
    (folder / "nothing").mkdir()
    return {path.stem.upper(): str(path) for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"--images": "/nowhere"}, "/nowhere"),
        ({"--captions": "/nowhere"}, "there is no captions table at /nowhere"),
        ({"--captions": "REGIONS"}, "holds a regions table where a captions table is needed"),
        ({"--truth": "/nowhere.json"}, "cannot read /nowhere.json"),
        ({"--truth": "CAPTIONS"}, "captions.txt holds no phrases with boxes"),
        ({"--truth": "NOTHING"}, "holds no Annotations/ID.xml"),
        ({"--train-split": "trian"}, "has no captions of the split 'trian'"),
        ({"--validation-split": "tuen"}, "has no captions of the split 'tuen'"),
        ({"--model.input-size": "100"}, "give a multiple of 64 px"),
        ({"--batch-size": "0"}, "batch_size is 0"),
        ({"--num-workers": "3"}, "--batch-size 16 cannot be shared equally by --num-workers 3"),
        ({"--output": "memory://model"}, "do not see this process's memory"),
        ({"--epoch": "3"}, "did you mean --epochs?"),
        ({"--backbone": "resnet18"}, "there is no backbone 'resnet18': give lite, or timm:NAME"),
        ({"--backbone": "timm:resnet18"}, "needs --backbone-weights"),
        ({"--backbone": "timm:resnet18", "--backbone-weights": "/nowhere.pth"}, "/nowhere.pth: correct"),
        ({"--backbone": "timm:resnet34", "--backbone-weights": "RESNET18"}, "holds no weights of timm's resnet34"),
        (
            {
                "--backbone": "timm:vit_tiny_patch16_224",
                "--backbone-weights": "VIT_TINY_PATCH16_224",
                "--model.input-size": "448",
            },
            "timm:vit_tiny_patch16_224 has no maps at strides 8, 16, 32 px",
        ),
        ({"--backbone-weights": "RESNET18"}, "is for timm:NAME"),
    ],
)
def test_a_mistake_is_one_sentence_before_ray_starts(
    changes: dict[str, str], sentence: str, road: Any, weights: Any, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    def never(*arguments: Any, **options: Any) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr("jobs.train.session", never)
    places = {"REGIONS": road.regions, **weights}
    options = {**inputs(road, tmp_path / "model"), **changes}
    assert train_detector.main(words({name: places.get(value, value) for name, value in options.items()})) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1 and said.startswith("error: ")


def test_another_backbone_is_refused_by_name(road: Any, weights: Any, tmp_path: Path, capsys: Any) -> None:
    options = inputs(road, tmp_path / "model") | {"--address": "127.0.0.1:1"}  # no Ray: claimed, and nothing trained
    assert train_detector.main(words(options)) == 2
    other = options | {"--backbone": "timm:resnet18", "--backbone-weights": weights["RESNET18"]}
    capsys.readouterr()
    assert train_detector.main([*words(other)]) == 2
    said = capsys.readouterr().err
    assert "backbone.name: there 'lite', asked 'timm:resnet18'" in said and said.count("\n") == 1
