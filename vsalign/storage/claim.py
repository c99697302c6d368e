"""Whose an output folder is: the run file, which names the table and the configuration that it is made with."""

from __future__ import annotations

import json
from typing import Any

from vsalign import tables
from vsalign.errors import ConfigurationError, SchemaVersionError, TableError
from vsalign.storage.folder import Folder
from vsalign.storage.layout import MANIFEST, RUN, deletion_order, holds_table, is_temporary
from vsalign.storage.shards import Output


def claim(folder: Folder, output: Output) -> None:
    """Write the run file, or compare the one that is there.

    Raises ConfigurationError, with the difference named, where the folder holds a table of another configuration.
    """
    run = _run(output)
    # Asked twice: a run beside this one may have claimed the folder and begun in between.
    if not folder.exists(RUN) and any(map(holds_table, folder.names())) and not folder.exists(RUN):
        raise ConfigurationError(
            f"{folder.url} holds shards of a table, but no {RUN} that says of which: give another --output"
        )
    if not folder.write_new(RUN, json.dumps(run, indent=1, sort_keys=True).encode()):
        _compare(folder, read_json(folder, RUN, *run), run)


def require_claimable(output: Output, *, overwrite: bool) -> None:
    """Raise at once, and write nothing, what `claim` would; with overwrite, where the table is another command's."""
    folder = Folder(output.url)
    if not folder.exists(RUN):
        return
    run = _run(output)
    held = read_json(folder, RUN, *run)
    if not overwrite:
        _compare(folder, held, run)
    elif (held["table"], held["configuration"].keys()) != (run["table"], run["configuration"].keys()):
        raise ConfigurationError(f"{folder.url} holds a table that another command made: give another --output")


def _run(output: Output) -> dict[str, Any]:
    """The run file."""
    return {
        "table": output.table,
        "schema_version": tables.schema_version(output.table),
        "configuration": json.loads(json.dumps(output.configuration)),
        "properties": json.loads(json.dumps(output.properties)),
    }


def clear(folder: Folder) -> None:
    """Delete the table in a folder (--overwrite), and nothing else that lies there.

    Raises ConfigurationError where the folder holds files, but no table.
    """
    names = folder.names()
    if names and RUN not in names:
        raise ConfigurationError(
            f"{folder.url} is no table of vsalign (it has no {RUN}): --overwrite deletes only tables; "
            "give another --output"
        )
    for name in sorted((name for name in names if holds_table(name) or is_temporary(name)), key=deletion_order):
        folder.remove(name)


def read_json(folder: Folder, name: str, *keys: str) -> dict[str, Any]:
    """A file of the folder that holds a JSON object with such keys; raises TableError where it is absent or damaged."""
    try:
        found = json.loads(folder.read(name))
    except FileNotFoundError:
        raise TableError(f"{folder.url} has no {name}: run the command that makes the table again") from None
    except ValueError as error:
        raise _damaged(folder, name, str(error)) from error
    if not isinstance(found, dict):
        raise _damaged(folder, name, "it holds no JSON object")
    if missing := [key for key in keys if key not in found]:
        raise _damaged(folder, name, f"it lacks {', '.join(missing)}")
    return found


def _damaged(folder: Folder, name: str, why: str) -> TableError:
    remedy = "run the command that made the table again" if name == MANIFEST else "start anew with --overwrite"
    return TableError(f"{folder.url}/{name} is damaged ({why}): {remedy}")


def _compare(folder: Folder, held: dict[str, Any], run: dict[str, Any]) -> None:
    if held["table"] != run["table"]:
        raise ConfigurationError(
            f"{folder.url} holds a {held['table']} table, not {run['table']}: give another --output"
        )
    if held["schema_version"] != run["schema_version"]:
        raise SchemaVersionError(
            f"{folder.url} was written under schema version {held['schema_version']}, this vsalign writes "
            f"{run['schema_version']}: give another --output, or --overwrite"
        )
    different = [
        difference
        for part in ("configuration", "properties")  # not merged: both may hold an `extractor`
        for difference in _differences(held[part], run[part])
    ]
    if different:
        raise ConfigurationError(
            f"{folder.url} was made with another configuration ({'; '.join(dict.fromkeys(different))}): "
            "give the same options, another --output, or --overwrite"
        )


def _differences(held: dict[str, Any], asked: dict[str, Any], prefix: str = "") -> list[str]:
    """`name: there X, asked Y` for each leaf in which two configurations differ."""
    found = []
    for key in sorted({*held, *asked}):
        there, here = held.get(key), asked.get(key)
        if isinstance(there, dict) and isinstance(here, dict):
            found += _differences(there, here, f"{prefix}{key}.")
        elif json.dumps(there, sort_keys=True) != json.dumps(here, sort_keys=True):
            found.append(f"{prefix}{key}: there {there!r}, asked {here!r}")
    return found
