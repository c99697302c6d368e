"""The output of a training job: a model folder in the making, its configuration claimed, its checkpoints beside it.

OUTPUT/_run.json        what it is made with, written first
OUTPUT/_training/       Ray Train's checkpoints, gone when the model is there
OUTPUT/config.json      the model's, written last: its sign of completeness
"""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pyarrow as pa
from pyarrow.fs import FileSystem, PyFileSystem

from vsalign.checkpoint import BACKBONE, CARD, CONFIG, VOCABULARY, WEIGHTS, read_config
from vsalign.errors import ConfigurationError, MissingInputError, ModelError
from vsalign.storage import Folder, Output
from vsalign.storage.arrow_files import SteadyHandler
from vsalign.storage.claim import claim
from vsalign.storage.layout import RUN

TRAINING = "_training"
SNAPSHOT = f"{TRAINING}/checkpoint_manager_snapshot.json"
"""Ray Train's list of the checkpoints that count."""


class ModelFolder:
    """A model of one kind and configuration at `url`, complete or to be trained.

    Raises ConfigurationError, with the difference named, where the folder holds a model of another configuration.
    """

    def __init__(
        self, url: str, kind: str, stage: str, configuration: dict[str, Any], *, overwrite: bool = False
    ) -> None:
        self.folder = Folder(url)
        self.url = self.folder.url
        if overwrite:
            self._clear()
        if self.complete and not self.folder.exists(RUN):
            raise ConfigurationError(
                f"{url} holds a model that no training job made (it has no {RUN}): give another --output or --overwrite"
            )
        claim(self.folder, Output(url, f"{kind} model", pa.schema([]), stage, configuration))

    @property
    def complete(self) -> bool:
        """Whether the model is there."""
        return self.folder.exists(CONFIG)

    @property
    def config(self) -> dict[str, Any]:
        """The complete model's config.json."""
        return read_config(self.url)

    @property
    def filesystem(self) -> FileSystem | None:
        """What Ray writes checkpoints through; None: its own, for a local path."""
        return None if self.folder.local else PyFileSystem(SteadyHandler(self.folder))

    @property
    def path(self) -> str:
        """The folder on that filesystem."""
        return self.folder.path("")

    def sweep(self) -> bool:
        """Delete the checkpoints that Ray does not count: killed in between, it leaves them; whether one counts.

        All go where the model is complete, or where the list of those that count was cut off while it was written.
        """
        counted = set() if self.complete else self._counted()
        for name in self.folder.names(TRAINING):
            if not counted or (name.split("/")[1].startswith("checkpoint_") and not self._counts(name, counted)):
                self.folder.remove(name)
        if self.folder.local:
            self._remove_empty_folders()
        return bool(counted)

    def _counts(self, name: str, counted: set[str]) -> bool:
        return name == SNAPSHOT or name.split("/")[1] in counted

    def _counted(self) -> set[str]:
        try:
            snapshot = json.loads(self.folder.read(SNAPSHOT))
            return {result["checkpoint_dir_name"] for result in snapshot["checkpoint_results"]}
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return set()

    def _remove_empty_folders(self) -> None:
        """Object stores have none; a local one is left behind by its files."""
        root = self.folder.path(TRAINING)
        folders = [path for path, _, _ in self.folder.fs.walk(root)] if self.folder.fs.exists(root) else []
        for path in sorted(folders, key=len, reverse=True):
            if not self.folder.fs.ls(path):
                self.folder.fs.rmdir(path)

    def _is_ours(self) -> bool:
        """Whether a training job claimed the folder, or a complete model of vsalign is in it."""
        with contextlib.suppress(FileNotFoundError, ValueError, AttributeError):
            if str(json.loads(self.folder.read(RUN)).get("table", "")).endswith(" model"):
                return True
        try:
            read_config(self.url)
        except (MissingInputError, ModelError):
            return False
        return True

    def _clear(self) -> None:
        """Delete the model and its checkpoints (--overwrite), its sign of completeness first, and nothing else."""
        if self.folder.names() and not self._is_ours():
            raise ConfigurationError(
                f"{self.url} is no model of vsalign (neither its {RUN} nor its {CONFIG} says so): --overwrite deletes "
                "only such models; give another --output"
            )
        for name in (CONFIG, WEIGHTS, BACKBONE, VOCABULARY, CARD, *self.folder.names(TRAINING), RUN):
            self.folder.remove(name)
        if self.folder.local:
            self._remove_empty_folders()
