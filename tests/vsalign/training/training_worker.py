"""One of two training workers: `training_worker.py RANK RENDEZVOUS FOLDER ALIGNMENT MRNN REGIONS CAPTIONS OTHER`.

It trains both models on the tables (`test_workers.py` looks at what comes of it), and then tries to train with a
captions table of its own: rank 1 reads OTHER. Workers are processes of their own: a forked torch may hang.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from vsalign.alignment import AlignmentModelConfig
from vsalign.errors import VsalignError
from vsalign.generation import DescriberConfig
from vsalign.training.alignment import AlignmentData, AlignmentTraining, train_alignment
from vsalign.training.describer import DescriberData, DescriberTraining, train_describer


def main(rank: int, rendezvous: str, folder: Path, alignment: str, mrnn: str, tables: list[str]) -> None:
    torch.set_num_threads(1)
    regions, captions, other = tables
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    reported: list[Any] = []

    def report(metrics: dict[str, Any], checkpoint: Path | None) -> None:
        reported.append([metrics["epoch"], metrics["loss"], checkpoint is not None])

    settings = {name: json.loads(text) for name, text in (("alignment", alignment), ("mrnn", mrnn))}
    aligned = AlignmentTraining(
        **{**settings["alignment"], "model": AlignmentModelConfig(**settings["alignment"]["model"])}
    )
    said = DescriberTraining(**{**settings["mrnn"], "model": DescriberConfig(**settings["mrnn"]["model"])})
    train_alignment(aligned, AlignmentData(regions, captions), str(folder / "alignment"), folder, report)
    train_describer(said, DescriberData(regions, captions), str(folder / "describer"), folder, report)
    refusal = ""
    try:
        own = AlignmentData(regions, other if rank else captions)
        train_alignment(aligned, own, str(folder / "refused"), folder, report)
    except VsalignError as error:
        refusal = str(error)
    (folder / f"rank{rank}.json").write_text(json.dumps({"reported": reported, "refusal": refusal}))
    dist.destroy_process_group()
    os._exit(0)  # what is told is told: threads of gloo may abort the interpreter that goes away below them


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4], sys.argv[5], sys.argv[6:])
