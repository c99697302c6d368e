"""`vsalign.load` and `vsalign describe`: one photograph, its caption and regions."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vsalign
from vsalign import packaged
from vsalign.checkpoint import save_model
from vsalign.cli import main
from vsalign.errors import InputError, MissingInputError, WrongExtractorError
from vsalign.generation import DESCRIBERS, DecodeOptions, DescriberConfig
from vsalign.generation.describe import DescribeOptions
from vsalign.regions import ExtractorConfig, build_extractor
from vsalign.text import Vocabulary

VOCABULARY = Vocabulary(["a", "dog", "runs", "red", "ball"])
IDENTITY = build_extractor(ExtractorConfig(name="lite", input_size=64)).identity()


def saved(folder: Path, describer: Any, seed: int, identity: dict[str, Any] = IDENTITY) -> str:
    torch.manual_seed(seed)
    config = DescriberConfig(describer=describer, hidden=8, word_dim=4)
    model = DESCRIBERS[describer](identity["dim"], len(VOCABULARY), config)
    save_model(str(folder), "describer", model, VOCABULARY, identity, {})
    return str(folder)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    root = tmp_path_factory.mktemp("models")
    return saved(root / "whole", "attention", 0), saved(root / "regions", "mrnn", 1)


@pytest.fixture
def photograph(tmp_path: Path) -> str:
    pixels = np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return str(tmp_path / "photo.png")


def test_a_photograph_in_three_lines(models: tuple[str, str], photograph: str) -> None:
    model = vsalign.load(*models)
    found = model.describe(photograph)

    assert (found.width, found.height, len(found.regions)) == (90, 60, 19)
    assert set(found.caption.split()) <= set(VOCABULARY.words) and found.log_prob < 0
    assert all(len(region.box) == 4 and region.log_prob < 0 for region in found.regions)
    assert model.describe(photograph) == found


def test_one_model_does_both_where_one_is_named(models: tuple[str, str], photograph: str) -> None:
    options = DescribeOptions(DecodeOptions(beam=1), max_regions=2)
    both, one = vsalign.load(*models, options=options), vsalign.load(models[0], options=options)

    assert both.describe(photograph).caption == one.describe(photograph).caption
    assert [r.box for r in both.describe(photograph).regions] == [r.box for r in one.describe(photograph).regions]
    assert both.describe(photograph).regions != one.describe(photograph).regions


def test_what_cannot_be_used_is_said(
    models: tuple[str, str], tmp_path: Path, photograph: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = vsalign.load(*models)
    broken = tmp_path / "broken.png"
    broken.write_bytes(Path(photograph).read_bytes()[:200])
    with pytest.raises(InputError):
        model.describe(str(broken))
    with pytest.raises(MissingInputError, match="absent"):
        model.describe(str(tmp_path / "absent.jpg"))
    other = saved(tmp_path / "other", "mrnn", 2, {**IDENTITY, "pooling": "crop"})
    with pytest.raises(WrongExtractorError, match="the same extractor's"):
        vsalign.load(models[0], other)
    monkeypatch.setattr(packaged, "PACKAGE", "no_such_package")
    with pytest.raises(MissingInputError, match=r"describer is not installed: pip install \./models"):
        vsalign.load()


def test_the_command_prints_and_draws(
    models: tuple[str, str], photograph: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--model", models[0], "--region-model", models[1], "--decode.beam", "2"]
    assert main(["describe", photograph, *options, "--picture", str(tmp_path / "out.png")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1 + 19 + 1 and said[-1] == f"drawn in {tmp_path / 'out.png'}"
    with Image.open(tmp_path / "out.png") as drawn:
        assert drawn.width == 90 and drawn.height > 60

    assert main(["describe", photograph, *options, "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert said[0].startswith(row["caption"]) and len(row["regions"]) == 19


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "say which photograph"),
        (["PHOTO", "--picture", "out.gif"], "out.gif"),
        (["/absent.jpg"], "/absent.jpg"),
        (["PHOTO", "--drawn", "-1"], "--drawn -1"),
        (["BROKEN"], "BROKEN"),
    ],
)
def test_a_mistake_is_one_sentence(
    words: list[str],
    sentence: str,
    models: tuple[str, str],
    photograph: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    broken = tmp_path / "BROKEN"
    broken.write_bytes(b"no picture")
    places = {"PHOTO": photograph, "BROKEN": str(broken)}
    assert main(["describe", *(places.get(word, word) for word in words), "--model", models[0]]) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1 and said.startswith("error: ")


def test_the_package_is_imported_without_torch() -> None:
    code = "import vsalign, sys; assert 'torch' not in sys.modules; vsalign.nothing"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "has no attribute 'nothing'" in run.stderr
