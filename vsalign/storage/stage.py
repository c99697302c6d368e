"""The driver's side of a table: its configuration, the plan, what is left to do, the manifest."""

from __future__ import annotations

import itertools
import json
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vsalign import tables
from vsalign.errors import IncompleteTableError, Reason
from vsalign.storage.claim import claim, clear, read_json
from vsalign.storage.folder import Folder
from vsalign.storage.layout import ERRORS, MANIFEST, PART, PLAN, PLANNED, is_temporary, plan_file
from vsalign.storage.refreshing import STAND_FOR_MANY, known_inputs, new_shards
from vsalign.storage.shards import Output, ShardResult, ShardTask, check_shard, generations, plan_damaged, plan_parquet

SHARDS_A_PLAN_FILE = 64

FINISHES = 5
"""How often `finish` looks again where a run beside it replaces files under its hands."""


@dataclass(frozen=True)
class Summary:
    """What a stage did, for the manifest and the last screen."""

    output: str
    table: str
    rows: int
    inputs: int
    shards: int
    errors: dict[str, int]
    archive_errors: dict[str, int]
    counts: dict[str, int]
    done_before: int
    """Shards that an earlier run had committed."""
    seconds: float
    """Wall-clock of this run."""
    rows_made: int
    """Rows that this run committed."""

    @property
    def exit_status(self) -> int:
        """0, or 3 where an archive ended early: the table is finished and readable, the input was not whole."""
        return 3 if self.archive_errors else 0


@dataclass(frozen=True)
class Begun:
    """What there was when a run began; it travels to the machine that finishes the table."""

    moment: float
    """Seconds since the epoch."""
    shards: int
    """Committed by earlier runs."""
    rows: int
    """In them."""


