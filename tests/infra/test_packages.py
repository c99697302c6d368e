"""What a release consists of: wheels that work in an empty environment, licences, workflows, the site."""

from __future__ import annotations

import ast
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import yaml

from infra import licences

REPOSITORY = Path(__file__).parents[2]
MODULES = ("pipelines.extract_regions", "pipelines.prepare_captions", "jobs.caption_images", "jobs.train_alignment",
           "jobs.align_segments", "jobs.train_mrnn", "jobs.train_detector", "jobs.submit")  # fmt: skip


def test_no_licence_is_unusual_without_a_reason() -> None:
    assert licences.unusual() == {}


def test_the_wheel_works_in_an_empty_environment(tmp_path: Path) -> None:
    """Empty but for the dependencies, this environment's: the wheel's own files are tried, not the checkout's."""
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", str(tmp_path), "."], cwd=REPOSITORY, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("vsalign-*.whl")
    assert not [name for name in zipfile.ZipFile(wheel).namelist() if name.startswith(("tests/", "infra/", "runs/"))]
    venv.create(tmp_path / "empty", with_pip=False, symlinks=True)
    python = tmp_path / "empty" / "bin" / "python"
    site = next((tmp_path / "empty" / "lib").glob("python*/site-packages"))
    zipfile.ZipFile(wheel).extractall(site)
    (site / "dependencies.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")))
    for module in ("vsalign.cli", *MODULES):
        ran = subprocess.run(
            [str(python), "-m", module, "--help"], cwd=tmp_path, capture_output=True, text=True, timeout=100
        )
        assert ran.returncode == 0 and "--" in ran.stdout, (module, ran.stderr)
    where = [str(python), "-c", "import vsalign; print(vsalign.__file__)"]
    assert subprocess.check_output(where, cwd=tmp_path, text=True).startswith(str(tmp_path))


def test_the_workflows_call_what_the_makefile_has() -> None:
    lines = (REPOSITORY / "Makefile").read_text().splitlines()
    targets = {line.split(":")[0] for line in lines if "  ## " in line}
    called = set()
    for path in (REPOSITORY / ".github" / "workflows").glob("*.yml"):
        for job in yaml.safe_load(path.read_text())["jobs"].values():
            for step in job.get("steps", []):
                words = str(step.get("run", "")).split()
                called |= set(words[1:]) if words[:1] == ["make"] else set()
    assert called and called <= targets


def test_the_dag_is_python() -> None:
    tree = ast.parse((REPOSITORY / "infra" / "airflow" / "nightly_regions.py").read_text())
    assert "refresh" in ast.unparse(tree)
