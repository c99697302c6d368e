"""`vsalign evaluate …` from the command line to its figures, on small tables, and refused in one sentence."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.vsalign.evaluation.conftest import DIM, IDENTITY, SENTENCES, VOCABULARY, Files, Write, one_sentence
from vsalign.alignment.annotate import Annotator
from vsalign.alignment.placing import Placing
from vsalign.checkpoint import load_model, save_model
from vsalign.cli import main
from vsalign.datasets import PhraseTruth
from vsalign.evaluation.alignment_commands import _of_other_images
from vsalign.evaluation.commands import boxes_and_sizes
from vsalign.evaluation.retrieval import phrase_regions
from vsalign.generation import MRNN, DescriberConfig
from vsalign.storage import TableReader
from vsalign.training.texts import captions_of


def test_figures_go_to_any_name_in_any_folder(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files.folder)
    for name in ("here.json", "new/deep/there.json", f"{files.folder}/absolute.json"):
        assert main(["evaluate", "ranking", *files.aligned, "--json", name]) == 0
        assert "rsum" in json.loads(Path(name).read_text())


def phrases(files: Files) -> list[PhraseTruth]:
    """The two-word phrase of each first sentence, truly on region 1."""
    return [
        PhraseTruth(
            image_id, f"{image_id}#0", 1, 3, "", "thing", np.array([[0, 0, 10, 100]], dtype=np.float32), 100, 100
        )
        for image_id in SENTENCES
    ]


def test_grounding_measures_the_regions_that_the_model_chooses(files: Files) -> None:
    model = load_model(files.model, "alignment")
    captions = {c.caption_id: c for c in captions_of(TableReader(files.captions, "captions"), "dev")}
    annotator, regions = Annotator(model.model, model.reader(), Placing()), TableReader(files.regions, "regions")
    own = [(phrase.image_id, phrase.caption_id, phrase.start, phrase.end) for phrase in phrases(files)]
    others = _of_other_images(own)
    assert [one[0] for one in others] == [one[0] for one in own]
    assert all(one[1].split("#")[0] != one[0] for one in others)
    assert sorted(one[1:] for one in others) == sorted(one[1:] for one in own)
    chosen, *curve = phrase_regions(annotator, regions, captions, own, [1.0, 0.0, 7.0])
    (control,) = phrase_regions(annotator, regions, captions, others, [1.0])
    boxes, _ = boxes_and_sizes(regions)
    true = [*chosen[:3], (chosen[3] + 1) % 3]  # three of four are right
    truth = [
        replace(phrase, boxes=boxes[phrase.image_id][[region]])
        for phrase, region in zip(phrases(files), true, strict=True)
    ]
    elsewhere = PhraseTruth("train/0.jpg", "train/0.jpg#0", 0, 1, "", "thing", truth[0].boxes, 100, 100)
    (files.folder / "phrases.jsonl").write_text("".join(p.to_json() + "\n" for p in [*truth, elsewhere]))

    asked = [*files.aligned, "--truth", str(files.folder / "phrases.jsonl"), "--curve", "0", "7"]
    status, figures = files.evaluate("grounding", *asked)

    def share(found: list[int]) -> float:
        return sum(one == two for one, two in zip(found, true, strict=True)) / 4

    assert status == 0
    assert figures["phrases"] == 4  # the phrase of another split's caption is not measured
    assert figures["chosen_iou"] == 0.75
    assert figures["control_iou"] == share(control)
    assert [point["iou"] for point in figures["curve"]] == [0.75, *map(share, curve)]
    assert figures["placing"] == {"unary": "products", "beta": 1.0, "contrast": 0.6, "temperature": 0.1}
    assert figures["best_possible_iou"] == 1.0
    assert figures["chance_iou"] == pytest.approx(1 / 3)
    assert figures["whole_image_iou"] == true.count(0) / 4


def test_recall_needs_no_model(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    truth = phrases(files)
    (files.folder / "phrases.jsonl").write_text("".join(p.to_json() + "\n" for p in truth))

    status, figures = files.evaluate(
        "recall", "--regions", files.regions, "--captions", files.captions,
        "--truth", str(files.folder / "phrases.jsonl"),
    )  # fmt: skip

    assert (status, figures["recall50"], figures["recall50_thing"], figures["phrases"]) == (0, 1.0, 1.0, 4)
    assert figures["recall50_first_1"] == 0.0  # region 0, the whole picture, is too large
    assert "per cent of phrases with a region of IoU >= 0.5" in capsys.readouterr().out


def test_descriptions_are_scored_against_the_split_s_captions(files: Files, write_descriptions: Write) -> None:
    perfect = {image_id: (f"{text}", []) for image_id, text in SENTENCES.items()}
    url = write_descriptions(files.folder / "descriptions", {**perfect, "elsewhere.jpg": ("nothing", [])})
    options = ("--captions", files.captions, "--descriptions", url, "--tokenizer", "simple", "--no-meteor")

    status, figures = files.evaluate("descriptions", *options)

    assert status == 0
    assert figures["scored"] == 4
    assert figures["BLEU-1"] == pytest.approx(100, abs=1e-4)
    assert "METEOR" not in figures


def test_the_nearest_neighbour_baseline_copies_the_nearest_training_caption(
    files: Files, write_descriptions: Write
) -> None:
    options = ("--captions", files.captions, "--tokenizer", "simple", "--no-meteor")
    copied = {image_id: (f"near {text}", []) for image_id, text in SENTENCES.items()}
    url = write_descriptions(files.folder / "descriptions", copied)

    baseline = files.evaluate("descriptions", *options, "--regions", files.regions)

    assert baseline == files.evaluate("descriptions", *options, "--descriptions", url)
    assert baseline[0] == 0


def scene_line(image_id: str, objects: list[tuple[str, str, list[float]]]) -> str:
    things = [
        {"shape": shape, "colour": colour, "size": "large", "box": box, "tilt": 0.0} for shape, colour, box in objects
    ]
    return json.dumps({"image_id": image_id, "width": 100, "height": 100, "objects": things}) + "\n"


def test_region_words_looks_at_the_boxes_of_objects_alone(files: Files, write_descriptions: Write) -> None:
    one, two, jittered = [10.0, 10.0, 30.0, 30.0], [50.0, 50.0, 90.0, 90.0], [12.0, 12.0, 34.0, 34.0]
    (files.folder / "objects.jsonl").write_text(
        scene_line("0.jpg", [("circle", "red", one), ("star", "blue", two)]) + scene_line("1.jpg", [])
    )
    url = write_descriptions(
        files.folder / "descriptions",
        {
            "0.jpg": ("x", [(jittered, "a green square"), (one, "a red circle"), (two, "a red star")]),
            "1.jpg": ("x", [(one, "a green square")]),
        },
    )

    status, figures = files.evaluate(
        "region-words", "--descriptions", url, "--objects", str(files.folder / "objects.jsonl")
    )

    assert status == 0
    assert figures == {"both": 0.5, "shape": 1.0, "colour": 0.5, "regions": 2}


def test_descriptions_of_other_pictures_than_the_objects_are_refused(
    files: Files, write_descriptions: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    (files.folder / "objects.jsonl").write_text(scene_line("0.jpg", []))
    url = write_descriptions(files.folder / "descriptions", {"9.jpg": ("x", [([1.0, 1.0, 5.0, 5.0], "x")])})

    status, _ = files.evaluate("region-words", "--descriptions", url, "--objects", str(files.folder / "objects.jsonl"))

    assert status == 2
    assert "has no picture 9.jpg" in one_sentence(capsys)


@pytest.mark.parametrize("command", ["ranking", "grounding"])
def test_features_of_another_extractor_are_refused(
    files: Files, command: str, write_regions: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    images = {image_id: np.ones((2, DIM), np.float16) for image_id in SENTENCES}
    other = write_regions(files.folder / "other", [images], name="torchvision")
    options = ["--regions", other, "--captions", files.captions, "--model", files.model]
    options += ["--truth", "absent.jsonl"] if command == "grounding" else []

    status, figures = files.evaluate(command, *options)

    assert (status, figures) == (2, {})
    error = one_sentence(capsys)
    assert "another extractor" in error and "torchvision" in error


@pytest.mark.parametrize("missing", ["--regions", "--captions", "--model"])
def test_what_is_not_there_is_named(files: Files, missing: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = [
        str(files.folder / "absent") if files.aligned[n - 1] == missing else o for n, o in enumerate(files.aligned)
    ]

    status, figures = files.evaluate("ranking", *options)

    assert (status, figures) == (2, {})
    assert str(files.folder / "absent") in one_sentence(capsys)


@pytest.mark.parametrize(
    ("command", "options", "says"),
    [
        ("ranking", [], "--regions"),
        ("descriptions", ["--captions", "x"], "--descriptions"),
        ("descriptions", ["--captions", "x", "--descriptions", "x", "--regions", "x"], "--regions"),
        ("region-words", ["--descriptions", "x", "--objects", "absent.jsonl"], "absent.jsonl"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(
    files: Files, command: str, options: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert files.evaluate(command, *options)[0] == 2
    assert says in one_sentence(capsys)


def test_a_split_without_captions_and_a_model_of_another_kind_are_refused(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    assert files.evaluate("ranking", *files.aligned, "--split", "val")[0] == 2
    assert "no captions of the split 'val': it has dev (8), train (8)" in one_sentence(capsys)
    describer = MRNN(DIM, len(VOCABULARY), DescriberConfig(hidden=4, word_dim=3))
    save_model(os.fspath(files.folder / "mrnn"), "describer", describer, VOCABULARY, IDENTITY, {})
    assert files.evaluate("ranking", *files.aligned[:4], "--model", str(files.folder / "mrnn"))[0] == 2
    assert "'describer' where 'alignment' is needed" in one_sentence(capsys)
