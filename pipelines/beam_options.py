"""What a command leaves to Beam: options that Beam knows, checked before anything starts, and the runner they name.

Beam itself passes over an option it does not know, and a mistyped one is found out after the job.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import NoReturn

import apache_beam as beam
from apache_beam.options import pipeline_options
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import create_runner
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from pipelines.dataflow import is_dataflow, is_local
from pipelines.watchdog import worker_command
from vsalign.errors import ConfigurationError
from vsalign.options import closest

DEFAULT_RUNNER = "FnApiRunner"
"""Runs here, in this process. Beam's own default, DirectRunner, first tries to download a Go binary."""


class _Parser(pipeline_options._BeamArgumentParser):
    """Beam's parser of options (its only one that takes all of them), with a sentence instead of an exit."""

    def error(self, message: str) -> NoReturn:
        raise ConfigurationError(f"{message}; Beam's own options are described at beam.apache.org")


def read_beam_options(rest: Sequence[str], own: Iterable[str], prog: str) -> PipelineOptions:
    """Beam's options out of `rest`, what the command's `own` options (`--name`) left over.

    Raises ConfigurationError for what Beam does not know either, naming the closest option of both.
    """
    parser = _Parser(allow_abbrev=False, add_help=False)
    for group in PipelineOptions.__subclasses__():
        group._add_argparse_args(parser)
    _, unknown = parser.parse_known_args(list(rest))
    if unknown:
        flag = unknown[0].split("=", 1)[0]
        if not flag.startswith("--"):
            raise ConfigurationError(f"{flag!r} belongs to no option; a value follows its option, as in --name VALUE")
        beams = [name for action in parser._actions for name in action.option_strings if name.startswith("--")]
        near = closest(flag, [*own, *beams])
        remedy = f"did you mean {near}?" if near else f"`{prog} --help` lists the options."
        raise ConfigurationError(f"neither {prog} nor Beam has an option {flag}; {remedy}")
    return PipelineOptions(list(rest))


def runs_here(options: PipelineOptions) -> bool:
    """Whether the graph runs on this machine, by the default runner."""
    runner = options.view_as(StandardOptions).runner
    return runner is None or runner.rpartition(".")[2].lower() == DEFAULT_RUNNER.lower()


def worker_count(options: PipelineOptions, workers: int) -> int:
    """How many worker processes on this machine, by --workers or by Beam's own options; 0: in this process."""
    direct = options.view_as(DirectOptions)
    if not runs_here(options):
        if workers:
            runner = options.view_as(StandardOptions).runner
            raise ConfigurationError(
                f"--workers starts processes on this machine, which {runner} does not use: leave it out"
            )
        return 0
    if workers or direct.direct_running_mode != "multi_processing":
        return workers
    return int(direct.direct_num_workers) or os.cpu_count() or 1


def require_reachable(output: str, options: PipelineOptions, workers: int) -> None:
    """Raise ConfigurationError for an output that the processes which commit the shards would not share."""
    if output.startswith("memory://") and workers:
        raise ConfigurationError(
            f"--output {output}: worker processes do not see this process's memory; leave --workers out, or name a path"
        )
    if is_local(output) and is_dataflow(options):
        raise ConfigurationError(
            f"--output {output}: Dataflow's machines do not see this one's files; name a bucket, as in gs://bucket/folder"
        )


def pipeline(options: PipelineOptions, workers: int) -> beam.Pipeline:
    """An empty pipeline on the runner that the options name, with `workers` processes where it runs here.

    Raises ConfigurationError where there is no such runner, or its package is not installed.
    """
    if runs_here(options):
        direct = options.view_as(DirectOptions)
        direct.direct_num_workers = max(1, workers)
        # Beam's multi_processing mode, spelled out: it would put its own command in place of ours.
        direct.direct_running_mode = None
        environment = SubprocessSDKEnvironment.from_command_string(worker_command()) if workers else None
        return beam.Pipeline(runner=FnApiRunner(default_environment=environment), options=options)
    name = options.view_as(StandardOptions).runner
    try:
        return beam.Pipeline(runner=create_runner(name), options=options)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(f"--runner={name} cannot be used: {error}") from error
