"""One of two workers that train a detector: `detector_worker.py RANK RENDEZVOUS FOLDER IMAGES CAPTIONS TRUTH`.

`test_detector.py` looks at what comes of it. Workers are processes of their own: a forked torch may hang.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from vsalign.images import ImageInput
from vsalign.regions.detector import Detector, DetectorSizes
from vsalign.training import detector
from vsalign.training.detector import DetectorTraining, train_detector
from vsalign.training.detector_pictures import DetectorData

TRAINING = DetectorTraining(
    model=DetectorSizes(input_size=128, channels=16, hidden=32), epochs=2, batch_size=8, learning_rate=0.002, warmup=2
)


def main(rank: int, rendezvous: str, folder: Path, images: str, captions: str, truth: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    reported: list[Any] = []
    made: list[Detector] = []

    class Seen(Detector):
        """A detector that this script keeps hold of, and that counts its steps."""

        steps = 0

        def forward(self, *given: Any) -> Any:
            Seen.steps += 1
            made[:] = [self]
            return super().forward(*given)

    detector.Detector = Seen  # type: ignore[misc]
    data = DetectorData(ImageInput(images), captions, truth)
    work = folder / f"work{rank}"
    work.mkdir()
    train_detector(TRAINING, data, str(folder / "model"), work, lambda m, saved: reported.append(m["epoch"]))
    weights = b"".join(value.detach().numpy().tobytes() for value in made[0].parameters())
    told = {"reported": reported, "steps": Seen.steps, "weights": hashlib.sha256(weights).hexdigest()}
    (folder / f"rank{rank}.json").write_text(json.dumps(told))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), *sys.argv[4:])
