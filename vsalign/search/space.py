"""The space that an archive is searched in: the model's joint space, turned so that few numbers tell most of a product.

    v_i · s_t  ≈  (U v_i) · (U s_t)

U (d, h) are the leading eigenvectors of the mean of v vᵀ over regions of the archive itself, so that what is lost of a
product is what regions hardly ever have; d = h loses nothing. Where a model's products are cosines, they are cosines of
what is left too: on Flickr8k's tune split that finds no less than the whole space, while plain products lose up to 0.3
points of recall. A region is kept as float16, or as int8 in steps of each number's own size, which the words are
multiplied by instead. What this costs is in docs/results.md (search.*).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

from vsalign.alignment import AlignmentModel
from vsalign.alignment.projection import unit
from vsalign.errors import ConfigurationError, ModelError
from vsalign.search.exact import LARGEST
from vsalign.storage import Folder, TableReader
from vsalign.tables import feature_arrays

Precision = Literal["int8", "float16"]
SPACE = re.compile(r"space-[0-9a-f]{16}\.safetensors")
LEARNT_FROM = 2000
"""Images at most, spread over the table, whose regions the turn is learnt from."""


@dataclass(frozen=True)
class Space:
    """A turn of the joint space, and how its numbers are kept."""

    turn: Tensor
    """U (d, h) float32."""
    steps: Tensor
    """(d,) float32: what 1 of an int8 means; ones for float16."""
    precision: Precision
    unit: bool
    """Whether what is turned gets length 1 again: the model's products are cosines."""

    @property
    def dim(self) -> int:
        """d."""
        return len(self.turn)

    def regions(self, v: Tensor) -> np.ndarray:
        """(n, h) regions of the joint space -> (n, d), as they are kept."""
        return self.packed(self.turned(v)).numpy()

    def turned(self, vectors: Tensor) -> Tensor:
        """(n, h) of the joint space -> (n, d)."""
        return unit(vectors @ self.turn.t(), self.unit)

    def packed(self, turned: Tensor) -> Tensor:
        """(..., d) numbers of the turned space, as they are kept."""
        if self.precision == "float16":
            return turned.half()
        return (turned / self.steps).round().clamp(-LARGEST, LARGEST).to(torch.int8)

    def unpacked(self, regions: Tensor) -> Tensor:
        """Kept regions (..., d) as float32 numbers of the turned space."""
        return regions.float() * self.steps

    def words(self, s: Tensor) -> Tensor:
        """(W, h) words of the joint space -> (W, d) float32, whose products with kept regions are v_i · s_t."""
        return self.turned(s) * self.steps

    @property
    def facts(self) -> dict[str, Any]:
        """What `read` needs beside the folder."""
        return {"sha256": self.sha256, "dim": self.dim, "precision": self.precision, "unit": self.unit}

    @cached_property
    def sha256(self) -> str:
        """Of its file, in hexadecimal digits."""
        return hashlib.sha256(self._bytes).hexdigest()

    @cached_property
    def _bytes(self) -> bytes:
        return save({"turn": self.turn, "steps": self.steps})

    def write(self, folder: Folder) -> None:
        """Into an index, in place of that of one that was there before."""
        own = _file(self.sha256)
        folder.write_new(own, self._bytes)
        for name in folder.names():
            if SPACE.fullmatch(name) and name != own:
                folder.remove(name)

    @staticmethod
    def read(folder: Folder, sha256: str, dim: int, precision: Precision, unit: bool) -> Space:
        """The space of an index; raises ModelError where its file is absent, or another than was recorded."""
        try:
            data = folder.read(_file(sha256))
        except FileNotFoundError:
            data = b""
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ModelError(f"{folder.url}/{_file(sha256)} is not what the index was made with: make the index again")
        return Space(**load(data), precision=precision, unit=unit)


def _file(sha256: str) -> str:
    return f"space-{sha256[:16]}.safetensors"


@torch.inference_mode()
def learn_space(model: AlignmentModel, regions: TableReader, dim: int, precision: Precision) -> Space:
    """The space of `dim` numbers (0: all of the model's h) that fits a table's regions best.

    Raises ConfigurationError where the model's space has fewer, or the table no region.
    """
    h = model.config.h
    if dim > h:
        raise ConfigurationError(f"--dim {dim}: the model's space has {h} numbers; give at most that, or 0 for all")
    v = torch.cat([model.regions(features) for features in _sample(regions)] or [torch.zeros(0, h)])
    if not len(v):
        raise ConfigurationError(f"{regions.url} has no regions: there is nothing to search")
    moment = (v.T @ v).double()
    _, vectors = torch.linalg.eigh(moment)  # in order of growing eigenvalues
    turn = vectors.flip(1)[:, : dim or h].T.float().contiguous()
    space = Space(turn, torch.ones(len(turn)), precision, model.config.normalise)
    if precision == "float16":
        return space
    largest = space.turned(v).abs().amax(0).clamp(min=torch.finfo(torch.float32).tiny)
    return replace(space, steps=largest / LARGEST)


def _sample(regions: TableReader) -> Iterator[Tensor]:
    """The features (n, D) float32 of the first images of shards that are spread over the table."""
    wanted = max(1, min(len(regions.shards), 32))
    each = -(-LEARNT_FROM // wanted)
    for place in range(wanted):
        shard = place * len(regions.shards) // wanted
        batch = next(regions.batches(["features"], [shard]), None)
        for features in feature_arrays(batch.column(0))[:each] if batch is not None else ():
            yield torch.from_numpy(features.astype(np.float32))
