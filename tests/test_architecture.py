"""The rules of the house: who may import whom, how long a file may be, what nothing may be called."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("vsalign", "pipelines", "jobs")
SOURCES = sorted(path for folder in (*PACKAGES, "infra", "tests") for path in (ROOT / folder).rglob("*.py"))
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "misc", "common", "manager"}


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the packages in `folder` against the contracts of its pyproject.toml."""
    code = "from importlinter.cli import lint_imports_command as lint; lint()"
    return subprocess.run([sys.executable, "-c", code, "--no-cache"], cwd=folder, capture_output=True, text=True)


def test_import_rules_hold() -> None:
    run = lint_imports(ROOT)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "0 broken" in run.stdout


@pytest.mark.parametrize(
    ("package", "line"),
    [
        ("vsalign", "import ray"),
        ("vsalign", "import apache_beam as beam"),
        ("vsalign", "from google.cloud import storage"),
        ("vsalign", "import gcsfs"),
        ("vsalign", "import jobs"),
        ("pipelines", "import jobs"),
        ("pipelines", "import ray.data"),
        ("jobs", "import pipelines"),
        ("jobs", "import apache_beam"),
    ],
)
def test_a_forbidden_import_is_found(tmp_path: Path, package: str, line: str) -> None:
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for name in PACKAGES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"{line}\n" if name == package else "")
    run = lint_imports(tmp_path)
    assert run.returncode == 1 and "1 broken" in run.stdout, run.stdout + run.stderr


def test_files_stay_under_300_lines() -> None:
    assert SOURCES
    long = {str(path.relative_to(ROOT)): count for path in SOURCES if (count := _lines(path)) >= 300}
    assert not long, f"split these files along a noun: {long}"


def test_every_folder_of_code_is_a_package_that_a_wheel_ships() -> None:
    folders = {path.parent for path in SOURCES if path.relative_to(ROOT).parts[0] in PACKAGES}
    lost = [str(folder.relative_to(ROOT)) for folder in folders if not (folder / "__init__.py").is_file()]
    assert not lost, f"these folders need an __init__.py: {sorted(lost)}"


def test_functions_stay_under_50_lines() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name} ({length} lines)"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1) >= 50
    ]
    assert not long, f"a function that fits a screen tells one thing: {long}"


def test_nothing_is_called_utils() -> None:
    """A file, folder, class or function is named by the field's noun."""
    bad = [
        str(path.relative_to(ROOT))
        for path in SOURCES
        if FORBIDDEN_NAMES & {*path.relative_to(ROOT).parts, *path.stem.lower().split("_")}
    ]
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name.lower() in FORBIDDEN_NAMES:
                bad.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert not bad, f"name these after what they hold: {bad}"


@pytest.mark.parametrize("module", ["vsalign", "vsalign.cli", "vsalign.options", "vsalign.tables"])
def test_importing_the_frame_loads_no_engine_and_no_parser(module: str) -> None:
    """A GPU box without Beam, Ray and tyro imports these."""
    code = (
        f"import sys, {module}; "
        "print(sorted({'ray', 'apache_beam', 'tyro', 'torch', 'gcsfs', 'google.auth'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_weights_and_tables_are_never_unpickled() -> None:
    """Untrusted input stays data."""
    bad = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        if path.relative_to(ROOT).parts[0] != "tests"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and _unsafe(node)
    ]
    assert not bad, f"load tensors only (safetensors, or torch.load with weights_only=True): {bad}"


def _unsafe(call: ast.Call) -> bool:
    """Whether a call would rebuild objects out of data that anybody may have written."""
    name = ast.unparse(call.func)
    if name in ("pickle.load", "pickle.loads", "yaml.load", "yaml.unsafe_load"):
        return True
    only = {word.arg: word.value for word in call.keywords}.get("weights_only")
    return name == "torch.load" and not (isinstance(only, ast.Constant) and only.value is True)


def _lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())
