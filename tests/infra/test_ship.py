"""infra.ship: half the size, the same sentences, and the terms on the card."""

from __future__ import annotations

from pathlib import Path

import torch

from infra.ship import main
from vsalign.alignment import AlignmentModel, AlignmentModelConfig
from vsalign.checkpoint import CARD, WEIGHTS, load_model, save_model
from vsalign.generation import MRNN, DescriberConfig
from vsalign.text import Vocabulary

EXTRACTOR = {"name": "lite", "dim": 12}
TRAINING = {"configuration": {"start": "/somebody/first", "epochs": 3}, "history": [{"rsum": 1.5}]}


def test_a_shipped_model_is_half_as_large_and_says_its_terms(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, words = MRNN(12, 6, DescriberConfig(hidden=64, word_dim=32)), Vocabulary(["a", "dog"])
    save_model(str(tmp_path / "own"), "describer", model, words, EXTRACTOR, TRAINING)

    arguments = ["--model", str(tmp_path / "own"), "--output", str(tmp_path / "shipped"), "--terms", "for research"]
    arguments += ["--about", "It knows dogs."]
    assert main(arguments) == 0

    shipped = load_model(str(tmp_path / "shipped"), "describer")
    assert (shipped.vocabulary, shipped.extractor) == (words, EXTRACTOR)
    assert shipped.training["configuration"] == {"start": "first", "epochs": 3}
    for name, weight in shipped.model.state_dict().items():
        assert weight.dtype == torch.float32
        torch.testing.assert_close(weight, model.state_dict()[name], rtol=1e-3, atol=1e-3)
    sizes = [(tmp_path / name / WEIGHTS).stat().st_size for name in ("own", "shipped")]
    assert sizes[1] < 0.55 * sizes[0]
    card = (tmp_path / "shipped" / CARD).read_text()
    assert "for research" in card and "It knows dogs." in card


def test_an_alignment_model_is_shipped_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = AlignmentModelConfig(h=8, word_dim=6)
    model, words = AlignmentModel(12, 6, config), Vocabulary(["a", "dog"])
    save_model(str(tmp_path / "own"), "alignment", model, words, EXTRACTOR, TRAINING)

    assert main(["--model", str(tmp_path / "own"), "--output", str(tmp_path / "shipped"), "--terms", "x"]) == 0

    shipped = load_model(str(tmp_path / "shipped"), "alignment")
    assert (shipped.vocabulary, shipped.model.config) == (words, config)
    assert shipped.training["history"] == [{"rsum": 1.5}]


def test_no_model_is_one_sentence(tmp_path: Path, capsys) -> None:
    assert main(["--model", str(tmp_path), "--output", str(tmp_path / "o"), "--terms", "x"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
