"""COCO's JSON forms: pycocotools and pycocoevalcap read what we write, and ours reads it back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vsalign.errors import MissingInputError, TableError
from vsalign.evaluation.coco_results import read_results, references_json, results_json
from vsalign.evaluation.descriptions import evaluate_descriptions

CANDIDATES = {"a/1.jpg": "a dog runs on grass", "2.jpg": "two cats", "3.jpg": ""}
REFERENCES = {
    "a/1.jpg": ["a dog runs", "the dog is running on grass"], "2.jpg": ["two cats sleep on a bed"], "3.jpg": ["a bird"]
}  # fmt: skip


def test_others_tools_read_it_and_agree(tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    bleu = pytest.importorskip("pycocoevalcap.bleu.bleu")
    files = tmp_path / "references.json", tmp_path / "results.json"
    for file, document in zip(files, (references_json(REFERENCES), results_json(CANDIDATES)), strict=True):
        file.write_text(json.dumps(document))

    truth = coco.COCO(str(files[0]))
    said = truth.loadRes(str(files[1]))

    gts, res = ({i: [each["caption"] for each in own] for i, own in side.imgToAnns.items()} for side in (truth, said))
    (expected, *_), _ = bleu.Bleu(4).compute_score(gts, res, verbose=0)
    ours = evaluate_descriptions(CANDIDATES, REFERENCES, metrics=["BLEU"], tokenizer="simple").scores["BLEU-1"]
    assert ours == pytest.approx(100 * expected)


def test_it_is_read_back_for_the_images_that_are_known(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    file.write_text(json.dumps([*results_json(CANDIDATES), {"image_id": 7, "caption": "x"}]))
    assert read_results(str(file), {*CANDIDATES, "7"}) == {**CANDIDATES, "7": "x"}
    assert read_results(str(file), ["2.jpg"]) == {"2.jpg": "two cats"}


@pytest.mark.parametrize("text", ["[1]", "{}x", '[{"image_id": 1}]', '[{"image_id": 1, "caption": ""}]'])
def test_another_document_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    file.write_text(text.replace('""}]', '""}, {"image_id": "1", "caption": ""}]'))
    with pytest.raises(TableError, match=r"results\.json"):
        read_results(str(file), [])
    with pytest.raises(MissingInputError):
        read_results(str(tmp_path / "absent.json"), [])
