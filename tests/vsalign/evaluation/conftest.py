"""Four pictures with tables and models, for the commands that measure."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from vsalign.alignment import AlignmentModel, AlignmentModelConfig
from vsalign.checkpoint import save_model
from vsalign.cli import main
from vsalign.text import Vocabulary

Write = Callable[..., str]
DIM = 6
IDENTITY = {"name": "lite", "dim": DIM}
VOCABULARY = Vocabulary(["a", "red", "dog", "blue", "cat", "green", "bird"])
SENTENCES = {"0.jpg": "a red dog", "1.jpg": "a blue cat", "2.jpg": "a green bird", "3.jpg": "a red bird"}


@dataclass(frozen=True)
class Files:
    """Tables and models of four pictures in dev, and as many in train."""

    folder: Path
    regions: str
    captions: str
    model: str

    def evaluate(self, command: str, *options: str) -> tuple[int, dict[str, float]]:
        """The exit status and the figures that it wrote."""
        out = self.folder / "figures.json"
        out.unlink(missing_ok=True)
        status = main(["evaluate", command, *options, "--json", str(out)])
        return status, json.loads(out.read_text()) if out.exists() else {}

    @property
    def aligned(self) -> tuple[str, ...]:
        return ("--regions", self.regions, "--captions", self.captions, "--model", self.model)


@pytest.fixture
def files(tmp_path: Path, write_regions: Write, write_captions: Write) -> Files:
    rng = np.random.default_rng(0)
    images = {image_id: rng.standard_normal((3, DIM)).astype(np.float16) for image_id in SENTENCES}
    near = {f"train/{image_id}": (2 * features).astype(np.float16) for image_id, features in images.items()}
    splits = {
        "dev": {image_id: [text, f"{text} dog"] for image_id, text in SENTENCES.items()},
        "train": {f"train/{image_id}": [f"near {text}", "another"] for image_id, text in SENTENCES.items()},
    }
    torch.manual_seed(0)
    model = AlignmentModel(DIM, len(VOCABULARY), AlignmentModelConfig(h=8, hidden=6, word_dim=4)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    save_model(str(tmp_path / "model"), "alignment", model, VOCABULARY, IDENTITY, {})
    return Files(
        tmp_path,
        write_regions(tmp_path / "regions", [images, near]),
        write_captions(tmp_path / "captions", splits),
        str(tmp_path / "model"),
    )


def one_sentence(capsys: pytest.CaptureFixture[str]) -> str:
    """What stands on stderr: one line, no traceback."""
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and "Traceback" not in error
    return error
