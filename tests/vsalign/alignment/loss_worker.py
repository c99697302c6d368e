"""One of two workers that compute the objective of a shared batch: `loss_worker.py RANK RENDEZVOUS IN OUT`.

IN holds the cases that `test_loss.py` saved, each with the inputs of both workers; OUT gets this worker's losses and
gradients. They are run as processes of their own: a forked torch may hang.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vsalign.alignment import AlignmentLoss, AlignmentModel, AlignmentModelConfig, contrastive, max_margin, score
from vsalign.alignment.score import symmetric


def model_of(case: dict[str, Any]) -> AlignmentModel:
    """The model of a case, without dropout, in float64."""
    torch.manual_seed(case["seed"])
    model = AlignmentModel(4, 20, AlignmentModelConfig(h=6, hidden=5, word_dim=3, dropout=0.0)).double()
    for name in case["frozen"]:
        model.get_parameter(name).requires_grad_(False)
    return model


def loss_and_gradients(case: dict[str, Any], trained: nn.Module, inputs: dict[str, Tensor]) -> dict[str, Any]:
    """What one worker's part of the batch gives."""
    v, s = trained(inputs["features"], inputs["words"], inputs["lengths"])
    objective, scorer = partial(max_margin, margin=case["margin"]), score
    if case["best"]:
        objective, scorer = contrastive, symmetric
    loss = AlignmentLoss(objective, scorer)(
        v, inputs["region_mask"], s, inputs["lengths"], inputs["image_keys"], inputs["text_keys"]
    )
    loss.backward()
    gradients = {name.removeprefix("module."): p.grad for name, p in trained.named_parameters()}
    return {"loss": loss.detach(), "gradients": gradients}


def main(rank: int, rendezvous: str, cases: Path, out: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    found = []
    for case in torch.load(cases, weights_only=True):
        trained = DistributedDataParallel(model_of(case))
        found.append(loss_and_gradients(case, trained, case["workers"][rank]))
    torch.save(found, out)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
