"""Frozen dataclasses as the command line: one dataclass is the options, their `--help` and a YAML file.

A field's docstring is its help, its default is said there, `batch_size` is spelled `--batch-size`, and a
dataclass inside a dataclass becomes a group, `--decode.max-pixels`. tyro makes the parser; this module adds
`--config FILE.yaml` and turns every mistake into one sentence.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import enum
import io
import itertools
import re
import sys
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

from vsalign.errors import ConfigurationError, MissingInputError

T = TypeVar("T")

CONFIG_FLAG = "--config"


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of a command."""

    name: str
    """Dotted, with dashes, without the leading `--`: "decode.max-pixels"."""

    kind: Any
    """The field's type."""

    required: bool
    """Whether it must be given."""

    @property
    def is_flag(self) -> bool:
        """Whether it is switched by `--name` and `--no-name` instead of taking a value."""
        return self.kind is bool and not self.required

    @property
    def spellings(self) -> tuple[str, ...]:
        """What a person may write for it, `--no-` form included."""
        if not self.is_flag:
            return (f"--{self.name}",)
        group, dot, last = self.name.rpartition(".")
        return (f"--{self.name}", f"--{group}{dot}no-{last}")


@overload
def parse(
    cls: type[T],
    argv: Sequence[str] | None,
    *,
    prog: str,
    description: str,
    allow_unknown: Literal[False] = False,
    recipes: Path | None = None,
) -> T: ...


@overload
def parse(
    cls: type[T],
    argv: Sequence[str] | None,
    *,
    prog: str,
    description: str,
    allow_unknown: Literal[True],
    recipes: Path | None = None,
) -> tuple[T, list[str]]: ...


