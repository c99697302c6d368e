"""An archive of random features in ragged numbers, and a model that reads a few words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import torch

from vsalign import tables
from vsalign.alignment import AlignmentModel, AlignmentModelConfig
from vsalign.checkpoint import save_model
from vsalign.storage import Output, begin
from vsalign.text import Vocabulary, tokenize

DIM, IMAGES, A_SHARD = 24, 63, 7
SENTENCES = ["a red dog runs", "two small birds", "the dog and the birds", "red"]
EXTRACTOR = {"name": "lite", "dim": DIM, "weights_sha256": "0" * 64, "input_size": 64}


def regions_rows(numbers: range) -> list[dict[str, Any]]:
    """Images of 1 to 5 regions of random features."""
    rows = []
    for number in numbers:
        rng = np.random.default_rng(number)
        count = 1 + number % 5
        boxes = [[0.0, 0.0, 100.0 + number, 80.0], *([float(at), 2.0, at + 20.0, 40.0] for at in range(count - 1))]
        features = [row.tobytes() for row in rng.normal(size=(count, DIM)).astype("<f2")]
        image_id = f"{'holiday' if number % 3 else 'Work'}/{number:03d} [x].jpg"
        size = {"width": 100 + number, "height": 80}
        found = {"boxes": boxes, "scores": [1.0] * count, "features": features}
        rows.append({"image_id": image_id, "uri": f"/photos/{image_id}", **size, **found})
    return rows


def write_regions(url: str, images: int = IMAGES) -> None:
    """A regions table; one that is there takes in what it lacks."""
    schema = tables.regions_schema(DIM)
    output = Output(url, "regions", schema, "test", {"of": "test"}, {"extractor": EXTRACTOR})
    shards = [[{"uri": str(at)}] for at in range(0, images, A_SHARD)]
    stage = begin(output, lambda: shards, pa.schema([("uri", pa.string())]), {}, overwrite=False, refresh=True)
    for task in stage.pending():
        writer = output.open_shard(task)
        rows = regions_rows(range(task.shard * A_SHARD, min((task.shard + 1) * A_SHARD, images)))
        writer.write(rows)
        writer.commit(len(rows))
    stage.finish()


def write_model(url: str, **config: Any) -> AlignmentModel:
    torch.manual_seed(3)
    vocabulary = Vocabulary.build([tokenize(sentence) for sentence in SENTENCES], 1)
    settings = {"h": 16, "hidden": 12, "word_dim": 8, "text": "gru", "normalise": True, "score": "symmetric"}
    model = AlignmentModel(DIM, len(vocabulary), AlignmentModelConfig(**{**settings, **config}))
    save_model(url, "alignment", model, vocabulary, EXTRACTOR, {})
    return model.eval()
