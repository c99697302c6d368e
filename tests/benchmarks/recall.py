"""Recall of the default extractor's regions on the phrases of Flickr8k's dev split, all and by type.

python -m tests.benchmarks.recall --data DIR --truth annotations.zip --json FILE
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.record import write_record

SPLIT = "dev"


def typed(module: str, *words: str) -> None:
    """Run `python -m module words…`; it says for itself what it does."""
    subprocess.run([sys.executable, "-m", module, *words], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a folder with images/, the token file, the lists")
    parser.add_argument("--truth", type=Path, required=True, help="annotations.zip of Flickr30k Entities")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    asked = parser.parse_args()
    images = asked.data / "images"
    with tempfile.TemporaryDirectory() as scratch:
        regions, captions, found = (str(Path(scratch) / name) for name in ("regions", "captions", "recall.json"))
        listed = Path(scratch) / "dev.txt"
        names = (asked.data / "Flickr_8k.devImages.txt").read_text().split()
        listed.write_text("".join(f"{(images / name).resolve()}\n" for name in names))
        token_file = str(asked.data / "Flickr8k.token.txt")
        typed(
            "pipelines.extract_regions", "--images", str(listed), "--root", str(images.resolve()), "--output", regions
        )
        typed("pipelines.prepare_captions", "--captions", token_file, "--images", str(images), "--output", captions)
        tables = ["--regions", regions, "--captions", captions, "--split", SPLIT]
        truth = ["--truth", str(asked.truth), "--rescale", "--json", found]
        typed("vsalign.cli", "evaluate", "recall", *tables, *truth)
        figures = json.loads(Path(found).read_text())
    split = f"Flickr30k Entities on Flickr8k {SPLIT} ({figures['phrases']:,} phrases)"
    write_record(
        asked.json,
        {
            f"regions.rcnn_lite.{name}": (100 * value, "per cent", split)
            for name, value in figures.items()
            if name.startswith("recall50") and "first" not in name and "/" not in name
        },
    )


if __name__ == "__main__":
    main()
