"""The flex template of extract_regions: its parameters, and the file that names its image.

python -m infra.dataflow.template                                   write infra/dataflow/metadata.json again
python -m infra.dataflow.template --image IMAGE --spec gs://bucket/templates/extract_regions.json
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import json
import re
import sys
import textwrap
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.extract_regions import Options
from vsalign.command import exit_status
from vsalign.errors import ConfigurationError
from vsalign.options import Option, options_of, parse
from vsalign.storage import Folder

METADATA = Path(__file__).parent / "metadata.json"
NOT_HERE = ("workers", "stall-timeout", "dry-run", "detach")
"""What is of no use to a template: processes on the launcher, and ways to leave it."""
LONGEST = 400
"""Characters of a parameter's help."""


@dataclass(frozen=True, kw_only=True)
class TemplateOptions:
    """What is written."""

    image: str = ""
    """The flex template's image (infra/docker, target `flex`), for --spec."""
    spec: str = ""
    """File, at any fsspec URL, that starts the template: the image and the parameters."""

    def __post_init__(self) -> None:
        if bool(self.image) != bool(self.spec):
            raise ConfigurationError("--image and --spec belong together: give both, or neither")


def metadata() -> dict[str, Any]:
    """The parameters, as Dataflow's TemplateMetadata has them: every option of extract_regions."""
    helps = documented(Options)
    options = [option for option in options_of(Options).values() if option.name not in NOT_HERE]
    return {
        "name": "vsalign: photographs to region features",
        "description": "Writes the regions table of an archive: the boxes of every picture and a feature of each.",
        "parameters": [_parameter(option, helps[option.name]) for option in options],
    }


def documented(cls: type, prefix: str = "") -> dict[str, str]:
    """The docstring of each option that the dataclass `cls` makes, by the option's name; its base classes' too."""
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0].body  # type: ignore[attr-defined]
        for line in itertools.pairwise(body):
            match line:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(said))):
                    texts[prefix + name.replace("_", "-")] = " ".join(said.split())
    kinds = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if dataclasses.is_dataclass(kinds[field.name]):
            texts |= documented(kinds[field.name], prefix + field.name.replace("_", "-") + ".")
    return texts


def _parameter(option: Option, text: str) -> dict[str, Any]:
    name = option.name.replace("-", "_")
    parameter: dict[str, Any] = {"name": name, "label": option.name, "helpText": text[:LONGEST]}
    parameter["isOptional"] = not option.required
    if pattern := _pattern(option.kind):
        parameter["regexes"] = [pattern]
    return parameter


def _pattern(kind: Any) -> str:
    """What a value must look like; empty: anything."""
    if kind is bool:
        return "^(true|false)$"
    if kind is int:
        return r"^-?\d+$"
    if typing.get_origin(kind) is typing.Literal:
        return f"^({'|'.join(re.escape(str(choice)) for choice in typing.get_args(kind))})$"
    return ""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""

    def run() -> int:
        about = "Writes the flex template of extract_regions."
        options = parse(TemplateOptions, argv, prog="python -m infra.dataflow.template", description=about)
        if options.spec:
            folder, _, name = options.spec.rpartition("/")
            sdk = {"language": "PYTHON"}
            spec = {"image": options.image, "sdkInfo": sdk, "metadata": metadata()}
            Folder(folder or ".").replace(name, json.dumps(spec, indent=1).encode())
        else:
            METADATA.write_text(json.dumps(metadata(), indent=1) + "\n")
        return 0

    return exit_status(run)


if __name__ == "__main__":
    sys.exit(main())
