"""Arrays of several images side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def padded(arrays: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """(N, R, D) float32 and the mask (N, R), False where there is nothing, of N images' (n, D) arrays."""
    rows = [torch.from_numpy(each.astype(np.float32)) for each in arrays]
    counts = torch.tensor([len(each) for each in rows])
    together = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return together, torch.arange(together.shape[1]) < counts[:, None]
