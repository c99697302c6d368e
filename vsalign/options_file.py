"""A YAML file of options, turned into the command-line arguments that say the same.

Scalars stay as they are written: YAML's own typing would read `split: no` as false, and `1e-3` as a string;
here the option's type decides, as on the command line.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from vsalign.errors import ConfigurationError, MissingInputError
from vsalign.options import Option, closest

if TYPE_CHECKING:
    import yaml

TRUE, FALSE = ("true", "yes", "on"), ("false", "no", "off")


def arguments_from_yaml(
    url: str, options: Mapping[str, Option], overridden: Collection[str]
) -> tuple[list[str], dict[str, str]]:
    """Command-line arguments for the YAML file at `url` (a path or fsspec URL), less those `overridden`.

    Also returns, by option name, where each stands ("FILE.yaml line 3"). Raises MissingInputError without the
    file, ConfigurationError for what is not a mapping of known options.
    """
    import yaml

    try:
        root = yaml.compose(_text(url), Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "broken syntax"
        raise ConfigurationError(f"{url}{line} is not YAML ({problem}); write one `option: value` a line.") from None
    arguments: list[str] = []
    origin: dict[str, str] = {}
    for name, node, place in _leaves(root, url, options):
        if name in origin:
            raise ConfigurationError(f"{place}: {name} stands there twice ({origin[name]}); remove one of them.")
        origin[name] = place
        if name not in overridden:
            arguments += _arguments(options[name], node, place)
    return arguments, origin


def _text(url: str) -> str:
    try:
        if "://" not in url:
            with open(url, encoding="utf-8") as file:
                return file.read()
        import fsspec

        with fsspec.open(url, "r", encoding="utf-8") as file:
            return str(file.read())
    except (FileNotFoundError, IsADirectoryError):
        raise MissingInputError(f"There is no options file {url}; correct --config.") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{url} is not UTF-8 text; --config needs a YAML file.") from None


def _leaves(
    node: yaml.Node | None, url: str, options: Mapping[str, Option], prefix: str = ""
) -> Iterator[tuple[str, yaml.Node, str]]:
    """(option name, value, place) of a mapping; a mapping under a group's name is walked into."""
    import yaml

    if node is None:
        return
    if not isinstance(node, yaml.MappingNode):
        raise ConfigurationError(
            f"{url} line {node.start_mark.line + 1} is no mapping; write one `option: value` a line."
        )
    for key, value in node.value:
        place = f"{url} line {key.start_mark.line + 1}"
        name = prefix + str(key.value).replace("_", "-")
        if name in options:
            yield name, value, place
        elif any(option.startswith(name + ".") for option in options):
            yield from _leaves(value, url, options, name + ".")
        else:
            near = closest(name, options)
            known = ", ".join(sorted(options))
            remedy = f"did you mean {near.replace('-', '_')}?" if near else f"the options are {known}."
            raise ConfigurationError(f"{place}: there is no option {name.replace('-', '_')}; {remedy}")


def _arguments(option: Option, node: yaml.Node, place: str) -> list[str]:
    """One option's value as command-line arguments."""
    import yaml

    if node.tag.startswith("!") or "python" in node.tag:
        raise ConfigurationError(f"{place}: the tag {node.tag} is not allowed; write the plain value.")
    if option.is_flag:
        word = str(node.value).lower() if isinstance(node, yaml.ScalarNode) else ""
        if word not in TRUE + FALSE:
            raise ConfigurationError(f"{place}: {option.name} is a switch; write true or false.")
        return [option.spellings[0 if word in TRUE else 1]]
    if isinstance(node, yaml.MappingNode):
        raise ConfigurationError(f"{place}: {option.name} is one option, no group; write its value.")
    if isinstance(node, yaml.ScalarNode):
        return [f"--{option.name}={_scalar(node)}"]
    return [f"--{option.name}", *_flat(node)]


def _scalar(node: yaml.ScalarNode) -> str:
    """The text as written; an unquoted null is None, which options that may be absent take."""
    is_null = node.style is None and node.value.lower() in ("", "~", "null")
    return "None" if is_null else str(node.value)


def _flat(node: yaml.Node) -> Iterator[str]:
    """The scalars of a sequence, in order, as tyro reads a tuple, nested ones too."""
    import yaml

    if isinstance(node, yaml.ScalarNode):
        yield _scalar(node)
        return
    for item in node.value:
        yield from _flat(item)