def parse(
    cls: type[T],
    argv: Sequence[str] | None,
    *,
    prog: str,
    description: str,
    allow_unknown: bool = False,
    recipes: Path | None = None,
) -> T | tuple[T, list[str]]:
    """Read the frozen dataclass `cls` from the command line, over the defaults of `--config FILE.yaml`.

    With `allow_unknown` the result is (options, what no option took, in order), for a runner's own options. recipes: a
    folder of YAML files, of which the option `recipe` names the one that stands below all that is given.
    Raises ConfigurationError, one sentence, for a mistake; `--help` prints and leaves by SystemExit(0).
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = options_of(cls)
    origin: dict[str, str] = {}
    if not {"-h", "--help"}.isdisjoint(arguments):
        arguments = ["--help"]
    else:
        config, arguments = _take_config(arguments)
        known = {spelling: option for option in options.values() for spelling in option.spellings}
        given = [flag for flag in map(_flag, arguments) if flag]
        unknown = [flag for flag in given if flag not in known]
        if unknown and not allow_unknown:
            raise ConfigurationError(unknown_option(unknown[0], options, prog))
        chosen = {known[flag].name for flag in given if flag in known}
        if config is not None:
            from vsalign.options_file import arguments_from_yaml

            defaults, origin = arguments_from_yaml(config, options, overridden=chosen)
            arguments = defaults + arguments
        if recipes is not None:
            (usual,) = (field.default for field in dataclasses.fields(cls) if field.name == "recipe")  # type: ignore[arg-type]
            arguments = _recipe(recipes, str(usual), arguments, options, chosen | set(origin)) + arguments
        _refuse_missing(options, chosen | set(origin), unknown, prog)
    read, rest = _read(cls, arguments, prog, description, origin)
    if allow_unknown:
        return read, rest
    if rest:
        raise ConfigurationError(
            f"'{rest[0]}' belongs to no option; a value follows its option, as in --name VALUE, and "
            f"`{prog} --help` lists the options."
        )
    return read


def options_of(cls: type, prefix: str = "", given: bool = False) -> dict[str, Option]:
    """The options that the dataclass `cls` makes, by name, groups included.

    `given` says that the field that holds `cls` has a default, so that nothing in it must be given.
    """
    kinds = typing.get_type_hints(cls)
    found: dict[str, Option] = {}
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        has_default = (
            given or field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        )
        name, kind = prefix + field.name.replace("_", "-"), kinds[field.name]
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            found |= options_of(kind, name + ".", has_default)
        else:
            parts = (typing.get_origin(kind), *typing.get_args(kind))
            if dict in parts or any(map(dataclasses.is_dataclass, parts)):
                raise TypeError(f"{cls.__name__}.{field.name}: a group of options is a dataclass, given whole")
            found[name] = Option(name, kind, not has_default)
    return found


def unknown_option(flag: str, options: Mapping[str, Option], prog: str) -> str:
    """The sentence that refuses `flag` (`--name`) and names the closest of `options`."""
    near = closest(flag, [spelling for option in options.values() for spelling in option.spellings])
    remedy = f"did you mean {near}?" if near else f"`{prog} --help` lists the options."
    return f"{prog} has no option {flag}; {remedy}"


def with_names(argv: Sequence[str], *names: str) -> list[str]:
    """A command line whose first words stand for the options `names`, in that order, as far as it begins with words."""
    given = list(argv)
    for place, name in enumerate(names):
        if len(given) > 2 * place and not given[2 * place].startswith("-"):
            given.insert(2 * place, name)
    return given


def closest(name: str, names: Iterable[str]) -> str | None:
    """The one of `names` that `name` was probably meant to be, or None."""
    return next(iter(difflib.get_close_matches(name, list(names), 1, 0.6)), None)


def to_dict(options: Any) -> dict[str, Any]:
    """The dataclass as plain JSON values, for a manifest or a config.json; `--config` reads it again."""
    return {field.name: _plain(getattr(options, field.name)) for field in dataclasses.fields(options) if field.init}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_dict(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in (sorted(value) if isinstance(value, set | frozenset) else value)]
    return str(value) if isinstance(value, Path) else value


def _flag(argument: str) -> str | None:
    """`--name` in one spelling, dashes, of an argument that is an option; None for a value."""
    return argument.split("=", 1)[0].replace("_", "-") if re.match(r"--[A-Za-z_]", argument) else None


def _take_config(arguments: list[str]) -> tuple[str | None, list[str]]:
    """Split `--config FILE` off the arguments."""
    config: str | None = None
    rest: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        if argument != CONFIG_FLAG and not argument.startswith(CONFIG_FLAG + "="):
            rest.append(argument)
            continue
        if config is not None:
            raise ConfigurationError(f"{CONFIG_FLAG} is given twice; put all options into one YAML file.")
        config = next(remaining, "") if argument == CONFIG_FLAG else argument.split("=", 1)[1]
        if not config or config.startswith("--"):
            raise ConfigurationError(f"{CONFIG_FLAG} needs the name of a YAML file.")
    return config, rest


def _recipe(
    recipes: Path, name: str, arguments: list[str], options: Mapping[str, Option], given: set[str]
) -> list[str]:
    """The arguments of the recipe that `arguments` name, else of `name`, less what is `given`; none if unknown."""
    from vsalign.options_file import arguments_from_yaml

    for argument, following in itertools.pairwise([*arguments, ""]):
        if _flag(argument) == "--recipe":
            name = argument.split("=", 1)[1] if "=" in argument else following
    file = recipes / f"{name}.yaml"
    return arguments_from_yaml(str(file), options, given)[0] if file.is_file() else []  # else tyro refuses the name


def _refuse_missing(options: Mapping[str, Option], chosen: set[str], unknown: Sequence[str], prog: str) -> None:
    """Raise ConfigurationError where an option that must be given is not."""
    missing = [option.spellings[0] for option in options.values() if option.required and option.name not in chosen]
    if not missing:
        return
    typed = closest(missing[0], unknown)
    remedy = f"was {typed} meant?" if typed else f"`{prog} --help` says what goes there."
    raise ConfigurationError(f"{prog} needs {' and '.join(missing)}; {remedy}")


def _read(
    cls: type[T], arguments: list[str], prog: str, description: str, origin: Mapping[str, str]
) -> tuple[T, list[str]]:
    """Let tyro read the arguments; `origin` says of an option from a file where it stands there."""
    try:
        import tyro
    except ModuleNotFoundError:
        raise MissingInputError("The command line needs the package tyro; `pip install tyro` brings it.") from None

    said = io.StringIO()
    about = f"{description}\n{CONFIG_FLAG} FILE.yaml gives defaults that the options below override."
    try:
        with contextlib.redirect_stderr(said):
            read, rest = tyro.cli(
                cls,
                prog=prog,
                description=about,
                args=arguments,
                return_unknown_args=True,
                config=(tyro.conf.EnumChoicesFromValues,),
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise ConfigurationError(_sentence(said.getvalue(), cls.__name__, prog, origin)) from None
    sys.stderr.write(said.getvalue())
    return read, rest


_REWORDINGS = (
    (r"Error parsing (\S+?): (.*)", r"\1: \2"),
    (
        r"invalid choice '(.*)' for argument '(\S+)'\. Expected one of \((.*?),?\)\.?",
        r"\2: '\1' is not one of \3",
    ),
    (r"Missing value for argument '(\S+)'\. Expected 1 values?\.?", r"\1 needs a value"),
    (r"Missing value for argument '(\S+)'\. Expected (.*?)\.?", r"\1 needs \2"),
    (r"(.*?): invalid literal for int\(\) with base 10: (.*)", r"\1: \2 is not a whole number"),
    (r"(.*?): could not convert string to float: (.*)", r"\1: \2 is not a number"),
)


def _sentence(box: str, internal_name: str, prog: str, origin: Mapping[str, str]) -> str:
    """The first paragraph of tyro's framed message, as one sentence that says where the value stands."""
    lines = [line.strip("│|╭╮╰╯+ ") for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines()]
    # Where stdout is not UTF-8 the frame is ASCII and begins with a line of its own, without a title.
    body = list(itertools.dropwhile(_is_rule, (line for line in lines[1:] if line)))
    end = next((at for at, line in enumerate(body) if _is_rule(line)), len(body))
    text = " ".join(body[:end])
    for pattern, replacement in _REWORDINGS:
        text = re.sub(f"^{pattern}$", replacement, text)
    text = text.removeprefix(f"{internal_name}: ").rstrip(".")
    flag = re.search(r"--([\w.-]+)", text)
    where = origin.get(flag.group(1).replace("_", "-")) if flag else None
    return f"{text} ({where})." if where else f"{text}; `{prog} --help` lists the options."


def _is_rule(line: str) -> bool:
    return set(line) <= set("─-")
