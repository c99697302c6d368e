"""What a job is pointed at, opened on the submitting machine: a wrong name is found before Ray starts."""

from __future__ import annotations

import os
from typing import Any

from vsalign.checkpoint import LoadedModel, load_model, read_config
from vsalign.errors import ConfigurationError, ModelError
from vsalign.storage import TableReader


def everywhere(url: str, option: str) -> str:
    """A path or URL that means the same in every process: local paths absolute.

    Raises ConfigurationError for an empty one, and for memory://, which other processes do not see.
    """
    if not url.strip():
        raise ConfigurationError(f"{option} is empty: name a folder")
    if url.startswith("memory://"):
        raise ConfigurationError(f"{option} {url}: Ray's workers do not see this process's memory; name a path")
    return url if "://" in url else os.path.abspath(os.path.expanduser(url))


def open_table(url: str, table: str) -> TableReader:
    """The table that the option of its own name (--regions, ...) names; raises VsalignError where it cannot be used."""
    return TableReader(everywhere(url, f"--{table}"), table)


def model_facts(url: str, kind: str) -> dict[str, Any]:
    """What is recorded of a model that was used; raises ModelError where it is of another kind."""
    config = read_config(url)
    if config.get("kind") != kind:
        raise ModelError(f"{url} holds a model of the kind {config.get('kind')!r} where {kind!r} is needed")
    return {name: config[name] for name in ("weights_sha256", "vocabulary_sha256")}


def load_recorded(url: str, kind: str, facts: dict[str, Any]) -> LoadedModel:
    """The model whose facts were recorded; raises ModelError where another was put in its place since."""
    if model_facts(url, kind) != facts:
        raise ModelError(f"the model {url} was replaced by another while it was in use: run the same command again")
    return load_model(url, kind)
