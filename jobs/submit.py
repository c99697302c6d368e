"""Start a job on a Ray cluster from a machine that is no part of it.

python -m jobs.submit caption_images --cluster http://HEAD:8265 --images gs://photos --output gs://tables/descriptions

The job's options are read here, so that a wrong one fails here, and travel in a file: what Ray hands to a shell is the
same three words whatever they are. The cluster's image has vsalign in it; `--code` takes this checkout's instead.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.session import ENVIRONMENT
from vsalign.command import STOPPED, exit_status
from vsalign.errors import ConfigurationError, RunStopped
from vsalign.options import options_of, parse, to_dict, unknown_option

JOBS = ("train_detector", "train_alignment", "align_segments", "train_mrnn", "caption_images")
PACKAGES = ("vsalign", "pipelines", "jobs")
OPTIONS = "options.yaml"
PROG = "python -m jobs.submit"
SECONDS_BETWEEN_LOOKS = 2.0
SECONDS_TO_ANSWER = 120.0
SECONDS_TO_START = 60.0
NOT_YET = "No available agent"
"""What a cluster answers that has just started."""


@dataclass(frozen=True, kw_only=True)
class SubmitOptions:
    """Where a job goes; its own options follow."""

    cluster: str = ""
    """The cluster's dashboard, http://HEAD:8265; empty: what RAY_API_SERVER_ADDRESS names, else that of this machine.
    A token is taken from RAY_AUTH_TOKEN, with RAY_AUTH_MODE=token."""
    python: str = "python"
    """The interpreter on the cluster's machines that has vsalign."""
    code: bool = False
    """Send this checkout's packages with the job, in place of what is installed there; never data."""
    detach: bool = False
    """Leave when the job is submitted; without it what it says is shown, and its end waited for."""

    @property
    def address(self) -> str:
        """The dashboard's."""
        return self.cluster or os.environ.get("RAY_API_SERVER_ADDRESS") or "http://127.0.0.1:8265"


def submit(argv: Sequence[str] | None = None) -> int:
    """Submit the job that `argv` asks for; returns its exit status, or 4 where it ended without one."""
    name, own, theirs = _parted(sys.argv[1:] if argv is None else argv)
    about = f"Submits a job ({', '.join(JOBS)}), the first word, to a Ray cluster; its own options follow."
    options = parse(SubmitOptions, own, prog=PROG, description=about)
    if not name:
        raise ConfigurationError(f"{PROG} needs a job's name first, one of {', '.join(JOBS)}")
    module = importlib.import_module(f"jobs.{name}")
    read = parse(
        module.Options, theirs, prog=f"{PROG} {name}", description=about, recipes=getattr(module, "RECIPES", None)
    )
    if read.address:
        raise ConfigurationError(f"--address {read.address}: the job runs in the cluster of --cluster; leave it out")
    with tempfile.TemporaryDirectory() as folder:
        return _sent(name, options, Path(folder), to_dict(read))


def _parted(argv: Sequence[str]) -> tuple[str, list[str], list[str]]:
    """The job's name, our own options, and the job's; raises ConfigurationError for a name that no job has."""
    given = list(argv)
    name = given.pop(0) if given and not given[0].startswith("-") else ""
    if name and name not in JOBS:
        raise ConfigurationError(f"there is no job {name!r}: name one of {', '.join(JOBS)}")
    flags = {flag: option for option in options_of(SubmitOptions).values() for flag in option.spellings}
    own: list[str] = []
    theirs: list[str] = []
    while given:
        word = given.pop(0)
        option = flags.get(word.split("=", 1)[0].replace("_", "-") if word.startswith("--") else "")
        (own if option or word in ("-h", "--help") and not name else theirs).append(word)
        if option and not option.is_flag and "=" not in word and given:
            own.append(given.pop(0))
    if theirs and not name:
        raise ConfigurationError(unknown_option(theirs[0], options_of(SubmitOptions), PROG))
    return name, own, theirs


def _sent(name: str, options: SubmitOptions, folder: Path, read: dict[str, Any]) -> int:
    """Submit from `folder`, whose content travels."""
    (folder / OPTIONS).write_text(json.dumps(read), "utf-8")  # JSON is YAML
    if options.code:
        for package in PACKAGES:
            source = Path(importlib.import_module(package).__file__ or "").parent
            shutil.copytree(source, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    from ray.exceptions import RayError
    from ray.job_submission import JobSubmissionClient

    command = f"{options.python} -m jobs.{name} --config {OPTIONS}"
    # The folder holds no data: nothing of it is to be left out.
    environment = {"working_dir": str(folder), "env_vars": ENVIRONMENT}
    until = time.monotonic() + SECONDS_TO_START
    try:
        client = JobSubmissionClient(options.address)
        while True:
            try:
                job = client.submit_job(entrypoint=command, runtime_env=environment)
                break
            except RuntimeError as error:
                if NOT_YET not in str(error) or time.monotonic() > until:
                    raise
                time.sleep(SECONDS_BETWEEN_LOOKS)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigurationError(
            f"no job can be submitted at {options.address} ({reason}): correct --cluster"
        ) from error
    print(f"{name} is job {job} of {options.address}; `ray job logs {job}` shows what it says", file=sys.stderr)
    try:
        return 0 if options.detach else _followed(client, job)
    except KeyboardInterrupt:
        raise RunStopped(f"job {job} goes on in the cluster, unseen; `ray job stop {job}` ends it") from None


def _followed(client: Any, job: str) -> int:
    """Show what the job says until it ends; its own exit status, where it had one.

    Raises RunStopped where the cluster does not answer for SECONDS_TO_ANSWER: the job goes on without us.
    """
    from ray.exceptions import RayError

    shown, answered, status = 0, time.monotonic(), None
    while status is None or not status.is_terminal():
        try:
            status, said = client.get_job_status(job), client.get_job_logs(job)
        except (OSError, RuntimeError, RayError) as error:
            if time.monotonic() - answered > SECONDS_TO_ANSWER:
                raise RunStopped(
                    f"the cluster does not answer ({type(error).__name__}); job {job} goes on there: "
                    f"`ray job logs {job}` shows what it says"
                ) from error
        else:
            answered = time.monotonic()
            print(said[shown:], end="", flush=True)
            shown = len(said)
        if status is None or not status.is_terminal():
            time.sleep(SECONDS_BETWEEN_LOOKS)
    if str(status) == "SUCCEEDED":
        return 0
    info = client.get_job_info(job)
    message = (info.message or "it said no more").splitlines()[0]
    print(f"error: job {job} ended as {status} ({message})", file=sys.stderr)
    return info.driver_exit_code if (info.driver_exit_code or 0) > 1 else STOPPED


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    return exit_status(lambda: submit(argv))


if __name__ == "__main__":
    sys.exit(main())
