"""regions/ + captions/ + the alignment model -> segments/ (Ray Data): which words belong to which region.

python -m jobs.align_segments --regions URL --captions URL --model DIR --output URL
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from jobs.inputs import everywhere, load_recorded, model_facts, open_table
from jobs.quarantine import Lost, Made, Maker
from jobs.shards import ShardOptions, ShardWork, make_shards
from vsalign import tables
from vsalign.alignment.annotate import PAIR_PLAN, Annotator, annotate_shard, plan_pairs
from vsalign.alignment.placing import Placing
from vsalign.checkpoint import load_model
from vsalign.command import exit_status
from vsalign.options import parse
from vsalign.storage import Output, ShardTask, TableReader, begin

PROG = "python -m jobs.align_segments"
STAGE = "align_segments"


@dataclass(frozen=True, kw_only=True)
class Options(Placing, ShardOptions):
    """What align_segments is told."""

    regions: str
    """Regions table, of the extractor that the model was trained on."""
    captions: str
    """Captions table."""
    model: str
    """Folder of the alignment model."""
    language: str = ""
    """Folder of the sentence encoder of a model of --model.text language; empty: the packaged one."""
    splits: tuple[str, ...] = field(default=())
    """Splits whose captions are annotated, as in --splits train tune; none: all."""

    def __post_init__(self) -> None:
        Placing.__post_init__(self)
        ShardOptions.__post_init__(self)


@dataclass(frozen=True)
class AlignedPairs(Maker):
    """What commits a shard of segments; pairs are our own tables' rows, so that none is at fault by itself."""

    output: Output
    regions: TableReader
    annotator: Annotator

    def __call__(self, task: ShardTask, lost: Lost) -> Made:
        """Commit it."""
        rows, writer = self.output.read_plan(task), self.output.open_shard(task)
        return Made(annotate_shard(rows, self.regions, self.annotator, writer))


@dataclass(frozen=True)
class AlignShards(ShardWork):
    """What an actor does: the pairs of one region shard into a shard of segments."""

    output: Output
    regions: str
    model: str
    language: str
    placing: Placing

    def load(self) -> Maker:
        """Load the model and open the regions table."""
        regions = TableReader(self.regions, "regions")
        model = load_recorded(self.model, "alignment", self.output.configuration["model"])
        annotator = Annotator(model.model, model.reader(self.language), self.placing)
        return AlignedPairs(self.output, regions, annotator)


def align_segments(argv: Sequence[str] | None = None) -> int:
    """Align the sentences that `argv` names, and return the exit status."""
    about = "Writes the segments table: which words of each sentence belong to which region of its image."
    options = parse(Options, argv, prog=PROG, description=about)
    regions, captions = open_table(options.regions, "regions"), open_table(options.captions, "captions")
    model = load_model(everywhere(options.model, "--model"), "alignment")
    regions.require_extractor(model.extractor, needed_by=f"the model {model.url}")
    language = options.language and everywhere(options.language, "--language")
    model.reader(language)  # it refuses an encoder that is absent, or another one
    placing = options.settled(normalised=model.model.config.normalise)
    output = Output(
        url=everywhere(options.output, "--output"),
        table="segments",
        schema=tables.SEGMENTS,
        stage=STAGE,
        configuration={
            "regions": regions.facts(),
            "captions": captions.facts(),
            "model": model_facts(model.url, "alignment"),
            **asdict(placing),
            "splits": sorted(set(options.splits)),
            "threads": options.cpus_per_actor,
        },
        properties={"extractor": model.extractor},
    )
    stage = begin(
        output, lambda: plan_pairs(regions, captions, set(options.splits)), PAIR_PLAN, {}, overwrite=options.overwrite
    )
    work = AlignShards(output, regions.url, model.url, language, placing)
    return make_shards(stage, work, options, "pairs")


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status (vsalign.command.exit_status)."""
    return exit_status(lambda: align_segments(argv))


if __name__ == "__main__":
    # Actors import their work by its module's name, which __main__ is not.
    from jobs import align_segments as module

    sys.exit(module.main())
