"""Parquet shards on any fsspec filesystem: atomic commit, manifest, what is already done (docs/architecture.md)."""

from vsalign.storage.beginning import begin
from vsalign.storage.claim import require_claimable
from vsalign.storage.folder import Folder
from vsalign.storage.reader import TableReader
from vsalign.storage.shards import Output, ShardResult, ShardTask, ShardWriter
from vsalign.storage.siblings import follow, pending_together
from vsalign.storage.stage import Begun, Stage, Summary

__all__ = [
    "Begun", "Folder", "Output", "ShardResult", "ShardTask", "ShardWriter", "Stage", "Summary", "TableReader", "begin",
    "follow", "pending_together", "require_claimable",
]  # fmt: skip
