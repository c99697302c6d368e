"""What is handed to Kubernetes, Ray's launcher and Docker, against the schemas of those who read it."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from packaging.requirements import Requirement

from infra.constraints import EXTRAS
from tests.conftest import SHARED
from vsalign.options import parse

INFRA = Path(__file__).parents[2] / "infra"
KUBERNETES = INFRA / "ray" / "kubernetes"
JOBS = sorted(path.parent.name for path in KUBERNETES.glob("jobs/*/kustomization.yaml"))
CRDS = {"RayCluster": "ray.io_rayclusters.yaml", "RayJob": "ray.io_rayjobs.yaml"}


def tool(name: str) -> str:
    """A command line tool that a wheel brought, beside this interpreter or on the path."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    assert found, f"{name} is not installed: pip install -e '.[dev]'"
    return found


@cache
def built(folder: Path) -> list[dict[str, Any]]:
    """What `kubectl apply -k` would send."""
    made = subprocess.run([tool("kubectl"), "kustomize", str(folder)], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return list(yaml.safe_load_all(made.stdout))


@cache
def schema_of(kind: str) -> dict[str, Any]:
    crd = yaml.load((SHARED / "kuberay" / CRDS[kind]).read_text(), Loader=yaml.CSafeLoader)
    (version,) = (version for version in crd["spec"]["versions"] if version["name"] == "v1")
    return strict(version["schema"]["openAPIV3Schema"])


def strict(schema: Any) -> Any:
    """The schema with unknown fields refused: as it stands it lets a mistyped one pass."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: strict(part) for name, part in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        closed.setdefault("additionalProperties", False)
    return closed


def refused(document: dict[str, Any]) -> str:
    """Why a document does not keep its kind's schema; empty where it does."""
    if document["kind"] not in CRDS:
        try:
            kubernetes_validate.validate(document, "1.31", strict=True)
        except kubernetes_validate.ValidationError as error:
            return str(error)
        return ""
    own = {**document, "metadata": {}}  # a CRD says nothing of metadata but that it is an object
    (first, *_) = [*jsonschema.Draft202012Validator(schema_of(document["kind"])).iter_errors(own), None]
    return str(first.message) if first else ""


@pytest.mark.shared
@pytest.mark.parametrize("folder", ["cluster", *(f"jobs/{name}" for name in JOBS)])
def test_what_kustomize_builds_keeps_the_schemas(folder: str) -> None:
    documents = built(KUBERNETES / folder)
    assert "RayJob" in {document["kind"] for document in documents} or folder == "cluster"
    assert {document["metadata"]["name"]: refused(document) for document in documents} == {
        document["metadata"]["name"]: "" for document in documents
    }


@pytest.mark.shared
def test_a_mistyped_field_and_a_wrong_type_are_found() -> None:
    (cluster,) = (document for document in built(KUBERNETES / "cluster") if document["kind"] == "RayCluster")
    for path, value in (("maxReplica", 3), ("maxReplicas", "three")):
        broken = json.loads(json.dumps(cluster))
        broken["spec"]["workerGroupSpecs"][0][path] = value
        assert path in refused(broken) or "three" in refused(broken)


@pytest.mark.parametrize("name", JOBS)
def test_a_job_s_entrypoint_takes_the_options_of_its_file(name: str) -> None:
    documents = {document["kind"]: document for document in built(KUBERNETES / "jobs" / name)}
    python, flag, module, config, file = documents["RayJob"]["spec"]["entrypoint"].split()
    assert (python, flag, config, file) == ("python", "-m", "--config", "/etc/vsalign/options.yaml")
    job = importlib.import_module(module)
    written = KUBERNETES / "jobs" / name / "options.yaml"
    recipes = getattr(job, "RECIPES", None)
    options = parse(job.Options, ["--config", str(written)], prog=module, description="", recipes=recipes)
    assert options.output.startswith("gs://")

    cluster = documents["RayJob"]["spec"]["rayClusterSpec"]
    mounted = {volume["name"]: volume for volume in cluster["headGroupSpec"]["template"]["spec"]["volumes"]}
    assert mounted["options"]["configMap"]["name"] == documents["ConfigMap"]["metadata"]["name"]
    assert documents["ConfigMap"]["data"]["options.yaml"] == written.read_text()
    worker = cluster["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]["resources"]["limits"]
    wants_gpu = getattr(options, "use_gpu", False) or bool(getattr(options, "gpus_per_actor", 0))
    assert ("nvidia.com/gpu" in worker) == wants_gpu
    cpus = getattr(options, "cpus_per_worker", 0) or getattr(options, "cpus_per_actor", 0) or 1
    assert cpus <= int(worker["cpu"]), "no pod has room for a worker"


def test_the_head_computes_nothing_and_everything_asks_for_a_token() -> None:
    for folder in ("cluster", *(f"jobs/{name}" for name in JOBS)):
        for document in built(KUBERNETES / folder):
            if document["kind"] not in CRDS:
                continue
            spec = document["spec"].get("rayClusterSpec", document["spec"])
            assert spec["authOptions"] == {"mode": "token"}
            assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
            for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
                pod = group["template"]["spec"]
                assert pod["securityContext"]["runAsNonRoot"] and pod["containers"][0]["livenessProbe"]


@pytest.mark.parametrize("name", ["gcp", "aws"])
def test_ray_s_launcher_takes_the_clusters_of_plain_machines(name: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    started = yaml.safe_load((INFRA / "ray" / "vms" / f"{name}.yaml").read_text())
    commands = [*started["head_start_ray_commands"], *started["worker_start_ray_commands"]]
    assert all("RAY_AUTH_MODE=token" in command for command in commands if "ray start" in command)
    validate_config(prepare_config(yaml.safe_load((INFRA / "ray" / "vms" / f"{name}.yaml").read_text())))


def test_the_dockerfile_has_no_lint() -> None:
    dockerfile = INFRA / "docker" / "Dockerfile"
    checked = subprocess.run([tool("hadolint"), str(dockerfile)], capture_output=True, text=True)
    assert (checked.returncode, checked.stdout) == (0, "")


def test_the_images_versions_are_those_that_the_package_allows() -> None:
    pinned = dict(line.split("==") for line in (INFRA / "docker" / "constraints.txt").read_text().splitlines())
    project = tomllib.loads((INFRA.parent / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *(project["optional-dependencies"][extra] for extra in EXTRAS)]
    for needed in (Requirement(line) for lines in lists for line in lines):
        assert needed.specifier.contains(pinned[needed.name]), needed
    dockerfile = (INFRA / "docker" / "Dockerfile").read_text()
    assert f"ARG BEAM={pinned['apache-beam']}\n" in dockerfile
    assert yaml.safe_load((KUBERNETES / "base" / "cluster.yaml").read_text())["spec"]["rayVersion"] == pinned["ray"]
