"""Rendered scenes: the same every time, and true."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vsalign.boxes import box_iou, clip
from vsalign.datasets.captions import read_captions
from vsalign.datasets.scenes import COLOURS, SHAPES, make_scene, read_objects, read_phrases, write_scenes
from vsalign.datasets.scenes.candidates import candidate_boxes
from vsalign.datasets.scenes.drawing import draw, jpeg
from vsalign.datasets.scenes.layout import CANVAS, Scene
from vsalign.datasets.scenes.words import RELATION_WORDS, SIZE_WORDS, phrase_truths, write_captions
from vsalign.errors import ConfigurationError, MissingInputError
from vsalign.text import tokenize

SCENES = [make_scene(5, index) for index in range(150)]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_scene_has_four_to_six_different_objects_two_of_them_alike() -> None:
    for scene in SCENES:
        kinds = [(item.shape, item.colour) for item in scene.objects]
        assert 4 <= len(kinds) <= 6
        assert len(set(kinds)) == len(kinds)
        shapes, colours = zip(*kinds, strict=True)
        assert len(set(shapes)) < len(kinds) or len(set(colours)) < len(kinds)
    seen = {(item.shape, item.colour) for scene in SCENES for item in scene.objects}
    assert len(seen) == len(SHAPES) * len(COLOURS) == 48


def test_objects_lie_inside_and_hardly_overlap() -> None:
    for scene in SCENES:
        boxes = np.array([item.box for item in scene.objects])
        assert (clip(boxes, CANVAS, CANVAS) == boxes).all()
        ious = box_iou(boxes, boxes)
        np.fill_diagonal(ious, 0)
        assert ious.max() < 0.05


def test_drawn_outline_fills_its_box_in_its_colour() -> None:
    for scene in SCENES[:40]:
        item = scene.objects[-1]  # drawn last, so nothing covers it
        without = np.asarray(draw(Scene(scene.seed, scene.index, scene.objects[:-1])), np.int16)
        changed = np.abs(np.asarray(draw(scene), np.int16) - without).max(axis=2) > 20
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        drawn = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        # Tips of stars and triangles fade out within a few pixels.
        np.testing.assert_allclose(drawn, item.box, atol=4)
        assert box_iou([drawn], [item.box])[0, 0] > 0.85
        pixels = np.asarray(draw(scene))[changed]
        assert np.abs(np.median(pixels, axis=0) - COLOURS[item.colour]).max() <= 15


def test_captions_are_five_different_sentences_that_name_every_object() -> None:
    shapes = 0
    for scene in SCENES:
        captions = write_captions(scene)
        assert len({caption.text for caption in captions}) == 5
        assert {number for caption in captions for number, *_ in caption.phrases} == set(range(len(scene.objects)))
        for caption in captions:
            assert caption.text[0].isupper()
            assert caption.text.endswith(".")
            assert not any(mark in caption.text for mark in ("{", "}", "  ", " ,", " ."))
            assert len({number for number, *_ in caption.phrases}) in (2, 3)
            shapes += len(caption.phrases)
    openings = {" ".join(tokenize(caption.text)[:2]) for scene in SCENES for caption in write_captions(scene)}
    assert len(openings) > 20
    assert shapes > 150 * 10


def test_phrase_words_are_where_they_are_said_to_be_and_true_of_their_box() -> None:
    for scene in SCENES:
        captions = write_captions(scene)
        objects = {item.box: item for item in scene.objects}
        for phrase in phrase_truths(scene, captions):
            caption = captions[int(phrase.caption_id.rpartition("#")[2])]
            assert tokenize(caption.text)[phrase.start : phrase.end] == tokenize(phrase.text)
            item = objects[tuple(phrase.boxes[0].tolist())]
            article, *size, colour, shape = phrase.text.split()
            assert article in ("a", "the")
            assert (colour, shape) == (item.colour, item.shape)
            assert phrase.kind == item.shape
            assert not size or size[0] in SIZE_WORDS[item.size]


def test_small_and_large_mean_what_they_say() -> None:
    sides = {"small": [], "large": []}
    for item in (item for scene in SCENES for item in scene.objects):
        sides[item.size].append(max(item.box[2] - item.box[0], item.box[3] - item.box[1]))
    assert max(sides["small"]) <= 65 < 85 <= min(sides["large"])


def test_said_relations_are_true() -> None:
    """Sentences of the form `<phrase> ... <relation> <phrase>`, checked from their words alone."""
    names = {word: relation for relation, words in RELATION_WORDS.items() for word in words}
    checked = dict.fromkeys(RELATION_WORDS, 0)
    for scene in SCENES:
        centres = {(item.colour, item.shape): item.centre for item in scene.objects}
        for caption in write_captions(scene):
            if len(caption.phrases) != 2 or not any(word in caption.text.lower() for word in names):
                continue
            word = max((word for word in names if word in caption.text.lower()), key=len)
            first, second = (centres[tuple(phrase[3].split()[-2:])] for phrase in caption.phrases)
            if caption.text.lower().startswith(word):
                first, second = second, first
            across, down = first[0] - second[0], first[1] - second[1]
            offset = {"left": -across, "right": across, "above": -down, "below": down}[names[word]]
            assert offset >= 30
            assert offset >= max(abs(across), abs(down))
            checked[names[word]] += 1
    assert min(checked.values()) > 20


def test_candidates_hold_each_object_near_misses_and_ground() -> None:
    for scene in SCENES:
        boxes = candidate_boxes(scene)
        objects = [item.box for item in scene.objects]
        assert len(boxes) == 19
        assert (clip(boxes, CANVAS, CANVAS) == np.array(boxes)).all()
        ious = box_iou(boxes, objects)
        for number, box in enumerate(objects):
            assert boxes.count(box) == 1
            near = (ious[:, number] >= 0.3) & (ious[:, number] < 0.5)
            assert near.sum() >= 1
        best = ious.max(axis=1)
        exact, near, ground = best == 1, (best >= 0.3) & (best < 0.5), best < 0.1
        assert (exact | near | ground).all()
        assert ground.sum() >= 3


def test_random_region_is_right_at_most_fifteen_times_in_a_hundred() -> None:
    hits, phrases = 0.0, 0
    for scene in SCENES:
        regions = [(0, 0, CANVAS, CANVAS), *candidate_boxes(scene)]
        for phrase in phrase_truths(scene, write_captions(scene)):
            hits += float((box_iou(regions, phrase.boxes) >= 0.5).mean())
            phrases += 1
    assert hits / phrases == pytest.approx(1 / 20)
    assert hits / phrases <= 0.15


def test_scene_hangs_on_seed_and_index_alone() -> None:
    again = make_scene(5, 7)
    assert again == SCENES[7]
    assert jpeg(draw(again)) == jpeg(draw(SCENES[7]))
    assert write_captions(again) == write_captions(SCENES[7])
    assert candidate_boxes(again) == candidate_boxes(SCENES[7])
    assert make_scene(6, 7).objects != again.objects


def test_more_scenes_leave_the_first_ones_as_they_were(tmp_path: Path) -> None:
    few, many = tmp_path / "few", tmp_path / "many"
    write_scenes(str(few), 10, seed=2)
    write_scenes(str(many), 25, seed=2)
    for number in range(10):
        name = f"images/{number:05d}.jpg"
        assert (few / name).read_bytes() == (many / name).read_bytes()
    for name in ("captions.txt", "phrases.jsonl", "objects.jsonl"):
        assert (many / name).read_bytes().startswith((few / name).read_bytes())
    for split in ("train", "tune", "dev"):
        name = f"Scenes.{split}Images.txt"
        assert (many / name).read_text().startswith((few / name).read_text())


def test_written_folder_reads_back_as_a_data_set(tmp_path: Path) -> None:
    summary = write_scenes(str(tmp_path), 40, seed=1)
    assert (summary.images, summary.captions, summary.written) == (40, 200, True)
    reading = read_captions(str(tmp_path / "captions.txt"))
    records, errors = reading.split()
    assert errors == []
    assert reading.counts["no_split"] == 0
    assert len(records) == 200
    by_split = {split: len({r.image_name for r in records if r.split == split}) for split in summary.splits}
    assert by_split == summary.splits
    assert by_split["train"] == pytest.approx(32, abs=2)
    texts = {record.caption_id: record.text for record in records}
    phrases = read_phrases(str(tmp_path))
    assert len(phrases) == summary.phrases
    for phrase in phrases:
        assert tokenize(texts[phrase.caption_id])[phrase.start : phrase.end] == tokenize(phrase.text)
    truths = read_objects(str(tmp_path / "objects.jsonl"))
    assert [truth.objects for truth in truths] == [make_scene(1, index).objects for index in range(40)]
    for truth in truths:
        with Image.open(tmp_path / "images" / truth.image_id) as picture:
            assert picture.size == (truth.width, truth.height) == (CANVAS, CANVAS)


def test_boxes_json_is_coco_with_every_objects_box(tmp_path: Path) -> None:
    write_scenes(str(tmp_path), 12, seed=1)
    content = json.loads((tmp_path / "boxes.json").read_text())
    names = {image["id"]: image["file_name"] for image in content["images"]}
    boxes: dict[str, list[tuple[float, ...]]] = {}
    for annotation in content["annotations"]:
        x, y, width, height = annotation["bbox"]
        boxes.setdefault(names[annotation["image_id"]], []).append((x, y, x + width, y + height))
    assert len({annotation["id"] for annotation in content["annotations"]}) == 12 * 19
    for truth in read_objects(str(tmp_path)):
        assert len(boxes[truth.image_id]) == 19
        assert all(item.box in boxes[truth.image_id] for item in truth.objects)


def test_same_command_again_writes_nothing(tmp_path: Path) -> None:
    write_scenes(str(tmp_path), 6)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
    assert not write_scenes(str(tmp_path), 6).written
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == before


def test_other_arguments_are_refused_with_the_difference_unless_overwrite(tmp_path: Path) -> None:
    write_scenes(str(tmp_path / "a"), 12, seed=3)
    with pytest.raises(ConfigurationError, match="seed 3, not 4; count 12, not 5"):
        write_scenes(str(tmp_path / "a"), 5, seed=4)
    shares = {"dev": 0.5, "train": 0.5}
    write_scenes(str(tmp_path / "a"), 5, 4, shares, overwrite=True)
    write_scenes(str(tmp_path / "b"), 5, 4, dict(reversed(shares.items())))
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_foreign_folder_and_impossible_options_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(ConfigurationError, match="something else"):
        write_scenes(str(tmp_path), 2, overwrite=True)
    assert contents(tmp_path) == {"mine.txt": b"keep"}
    for arguments in (
        {"count": 0},
        {"splits": {"train": 0.5}},
        {"splits": {"train": 0.5, "holiday": 0.5}},
        {"splits": {"train": float("nan")}},
    ):
        with pytest.raises(ConfigurationError):
            write_scenes(str(tmp_path / "new"), **arguments)
    with pytest.raises(ConfigurationError, match="local folder"):
        write_scenes("memory://scenes", 2)
    assert not (tmp_path / "new").exists()
    with pytest.raises(MissingInputError, match=r"phrases\.jsonl"):
        read_phrases(str(tmp_path))


def test_killed_writing_is_not_complete_and_goes_on_to_the_same_folder(tmp_path: Path) -> None:
    killed, calm = tmp_path / "killed", tmp_path / "calm"
    code = f"from vsalign.datasets.scenes import write_scenes; write_scenes({str(killed)!r}, 400, seed=9)"
    process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 60
    while len(list(killed.glob("images/*.jpg"))) < 10 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "scenes.json").exists()
    with pytest.raises(ConfigurationError, match="count 400, not 30"):
        write_scenes(str(killed), 30, seed=9)
    assert write_scenes(str(killed), 30, seed=9, overwrite=True).written
    write_scenes(str(calm), 30, seed=9)
    assert contents(killed) == contents(calm)
