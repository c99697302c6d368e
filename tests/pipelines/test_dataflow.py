"""What Dataflow would get, built here: no credentials, no network, nothing submitted."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from apache_beam.io.gcp import gcsio
from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner
from apache_beam.runners.dataflow.internal import apiclient
from google.cloud.dataflow_v1beta3 import TemplateMetadata
from google.protobuf import json_format

from infra.dataflow import main as flex
from infra.dataflow import template
from pipelines import extract_regions, prepare_captions

REPOSITORY = Path(__file__).parents[2]
IMAGE = "my-registry/vsalign-beam:0.1.0"
CLOUD = {
    "--runner": "DataflowRunner",
    "--project": "my-project",
    "--region": "us-central1",
    "--temp_location": "gs://my-bucket/temp",
    "--sdk_container_image": IMAGE,
    "--output": "gs://my-bucket/regions",
}


@pytest.fixture(autouse=True)
def no_machine_of_google_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_GCE_CHECK", "true")


@pytest.fixture
def archive(tmp_path: Path) -> list[str]:
    """Five hundred photographs in a bucket, by their list, and a small extractor."""
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"gs://my-bucket/photos/{number:05d}.jpg\n" for number in range(500)))
    small = ["--extractor.name", "lite", "--extractor.input-size", "64", "--extractor.device", "cpu"]
    return ["--images", str(listed), *small]


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The jobs that Beam built for Dataflow, as they come."""
    jobs: list[Any] = []
    run = DataflowRunner.run_pipeline

    def remember(self: DataflowRunner, *given: Any, **named: Any) -> Any:
        result = run(self, *given, **named)
        jobs.append(self.job)
        return result

    monkeypatch.setattr(DataflowRunner, "run_pipeline", remember)
    return jobs


def cloud(**other: str) -> list[str]:
    """Dataflow's options, some of them others; empty: left out."""
    options = {**CLOUD, **{f"--{name}": value for name, value in other.items()}}
    return [f"{name}={value}" for name, value in options.items() if value]


