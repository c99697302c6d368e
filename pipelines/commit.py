"""What the DoFns of the stages have in common: one element is one shard, and ends as one committed file."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator

import apache_beam as beam
from apache_beam.metrics import Metrics, MetricsFilter
from apache_beam.runners.runner import PipelineResult

from vsalign import errors
from vsalign.allocator import return_freed_memory
from vsalign.errors import StoreError, VsalignError
from vsalign.storage import Begun, Output, ShardResult, ShardTask, Stage

NAMESPACE, MISTAKES = "vsalign", "mistakes"


class CommitShard(beam.DoFn):
    """From a shard's task to its committed file; yields the shard's number.

    A person's mistake that shows only here (a damaged plan, other weights than the driver's) leaves the shard
    uncommitted, is told to the driver as a metric (Beam would print what a DoFn raises three times over), and goes on
    in the number's place to `FinishTable`, where there is no driver that waits.
    """

    output: Output
    refused = False
    """Set by the first mistake: it would be the next shard's too (a full disk), so the rest is not computed in vain."""

    @abstractmethod
    def commit(self, task: ShardTask) -> ShardResult:
        """Make and commit one shard; raises VsalignError for a person's mistake."""

    def process(self, task: ShardTask) -> Iterator[int | str]:
        if self.refused:
            return
        try:
            result = self.commit(task)
        except StoreError:
            raise  # no mistake: Beam tries again, or the run ends as one that was stopped
        except VsalignError as mistake:
            self.refused = True
            text = f"{type(mistake).__name__}: {mistake}"
            Metrics.string_set(NAMESPACE, MISTAKES).add(text)
            yield text
            return
        finally:
            return_freed_memory()
        Metrics.counter(NAMESPACE, "rows").inc(result.rows)
        Metrics.counter(NAMESPACE, "errors").inc(sum(result.errors.values()))
        yield result.shard


class FinishTable(beam.PTransform):
    """The last step of a job that nobody waits for: the manifest, once all shards are committed.

    Where a shard was refused it raises the first mistake, which then stands in the job's own report.
    """

    def __init__(self, output: Output, begun: Begun) -> None:
        super().__init__()
        self.output, self.begun = output, begun

    def expand(self, committed: beam.PCollection) -> beam.PCollection:
        return committed | "All" >> beam.combiners.ToList() | "Manifest" >> beam.Map(_finish, self.output, self.begun)


def _finish(committed: list[int | str], output: Output, begun: Begun) -> int:
    """Write the manifest; returns the table's exit status."""
    _raise_first(text for text in committed if isinstance(text, str))
    return Stage(output, begun=begun).finish().exit_status


def raise_mistake(ended: PipelineResult) -> None:
    """Raise the first mistake (by its text) that a worker noted."""
    query = MetricsFilter().with_namespace(NAMESPACE).with_name(MISTAKES)
    _raise_first(text for metric in ended.metrics().query(query)["string_sets"] for text in metric.result)


def _raise_first(noted: Iterable[str]) -> None:
    for text in sorted(noted)[:1]:
        name, _, message = text.partition(": ")
        kind = getattr(errors, name, None)
        raise (kind if isinstance(kind, type) and issubclass(kind, VsalignError) else VsalignError)(message)
