"""What Dataflow must be told, checked before anything starts.

Beam and the service find a mistake out minutes later (a bucket that cannot exist) or never (a mistyped option).
"""

from __future__ import annotations

import re

from apache_beam.options.pipeline_options import (
    DebugOptions,
    GoogleCloudOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
    TestOptions,
    WorkerOptions,
)

from vsalign.errors import ConfigurationError
from vsalign.options import closest

RUNNER = "dataflowrunner"
PROJECT = re.compile(r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
REGION = re.compile(r"[a-z]+-[a-z]+\d+")
BUCKET_URL = re.compile(r"gs://[a-z0-9][a-z0-9._-]{1,61}[a-z0-9](/\S*)?")
ACCELERATOR = re.compile(r"type:[a-z0-9-]+;count:[1-9]\d*(;[a-z0-9_:.-]+)*")
SERVICE_OPTIONS = (
    "worker_accelerator", "enable_prime", "min_num_workers", "max_workflow_runtime_walltime_seconds",
    "enable_google_cloud_profiler", "enable_google_cloud_heap_sampling", "enable_secure_boot", "use_runner_v2",
    "enable_preflight_validation", "automatically_use_created_reservation", "block_project_ssh_keys",
    "enable_confidential_compute", "enable_dynamic_thread_scaling", "sideinput_io_metrics",
)  # fmt: skip
"""Those that are documented; others pass, unless they look like one of these."""


def is_dataflow(options: PipelineOptions) -> bool:
    """Whether the options name Dataflow's runner."""
    return str(options.view_as(StandardOptions).runner or "").rpartition(".")[2].lower() == RUNNER


def is_template(options: PipelineOptions) -> bool:
    """Whether a template is written, which others start: nothing runs now."""
    return bool(options.view_as(GoogleCloudOptions).template_location)


def is_local(url: str) -> bool:
    """Whether a URL names something that only this machine, or only this process, sees."""
    return url.startswith(("memory://", "file://", "local://")) or "://" not in url


def prepare(options: PipelineOptions, dry_run: bool) -> None:
    """Check what Dataflow is told, and add what always holds: workers run the image, a dry run submits nothing.

    Raises ConfigurationError for what is missing, or cannot be right.
    """
    cloud = options.view_as(GoogleCloudOptions)
    _require("--project", cloud.project, PROJECT, "name the Google Cloud project")
    _require("--region", cloud.region, REGION, "name a region, as in us-central1")
    _require("--temp_location", cloud.temp_location, BUCKET_URL, "name a bucket's folder, as in gs://bucket/temp")
    for flag, url in (("--staging_location", cloud.staging_location), ("--template_location", cloud.template_location)):
        if url:
            _require(flag, url, BUCKET_URL, "name a bucket's folder, as in gs://bucket/folder")
    if not options.view_as(WorkerOptions).sdk_container_image:
        raise ConfigurationError(
            "--sdk_container_image is missing: Dataflow's workers need vsalign and the models, which infra/docker puts "
            "into an image"
        )
    for option in cloud.dataflow_service_options or []:
        _require_service_option(option)
    setup = options.view_as(SetupOptions)
    setup.sdk_location, setup.save_main_session = "container", False  # the image has all: nothing goes with the job
    options.view_as(TestOptions).dry_run = dry_run
    debug = options.view_as(DebugOptions)
    # Beam's twelve would each hold a shard; launch.sh says when more than one are right.
    debug.number_of_worker_harness_threads = debug.number_of_worker_harness_threads or 1


def _require(flag: str, value: str | None, form: re.Pattern[str], remedy: str) -> None:
    if not value:
        raise ConfigurationError(f"{flag} is missing: {remedy}")
    if not form.fullmatch(value):
        raise ConfigurationError(f"{flag} {value} cannot be right: {remedy}")


def _require_service_option(option: str) -> None:
    name, _, value = option.partition("=")
    near = closest(name, SERVICE_OPTIONS)
    if name not in SERVICE_OPTIONS and near:
        raise ConfigurationError(f"--dataflow_service_options {option}: was {near} meant?")
    if name == "worker_accelerator" and not ACCELERATOR.fullmatch(value):
        raise ConfigurationError(
            f"--dataflow_service_options {option}: write worker_accelerator=type:NAME;count:N;install-nvidia-driver"
        )