def test_a_dry_run_builds_the_whole_graph_and_writes_nothing(
    archive: list[str], built: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    gpu = "--dataflow_service_options=worker_accelerator=type:nvidia-tesla-t4;count:1;install-nvidia-driver"
    assert extract_regions.main([*archive, *cloud(), "--shard-size", "100", gpu, "--dry-run"]) == 0
    assert "the graph of 5 shards of images is built for DataflowRunner; nothing was written" in capsys.readouterr().out
    (job,) = built
    graph = job.proto_pipeline
    names = {transform.unique_name for transform in graph.components.transforms.values()}
    assert {"Shards", "Spread", "Extract"} <= names
    images = {environment.payload for environment in graph.components.environments.values() if environment.payload}
    assert any(IMAGE.encode() in payload for payload in images)
    staged = [
        artifact for environment in graph.components.environments.values() for artifact in environment.dependencies
    ]
    assert all(b"submission_environment_dependencies.txt" in artifact.role_payload for artifact in staged), "no pickle"


def test_a_job_that_is_left_ends_with_its_manifest(
    archive: list[str], built: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A template is the whole job, as it would be sent, in a file: only the upload is put aside."""
    files: dict[str, bytes] = {}

    def stage(self: Any, location: str, name: str, stream: io.BytesIO) -> None:
        files[f"{location}/{name}"] = stream.read()

    client = apiclient.DataflowApplicationClient
    monkeypatch.setattr(gcsio, "GcsIO", lambda: SimpleNamespace(is_soft_delete_enabled=lambda url: False))
    monkeypatch.setattr(client, "_gcs_file_copy", lambda self, *file: None)  # a list of what is installed here
    monkeypatch.setattr(client, "stage_file_with_retry", stage)
    monkeypatch.setattr(extract_regions, "begin", _begin_in_memory(extract_regions.begin))
    given = [
        *archive,
        *cloud(template_location="gs://my-bucket/templates/job"),
        "--machine_type=n2d-standard-8",
        "--no_auth",
    ]
    assert extract_regions.main([*given, "--max_num_workers=7", "--number_of_worker_harness_threads=1"]) == 0
    job = json.loads(files["gs://my-bucket/templates/job"])
    (pool,) = (pool for pool in job["environment"]["workerPools"] if pool.get("machineType"))
    assert pool["machineType"] == "n2d-standard-8" and pool["autoscalingSettings"]["maxNumWorkers"] == 7
    names = {transform.unique_name for transform in built[0].proto_pipeline.components.transforms.values()}
    assert {"Extract", "Finish/All", "Finish/Manifest"} <= names


def _begin_in_memory(begin: Any) -> Any:
    return lambda output, *given, **named: begin(replace(output, url="memory://planned"), *given, **named)


WRONG = [
    ({"project": ""}, [], "--project is missing"),
    ({"project": "My Project"}, [], "--project My Project cannot be right"),
    ({"region": ""}, [], "--region is missing"),
    ({"region": "us-central1-a"}, [], "--region us-central1-a cannot be right"),
    ({"temp_location": "my-bucket/temp"}, [], "--temp_location my-bucket/temp"),
    ({"temp_location": "gs://My_Bucket/temp"}, [], "--temp_location gs://My_Bucket/temp"),
    ({"staging_location": "s3://bucket"}, [], "--staging_location s3://bucket"),
    ({"sdk_container_image": ""}, [], "infra/docker"),
    ({"output": "/tables/regions"}, [], "name a bucket"),
    ({"dataflow_service_options": "worker_acelerator=type:t4;count:1"}, [], "was worker_accelerator meant?"),
    ({"dataflow_service_options": "worker_accelerator=t4"}, [], "type:NAME;count:N"),
    ({"regoin": "us-central1"}, [], "did you mean --region"),
    ({}, ["--workers", "2"], "leave it out"),
]


@pytest.mark.parametrize(("other", "more", "named"), WRONG, ids=[named for _, _, named in WRONG])
def test_a_mistake_is_told_before_anything_starts(
    other: dict[str, str], more: list[str], named: str, archive: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert extract_regions.main([*archive, *cloud(**other), *more]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1 and named in said


def test_photographs_of_this_machine_are_not_seen_there(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert extract_regions.main(["--images", str(pictures), *cloud(), "--extractor.name", "lite", "--dry-run"]) == 2
    assert "is on this machine" in capsys.readouterr().err


def test_to_detach_needs_a_service(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--images", str(pictures), "--output", str(tmp_path / "table"), "--detach"]
    assert extract_regions.main(given) == 2
    assert "--detach leaves a job to a service" in capsys.readouterr().err


def test_a_dry_run_here_leaves_no_table(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    captions = tmp_path / "captions.txt"
    captions.write_text("a/000.jpg#0\ta red square\n")
    table = tmp_path / "table"
    given = ["--captions", str(captions), "--images", str(pictures), "--output", str(table), "--default-split", "train"]
    assert prepare_captions.main([*given, "--dry-run"]) == 0
    assert "the graph of 1 shards of captions is built for FnApiRunner" in capsys.readouterr().out
    assert not table.exists()


def test_the_template_has_every_option_and_dataflow_s_form() -> None:
    written = json.loads(template.METADATA.read_text())
    assert written == template.metadata(), "python -m infra.dataflow.template writes it again"
    read = json_format.ParseDict(written, TemplateMetadata.pb(TemplateMetadata()))
    required = {parameter.name for parameter in read.parameters if not parameter.is_optional}
    assert required == {"output", "images"}
    assert all(parameter.label and parameter.help_text for parameter in read.parameters)


def test_the_template_s_file_names_image_and_parameters(tmp_path: Path) -> None:
    spec = tmp_path / "extract_regions.json"
    assert template.main(["--image", IMAGE, "--spec", str(spec)]) == 0
    held = json.loads(spec.read_text())
    assert held["image"] == IMAGE and held["sdkInfo"] == {"language": "PYTHON"}
    assert held["metadata"] == template.metadata()


def test_the_launcher_s_parameters_become_what_a_person_types() -> None:
    given = [
        "--images=gs://b/p",
        "--overwrite=true",
        "--refresh=false",
        "--kind=",
        "--extractor.top_k=20",
        "--runner=X",
    ]
    assert flex.as_typed(given) == [
        "--images=gs://b/p",
        "--overwrite",
        "--no-refresh",
        "--extractor.top_k=20",
        "--runner=X",
    ]


def test_the_launch_script_s_options_are_taken(archive: list[str]) -> None:
    script = ["bash", "infra/dataflow/launch.sh", "my-project", "us-central1", "my-bucket", IMAGE]
    own = {name: value for name, value in os.environ.items() if name != "GPU"}
    for more in ({}, {"GPU": "nvidia-l4", "MACHINE": "g2-standard-8"}):
        ran = subprocess.run(
            [*script, *archive, "--output", "gs://my-bucket/regions", "--dry-run"],
            cwd=REPOSITORY, env={**own, "PYTHON": sys.executable, **more}, capture_output=True, text=True,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        assert "is built for DataflowRunner" in ran.stdout
    usage = subprocess.run(script, cwd=REPOSITORY, capture_output=True, text=True)
    assert usage.returncode == 2 and "PROJECT REGION BUCKET IMAGE" in usage.stderr
