"""A small captions table in the making: what a stage's driver and workers do, without an engine."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest

from vsalign import tables
from vsalign.errors import Reason
from vsalign.storage import Output, ShardResult, ShardTask, ShardWriter, Stage, Summary, begin

PLAN_SCHEMA = pa.schema([("name", pa.string())])


def caption(name: str) -> dict[str, Any]:
    return {
        "image_id": f"photos/{name}.jpg",
        "caption_id": f"photos/{name}.jpg#0",
        "split": "train",
        "text": f"a picture of {name}",
        "tokens": ["a", "picture", "of", name],
    }


@dataclass
class Captions:
    """A captions table of `shards` at `url`. A name such as `!EMPTY` is an input that fails for that reason."""

    url: str
    shards: Sequence[Sequence[str]] = (("ant", "bee"), ("cat", "!EMPTY", "dog"), ("elk",))
    configuration: dict[str, Any] = field(default_factory=lambda: {"input": "photos", "extractor": {"top_k": 19}})
    properties: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=lambda: {"litter": 2})

    @property
    def output(self) -> Output:
        return Output(self.url, "captions", tables.CAPTIONS, "prepare_captions", self.configuration, self.properties)

    def other(self, **changes: Any) -> Captions:
        return replace(self, **changes)

    def stage(self, *, overwrite: bool = False) -> Stage:
        shards = ([{"name": name} for name in shard] for shard in self.shards)
        return begin(self.output, lambda: shards, PLAN_SCHEMA, self.counts, overwrite=overwrite)

    def filled(self, task: ShardTask, healed: bool = False) -> tuple[ShardWriter, int]:
        """A writer with a shard's rows and errors in it, not committed, and the number of inputs."""
        writer, names = self.output.open_shard(task), [row["name"] for row in self.output.read_plan(task)]
        for name in names:
            if name.startswith("!") and not (healed and Reason(name[1:]).passing):
                writer.add_error(tables.error_row(f"photos/{name}", "prepare_captions", Reason(name[1:]), "as asked"))
            else:
                writer.write([caption(name.removeprefix("!"))])
        return writer, len(names)

    def commit(self, task: ShardTask, healed: bool = False) -> ShardResult:
        writer, inputs = self.filled(task, healed)
        return writer.commit(inputs)

    def run(self, *, overwrite: bool = False, healed: bool = False) -> Summary:
        stage = self.stage(overwrite=overwrite)
        for task in stage.pending():
            self.commit(task, healed)
        return stage.finish()


@pytest.fixture
def captions(tmp_path: Path) -> Captions:
    """A table that nobody has begun, at a local path."""
    return Captions(str(tmp_path / "captions"))


@pytest.fixture(params=["path", "file", "memory"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Captions]:
    """The same on each kind of filesystem."""
    name = uuid.uuid4().hex
    path = tmp_path / name
    yield Captions({"path": str(path), "file": f"file://{path}", "memory": f"memory://{name}/captions"}[request.param])
    if request.param == "memory":
        store = fsspec.filesystem("memory").store
        for path in [path for path in store if path.startswith(f"/{name}/")]:
            del store[path]
