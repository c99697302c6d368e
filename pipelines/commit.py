"""What the DoFns of the stages have in common: one element is one shard, and ends as one committed file."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

import apache_beam as beam
from apache_beam.metrics import Metrics, MetricsFilter
from apache_beam.runners.runner import PipelineResult

from vsalign import errors
from vsalign.errors import StoreError, VsalignError
from vsalign.storage import Output, ShardResult, ShardTask

NAMESPACE, MISTAKES = "vsalign", "mistakes"


class CommitShard(beam.DoFn):
    """From a shard's task to its committed file; yields the shard's number.

    A person's mistake that shows only here (a damaged plan, other weights than the driver's) leaves the shard
    uncommitted and is told to the driver as a metric: Beam would print what a DoFn raises three times over.
    """

    output: Output
    refused = False
    """Set by the first mistake: it would be the next shard's too (a full disk), so the rest is not computed in vain."""

    @abstractmethod
    def commit(self, task: ShardTask) -> ShardResult:
        """Make and commit one shard; raises VsalignError for a person's mistake."""

    def process(self, task: ShardTask) -> Iterator[int]:
        if self.refused:
            return
        try:
            result = self.commit(task)
        except StoreError:
            raise  # no mistake: Beam tries again, or the run ends as one that was stopped
        except VsalignError as mistake:
            self.refused = True
            Metrics.string_set(NAMESPACE, MISTAKES).add(f"{type(mistake).__name__}: {mistake}")
            return
        Metrics.counter(NAMESPACE, "rows").inc(result.rows)
        Metrics.counter(NAMESPACE, "errors").inc(sum(result.errors.values()))
        yield result.shard


def raise_mistake(ended: PipelineResult) -> None:
    """Raise the first mistake (by its text) that a worker noted."""
    query = MetricsFilter().with_namespace(NAMESPACE).with_name(MISTAKES)
    noted = sorted(text for metric in ended.metrics().query(query)["string_sets"] for text in metric.result)
    if noted:
        name, _, message = noted[0].partition(": ")
        kind = getattr(errors, name, None)
        raise (kind if isinstance(kind, type) and issubclass(kind, VsalignError) else VsalignError)(message)
