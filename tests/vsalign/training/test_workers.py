"""Two training workers learn what one with the same batches does."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from vsalign.alignment import AlignmentModelConfig
from vsalign.checkpoint import load_model
from vsalign.generation import DescriberConfig
from vsalign.training.alignment import AlignmentData, AlignmentTraining, train_alignment
from vsalign.training.describer import DescriberData, DescriberTraining, train_describer

WORKER = Path(__file__).with_name("training_worker.py")
SECONDS = 100
EPOCHS = 2

# One batch an epoch, and no dropout: then one worker sees the same pairs a step as two.
ALIGNMENT = AlignmentTraining(
    model=AlignmentModelConfig(h=8, hidden=6, word_dim=5, dropout=0.0),
    epochs=EPOCHS,
    batch_size=8,
    learning_rate=0.01,
    warmup=1,
    min_count=1,
)
MODEL = DescriberConfig(hidden=8, word_dim=6, dropout=0.0)
MRNN = DescriberTraining(model=MODEL, epochs=EPOCHS, batch_size=8, learning_rate=0.01, warmup=1, min_count=1)


@dataclass(frozen=True)
class Trained:
    """A folder with both models, and what each of its workers told."""

    folder: Path
    workers: list[dict[str, Any]]


@pytest.fixture(scope="module")
def by_two(pictures: Any, tmp_path_factory: pytest.TempPathFactory, write_captions: Callable[..., str]) -> Trained:
    folder = tmp_path_factory.mktemp("two")
    sentences = {image_id: [text, "a " + text] for image_id, text in pictures.sentences.items()}
    other = write_captions(folder / "other", {"train": sentences, "tune": sentences})
    settings = [json.dumps(asdict(config)) for config in (ALIGNMENT, MRNN)]
    tables = [pictures.regions, pictures.captions, other]
    workers = [
        subprocess.Popen([sys.executable, WORKER, str(rank), folder / "meeting", folder, *settings, *tables])
        for rank in (0, 1)
    ]
    try:
        assert [worker.wait(SECONDS) for worker in workers] == [0, 0]
    finally:
        for worker in workers:
            worker.kill()
    return Trained(folder, [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)])


@pytest.fixture(scope="module")
def by_one(pictures: Any, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("one")
    reported: list[Any] = []

    def report(metrics: dict[str, Any], checkpoint: Path | None) -> None:
        reported.append([metrics["epoch"], metrics["loss"], checkpoint is not None])

    tables = pictures.regions, pictures.captions
    train_alignment(ALIGNMENT, AlignmentData(*tables), str(folder / "alignment"), folder, report)
    train_describer(MRNN, DescriberData(*tables), str(folder / "describer"), folder, report)
    return Trained(folder, [{"reported": reported}])


@pytest.mark.parametrize("kind", ["alignment", "describer"])
def test_two_workers_end_with_the_weights_of_one(kind: str, by_one: Trained, by_two: Trained) -> None:
    one, two = (load_model(str(trained.folder / kind), kind) for trained in (by_one, by_two))

    assert one.training["best_epoch"] == two.training["best_epoch"]
    for name, weight in one.model.state_dict().items():
        torch.testing.assert_close(two.model.state_dict()[name], weight, rtol=1e-4, atol=1e-5)


def test_every_worker_reports_every_epoch_and_the_first_brings_the_checkpoint(by_one: Trained, by_two: Trained) -> None:
    first, second = (worker["reported"] for worker in by_two.workers)

    assert [epoch for epoch, *_ in first] == [epoch for epoch, *_ in second] == [*range(EPOCHS)] * 2
    assert [saved for *_, saved in first] == [True] * 2 * EPOCHS
    assert [saved for *_, saved in second] == [False] * 2 * EPOCHS
    (alone,) = by_one.workers
    # The alignment's loss is the one of all workers' pairs, on each of them.
    for worker in (first, second):
        assert [loss for _, loss, _ in worker[:EPOCHS]] == pytest.approx(
            [loss for _, loss, _ in alone["reported"][:EPOCHS]], rel=1e-4
        )


def test_workers_that_read_different_tables_are_refused_with_ranks_and_counts(by_two: Trained) -> None:
    for worker in by_two.workers:
        assert "rank 0: 8, rank 1: 16" in worker["refusal"]
