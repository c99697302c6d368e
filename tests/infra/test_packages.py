"""What a release consists of: wheels that work in an empty environment, licences, workflows, the site."""

from __future__ import annotations

import ast
import importlib.util
import os
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
HELP = """
import os, runpy, sys
modules, sys.argv, os._exit = sys.argv[1:], ["x", "--help"], sys.exit
for module in modules:  # one process: each would import torch, Beam or Ray anew
    print("==", module)
    try:
        runpy.run_module(module, run_name="__main__")
    except SystemExit as end:
        assert not end.code, (module, end.code)
"""


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
    modules = ("vsalign.cli", *MODULES)
    own = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    ran = subprocess.run(
        [str(python), "-c", HELP, *modules], cwd=tmp_path, env=own, capture_output=True, text=True, timeout=100
    )
    assert ran.returncode == 0, ran.stderr
    helps = ran.stdout.split("== ")[1:]
    assert [text.split()[0] for text in helps] == [*modules] and all("--" in text for text in helps)
    where = [str(python), "-c", "import vsalign; print(vsalign.__file__)"]
    assert subprocess.check_output(where, cwd=tmp_path, env=own, text=True).startswith(str(tmp_path))


def test_nothing_makes_ray_s_processes_slow_to_start() -> None:
    # jsonschema, which each of them imports, loads a grammar for a second where this is installed.
    assert importlib.util.find_spec("rfc3987_syntax") is None


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
