"""`vsalign align`: the phrases of jobs.align_segments, drawn where they are; mistakes in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vsalign.alignment import AlignmentModel, AlignmentModelConfig, SentenceReader
from vsalign.alignment.annotate import Annotator, Pair
from vsalign.alignment.placing import Placing
from vsalign.checkpoint import save_model
from vsalign.cli import main
from vsalign.pictures.aligned import align
from vsalign.pictures.drawing import CELL, draw_matrix
from vsalign.pictures.palette import PALETTE
from vsalign.regions import ExtractorConfig, Regions, build_extractor
from vsalign.text import Vocabulary

VOCABULARY = Vocabulary(["a", "dog", "runs", "red", "ball"])
READER = SentenceReader(VOCABULARY)


def random_model(dim: int, seed: int = 0) -> AlignmentModel:
    torch.manual_seed(seed)
    model = AlignmentModel(dim, len(VOCABULARY), AlignmentModelConfig(h=8, hidden=6, word_dim=4)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


def test_phrases_are_those_of_align_segments() -> None:
    rng = np.random.default_rng(0)
    for seed in range(20):
        model = random_model(5, seed)
        words = rng.choice(["a", "dog", "runs", "red", "ball", "unseen"], rng.integers(1, 9)).tolist()
        features = rng.standard_normal((rng.integers(1, 7), 5)).astype(np.float32)
        boxes = np.array([[0, 0, 5 + n, 9 - n] for n in range(len(features))], np.float32)
        annotator = Annotator(model, READER, Placing(unary="overlap" if seed % 2 else "products", beta=0.7))

        found = align(annotator, Regions(boxes, np.ones(len(features)), features), words)

        pair = Pair("x.jpg", "x.jpg#0", words, features.astype(np.float16), boxes)
        assert found.phrases == annotator.annotate([pair])[0]
        assert found.likings.shape == (len(words), len(features))


def test_matrix_is_darkest_where_it_is_greatest_and_frames_what_was_chosen() -> None:
    values = np.array([[0.0, 1.0, -np.inf], [0.5, 0.25, 0.0]])
    sheet = draw_matrix(values, ["dog", "runs"], [(1, 0), (0, 2)])

    left = sheet.width - 4 - 3 * CELL
    pixels = np.asarray(sheet).astype(int)
    middle = {
        (row, column): pixels[CELL * (row + 1) + CELL // 2, left + CELL * column + CELL // 2].sum()
        for row in range(2)
        for column in range(3)
    }
    order = sorted(middle, key=middle.__getitem__)
    assert order[:3] == [(0, 1), (1, 0), (1, 1)]
    assert middle[0, 2] == middle[0, 0] == middle[1, 2] == 3 * 255  # what is no number is white
    assert tuple(pixels[CELL + 1, left + CELL + 1]) == PALETTE[0]
    assert tuple(pixels[2 * CELL + 1, left + 1]) == PALETTE[2]


def test_a_matrix_of_one_value_is_drawn() -> None:
    assert draw_matrix(np.ones((1, 1)), ["dog"], [(0, 0)]).height == 2 * CELL + 4


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    extractor = build_extractor(ExtractorConfig(name="lite", input_size=64))
    folder = str(tmp_path_factory.mktemp("aligned") / "model")
    save_model(folder, "alignment", random_model(extractor.dim), VOCABULARY, extractor.identity(), {})
    return folder


@pytest.fixture
def picture(tmp_path: Path) -> str:
    pixels = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "odd name #1.png")
    return str(tmp_path / "odd name #1.png")


def test_the_command_draws_and_says_the_phrases(model: str, picture: str, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "new" / "drawn.png"

    assert main(["align", picture, "A dog runs, gladly!", "--model", model, "--output", str(out)]) == 0

    drawn = Image.open(out)
    assert drawn.width >= 160 and drawn.height >= 120 + 5 * CELL
    said = capsys.readouterr().out
    assert "words that the model does not know: gladly" in said and f"drawn in {out}" in said
    phrases = [line.split("  ")[0] for line in said.splitlines() if "region" in line]
    assert " ".join(phrases) == "a dog runs gladly"
    again = ["align", "--picture", picture, "--sentence", "A dog runs, gladly!", "--model", model]
    assert main([*again, "--output", str(tmp_path / "again.png")]) == 0
    assert (tmp_path / "again.png").read_bytes() == out.read_bytes()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sentence": "..."}, "has no words"),
        ({"picture": "absent.jpg"}, "cannot read absent.jpg"),
        ({"picture": "TEXT"}, "NOT_IMAGE"),
        ({"--model": "nowhere"}, "there is no model at nowhere"),
        ({"--output": "drawn.gif"}, "--output drawn.gif: give a name that ends in"),
        ({"--beta": "-1"}, "--beta -1.0"),
        ({"--max-pixels": "100"}, "TOO_LARGE"),
    ],
)
def test_a_mistake_is_one_sentence(
    change: dict[str, str], says: str, model: str, picture: str, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    given = {"picture": picture, "sentence": "a dog", "--model": model, "--output": str(tmp_path / "x.png"), **change}
    given["picture"] = given["picture"].replace("TEXT", str(tmp_path / "text.jpg"))
    options = [word for name, value in given.items() if name.startswith("--") for word in (name, value)]

    assert main(["align", given["picture"], given["sentence"], *options]) == 2

    said = capsys.readouterr().err
    assert says in said and said.startswith("error: ") and said.count("\n") == 1
    assert not (tmp_path / "x.png").exists()