class Stage:
    """A table in the making at `output.url`; the same command on the same folder goes on where it stopped.

    Raises ConfigurationError, with the difference named, where the folder holds a table of another configuration.
    """

    def __init__(self, output: Output, *, overwrite: bool = False, begun: Begun | None = None) -> None:
        self.output = output
        self.folder = Folder(output.url)
        self.begun = begun or Begun(time.time(), 0, 0)
        self.done: dict[int, ShardResult] = {}
        self._present: dict[int, list[int]] = {}
        if overwrite:
            clear(self.folder)
        claim(self.folder, output)

    def plan(self, shards: Iterable[list[dict[str, Any]]], schema: pa.Schema, counts: dict[str, int]) -> None:
        """Write down which input is in which shard, once; a plan that exists stands. `counts` is read at the end.

        Memory is bounded by SHARDS_A_PLAN_FILE shards, whatever the listing.
        """
        if self.folder.exists(PLAN):
            return
        plan = self._planned([], shards, schema, counts)
        self.folder.write_new(PLAN, json.dumps(plan).encode())  # where another run was faster, its plan stands

    def extend(self, shards: Iterable[list[dict[str, Any]]], schema: pa.Schema, counts: dict[str, int]) -> None:
        """Add what the plan does not list yet, by its URI, as further shards: none is renumbered, none is taken out.

        The manifest goes first: with new shards to be made the table is not complete.
        """
        held = self.held_plan()
        files = [(name, number) for name, number in held["files"]]
        known = known_inputs(self.folder, (name for name, _ in files))
        plan = self._planned(files, new_shards(shards, known), schema, counts)
        if plan["shards"] > held["shards"]:
            self.folder.remove(MANIFEST)
            self.folder.replace(PLAN, json.dumps(plan).encode())

    def _planned(
        self,
        held: list[tuple[str, int]],
        shards: Iterable[list[dict[str, Any]]],
        schema: pa.Schema,
        counts: dict[str, int],
    ) -> dict[str, Any]:
        """Write files of a plan behind those that are `held`, and give the plan."""
        attempt = uuid.uuid4().hex[:12]
        files = list(held)
        iterator = iter(shards)
        while chunk := list(itertools.islice(iterator, SHARDS_A_PLAN_FILE)):
            name = plan_file(len(files), attempt)
            self.folder.replace(name, plan_parquet(chunk, schema))
            files.append((name, len(chunk)))
        return {"shards": sum(shards for _, shards in files), "files": files, "counts": dict(counts)}

    def pending(self) -> list[ShardTask]:
        """The shards that are left to do, and in which generation; what is committed is checked file by file."""
        self.done = {}
        self._present = generations(self.folder.names())
        tasks = self.tasks()
        with ThreadPoolExecutor(16) as pool:
            left = list(pool.map(lambda task: self._check(task, self._present.get(task.shard, [])), tasks))
        rows = sum(result.rows for result in self.done.values())
        self.begun = Begun(self.begun.moment, len(self.done), rows)
        return [task for task in left if task is not None]

    def next_generation(self, shard: int) -> int:
        """Above every file of the shard that `pending` found."""
        return max(self._present.get(shard, ()), default=-1) + 1

    def planned_inputs(self, tasks: Sequence[ShardTask]) -> int | None:
        """How many inputs the plan lists for `tasks`; None where a row of theirs stands for many (an archive).

        Raises TableError where the plan cannot be read.
        """
        groups: dict[str, list[int]] = {}
        for task in tasks:
            groups.setdefault(task.plan_file, []).append(task.row_group)
        total = 0
        for name in sorted(groups):
            try:
                with self.folder.open(name) as file:
                    plan = pq.ParquetFile(file)
                    if "kind" in plan.schema_arrow.names:
                        kinds = plan.read_row_groups(groups[name], columns=["kind"])["kind"].unique().to_pylist()
                        if STAND_FOR_MANY & {*kinds}:
                            return None
                    total += sum(plan.metadata.row_group(group).num_rows for group in groups[name])
            except (OSError, pa.ArrowException, IndexError) as error:
                raise plan_damaged(self.folder.url, name, error) from error
        return total

    def inputs_done(self, tasks: Sequence[ShardTask]) -> int:
        """Inputs that are done and stay, after `pending`: those of the shards that are not among `tasks`."""
        again = {task.shard for task in tasks}
        return sum(result.inputs for shard, result in self.done.items() if shard not in again)

    def finish(self) -> Summary:
        """Check that every shard is committed, write the manifest, sweep what no manifest names.

        Raises IncompleteTableError where a shard is missing: the same command started again makes it.
        """
        begun = self.begun
        for _ in range(FINISHES):
            missing = [task for task in self.pending() if task.shard not in self.done]
            self.begun = begun
            if missing:
                raise IncompleteTableError(
                    f"{len(missing)} of {self.held_plan()['shards']} shards of {self.output.url} are not committed "
                    f"(the first is shard {missing[0].shard}): run the same command again to make what is missing"
                )
            summary = self._summary()
            manifest = self._manifest(summary)
            self._write_manifest(manifest)
            self._sweep()
            if self._stands(manifest):
                return summary
        raise IncompleteTableError(
            f"another run keeps replacing shards of {self.output.url}: let it end, then run the same command again"
        )

    def plan_counts(self) -> dict[str, int]:
        """What was counted when the inputs were listed."""
        counts: dict[str, int] = self.held_plan()["counts"]
        return counts

    def held_plan(self) -> dict[str, Any]:
        """The plan file: shards, files (name, shards) and counts; raises TableError where it is absent or damaged."""
        return read_json(self.folder, PLAN, "shards", "files", "counts")

    def tasks(self) -> list[ShardTask]:
        """All shards of the plan, in their first generation."""
        tasks: list[ShardTask] = []
        for name, shards in self.held_plan()["files"]:
            tasks += [ShardTask(len(tasks) + i, name, i) for i in range(shards)]
        return tasks

    def _check(self, task: ShardTask, present: list[int]) -> ShardTask | None:
        """None where the shard is done; else what to do. A shard with passing errors is both: readable, and
        tried again."""
        for generation in sorted(present, reverse=True):
            result = check_shard(self.folder, replace(task, generation=generation))
            if result is not None:
                self.done[task.shard] = result
                if not any(Reason(reason).passing for reason in (*result.errors, *result.archive_errors)):
                    return None
                break
        return replace(task, generation=self.next_generation(task.shard))

    def _summary(self) -> Summary:
        results = self.done.values()
        errors, archive_errors = Counter[str](), Counter[str]()
        counts = Counter[str](self.held_plan()["counts"])
        for result in results:
            errors.update(result.errors)
            archive_errors.update(result.archive_errors)
            counts.update(result.counts)
        rows = sum(result.rows for result in results)
        return Summary(
            output=self.output.url,
            table=self.output.table,
            rows=rows,
            inputs=sum(result.inputs for result in results),
            shards=len(self.done),
            errors=dict(sorted(errors.items())),
            archive_errors=dict(sorted(archive_errors.items())),
            counts=dict(sorted(counts.items())),
            done_before=self.begun.shards,
            seconds=time.time() - self.begun.moment,
            rows_made=rows - self.begun.rows,
        )

    def _manifest(self, summary: Summary) -> dict[str, Any]:
        facts = asdict(summary)
        facts.pop("output")
        return {
            **facts,
            "schema_version": tables.schema_version(self.output.table),
            "stage": self.output.stage,
            "rows_per_second": round(summary.rows_made / max(summary.seconds, 1e-9), 3),
            "configuration": self.output.configuration,
            "properties": self.output.properties,
            "parts": [asdict(self.done[shard]) for shard in sorted(self.done)],
        }

    def _write_manifest(self, manifest: dict[str, Any]) -> None:
        """Write the manifest, unless the one that is there names the same files: a rerun changes nothing."""
        if self._held_manifest().get("parts") != manifest["parts"]:
            self.folder.replace(MANIFEST, json.dumps(manifest, indent=1).encode())

    def _held_manifest(self) -> dict[str, Any]:
        try:
            held = json.loads(self.folder.read(MANIFEST))
        except (FileNotFoundError, ValueError):
            return {}
        return held if isinstance(held, dict) else {}

    def _stands(self, manifest: dict[str, Any]) -> bool:
        """Whether the manifest still says this, and what it names is there, after a run beside this one
        finished too."""
        names = set(self.folder.names())
        named = {name for part in manifest["parts"] for name in (part["file"], part["errors_file"]) if name}
        return self._held_manifest().get("parts") == manifest["parts"] and named <= names

    def _sweep(self) -> None:
        """Delete what no manifest will name: temporaries, lost attempts' files, generations that were replaced.

        A newer generation is left alone: a run beside this one may be about to name it.
        """
        planned = {name for name, _ in self.held_plan()["files"]}
        for name in self.folder.names():
            if is_temporary(name) or self._replaced(name) or (PLANNED.fullmatch(name) and name not in planned):
                self.folder.remove(name)

    def _replaced(self, name: str) -> bool:
        match = PART.fullmatch(name) or ERRORS.fullmatch(name)
        if match is None or (result := self.done.get(int(match[1]))) is None:
            return False
        named = PART.fullmatch(result.file)
        return named is not None and int(match[2]) <= int(named[2]) and name not in (result.file, result.errors_file)
