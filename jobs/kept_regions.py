"""`--keep-regions` of caption_images: the regions table beside the descriptions, of one plan and one pass."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from jobs.described_inputs import Described
from jobs.duplicates import SUFFIX
from jobs.inputs import everywhere
from vsalign import tables
from vsalign.errors import ConfigurationError
from vsalign.generation.describe import DescribeOptions
from vsalign.regions.extract import RegionsShard
from vsalign.storage import Output, ShardWriter, Stage, follow, require_claimable


@dataclass(frozen=True, kw_only=True)
class KeptRegions:
    """Whether regions are kept."""

    keep_regions: str = ""
    """Folder or URL of a regions table that is written beside, of the features that the descriptions are made from; to
    be given from the first run on. Empty: none. --overwrite is for it too."""


def kept_regions(given: str, descriptions: Output, *, overwrite: bool) -> Output | None:
    """The regions table beside, if there is one; raises ConfigurationError where its folder is another table's."""
    if not given:
        return None
    url = everywhere(given, "--keep-regions")
    if url in (descriptions.url, descriptions.url + SUFFIX):
        raise ConfigurationError(f"--keep-regions {url}: that is where another table of this run goes; give another")
    of_describing = {"model", "region_model", "ensemble", *asdict(DescribeOptions())}
    made_with = {name: value for name, value in descriptions.configuration.items() if name not in of_describing}
    kept = Output(
        url=url,
        table="regions",
        schema=tables.regions_schema(descriptions.properties["extractor"]["dim"]),
        stage=descriptions.stage,
        configuration={**made_with, "beside": descriptions.table},
        properties=descriptions.properties,
    )
    try:
        require_claimable(kept, overwrite=overwrite)
    except ConfigurationError as error:
        raise ConfigurationError(str(error).replace("--output", "--keep-regions")) from error
    return kept


def beside_of(stage: Stage, kept: Output | None, *, overwrite: bool) -> list[Stage]:
    """The stage of the regions table beside, of the same plan, if there is one."""
    if kept is None:
        return []
    beside = Stage(kept, overwrite=overwrite)
    follow(beside, stage)
    return [beside]


def keeping(images: Described, shard: RegionsShard, descriptions: ShardWriter) -> Described:
    """The same, in a shard of the regions table too: that is committed before the descriptions of the last batch.

    descriptions: their writer, in which is counted what is no picture.
    """
    for image in images:
        shard.add(image)
        yield image
    shard.commit(descriptions.counts)
