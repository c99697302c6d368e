"""The table of docs/scale.md: what bulk captioning of very large archives comes to, reckoned from docs/results.json.

python -m infra.scale                    write it again
python -m infra.scale --vcpus 640 --price 0.0112
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from infra.results import RECORD, ROOT
from vsalign.command import exit_status
from vsalign.errors import MissingInputError
from vsalign.options import parse
from vsalign.progress import format_duration

PAGE = ROOT / "docs" / "scale.md"
BEGIN, END = "<!-- python -m infra.scale -->\n", "<!-- end -->\n"
SHARDS_A_PLAN_FILE = 64
BYTES_A_READ = 5_000_000
"""What a filesystem client of fsspec's fetches at once of an archive."""
REQUESTS_A_READ = 3
"""To open a Parquet file and read a part: its metadata, its footer, the part."""


@dataclass(frozen=True, kw_only=True)
class ScaleOptions:
    """Machines and prices; the defaults are Google's list prices in us-central1."""

    vcpus: int = 1600
    """At work at once: a hundred n2d-standard-16."""
    price: float = 0.676 / 16
    """Dollars an hour of a vCPU (n2d-standard-16, on demand)."""
    writes: float = 0.05
    """Dollars for ten thousand writes or listings (class A) of a bucket."""
    reads: float = 0.004
    """Dollars for ten thousand reads (class B) of a bucket."""
    photograph_kb: float = 200.0
    """Of a photograph, where archives are read."""


@dataclass(frozen=True)
class Archive:
    """What is described."""

    photographs: int
    shard: int
    """Photographs a shard."""
    tars: bool

    @property
    def shards(self) -> int:
        return math.ceil(self.photographs / self.shard)

    @property
    def name(self) -> str:
        """The head of its column."""
        power = round(math.log10(self.photographs))
        return f"10^{power} in tars of {self.shard:,}" if self.tars else f"10^{power} files, {self.shard:,} a shard"


ARCHIVES = (
    Archive(10**7, 256, tars=False),
    Archive(10**7, 1_000, tars=True),
    Archive(10**9, 10_000, tars=False),
    Archive(10**9, 10_000, tars=True),
)


class Reckoned:
    """The figures of one archive. measured: the record's value of a key; raises MissingInputError where it has none."""

    def __init__(self, archive: Archive, options: ScaleOptions, measured: Callable[[str], float]) -> None:
        self.archive, self.options, self.measured = archive, options, measured
        self.rate = measured("bulk.images_per_s") / 2
        """Photographs a second of a vCPU: it was measured on two."""
        self.vcpu_hours = archive.photographs / self.rate / 3600

    def reads(self) -> float:
        """Of the pictures, of the plan, and of two checks by the driver (at the end, and of one start again)."""
        shards, tars = self.archive.shards, self.archive.tars
        pictures = self.archive.photographs * self.options.photograph_kb * 1000 / BYTES_A_READ
        of_tables = self.measured("scale.made_reads") + 2 * self.measured("scale.checked_reads")
        return (shards + pictures if tars else self.archive.photographs) + shards * of_tables * REQUESTS_A_READ

    def writes(self) -> float:
        """Of shards, each with an error or more, and the plan; and of the listings, a thousand names each."""
        shards, names = self.archive.shards, self.archive.shards if self.archive.tars else self.archive.photographs
        return shards * self.measured("scale.made_writes") + shards / SHARDS_A_PLAN_FILE + names / 1000

    def rows(self) -> dict[str, str]:
        """What stands in the table."""
        archive, options, hours = self.archive, self.options, self.vcpu_hours
        shards = archive.shards
        requests = (self.reads() * options.reads + self.writes() * options.writes) / 10_000
        needed = options.vcpus * self.rate / archive.shard
        return {
            "shards": f"{shards:,}",
            "files of the table": f"{2 * shards + math.ceil(shards / SHARDS_A_PLAN_FILE) + 3:,}",
            "the table": f"{archive.photographs * self.measured('bulk.bytes_a_photograph') / 1e9:,.1f} GB",
            "vCPU-hours": f"{hours:,.0f}",
            f"hours with {options.vcpus:,} vCPUs": f"{hours / options.vcpus:,.1f}",
            "machines": f"${hours * options.price:,.0f}",
            "requests of the bucket": f"{(self.reads() + self.writes()) / 1e6:,.2f} million",
            "their price": f"${requests:,.2f}",
            "commits a second that are needed": f"{needed:,.2f}",
            "the driver's share of one process": f"{100 * needed / self.measured('scale.shards_per_s'):,.0f} %",
            "the driver's memory for shards": f"{shards * self.measured('scale.driver_kb_a_shard') / 1e6:,.2f} GB",
            "and for a list of the names": self._names(),
            "the manifest": f"{shards * self.measured('scale.manifest_bytes_a_shard') / 1e6:,.1f} MB",
            "looking what is done, a local disk": format_duration(shards / self.measured("scale.resume_shards_per_s")),
            "lost where an actor dies, at most": format_duration(archive.shard / self.rate),
        }

    def _names(self) -> str:
        if self.archive.tars:
            return "none"
        return f"{self.measured('scale.plan_mb') * self.archive.photographs / 1e7 / 1000:,.1f} GB"


def table(options: ScaleOptions, measured: Callable[[str], float]) -> str:
    """The table, in Markdown."""
    columns = [Reckoned(archive, options, measured).rows() for archive in ARCHIVES]
    lines = ["| | " + " | ".join(archive.name for archive in ARCHIVES) + " |", "|---|" + "---:|" * len(columns)]
    lines += [f"| {name} | " + " | ".join(column[name] for column in columns) + " |" for name in columns[0]]
    return "\n".join(lines) + "\n"


def write(options: ScaleOptions) -> int:
    """Put the table into the page."""
    record = json.loads(RECORD.read_text())

    def measured(key: str) -> float:
        if key not in record:
            raise MissingInputError(f"docs/results.json has no {key}: run tests.benchmarks.bulk and .many_shards first")
        return float(record[key]["value"])

    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table(options, measured)}\n{END}{after}")
    print(f"written to {PAGE.relative_to(ROOT)}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status (vsalign.command.exit_status)."""
    about = "Reckons the table of docs/scale.md from docs/results.json."
    return exit_status(lambda: write(parse(ScaleOptions, argv, prog="python -m infra.scale", description=about)))


if __name__ == "__main__":
    sys.exit(main())
