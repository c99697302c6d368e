"""The docs as a site, as `make docs` builds it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def built(folder: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100)


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    done = built(REPOSITORY, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "operations" / "index.html").exists()


@pytest.mark.parametrize("target", ["nowhere.md", "tables.md#nowhere"])
def test_a_broken_link_fails(target: str, tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / "mkdocs.yml", tmp_path)
    shutil.copytree(REPOSITORY / "docs", tmp_path / "docs")
    with (tmp_path / "docs" / "guide.md").open("a") as page:
        page.write(f"\n[more]({target})\n")
    done = built(tmp_path, tmp_path / "site")
    assert done.returncode == 1 and target in done.stderr
