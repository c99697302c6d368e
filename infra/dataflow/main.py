"""What the flex template's launcher runs in its image: extract_regions, with the parameters that a person gave.

The launcher writes each as --name=value; a switch of ours is --name or --no-name.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipelines import extract_regions
from pipelines.launch import leave
from vsalign.options import options_of

SWITCHED = {"true": True, "false": False}


def as_typed(argv: Sequence[str]) -> list[str]:
    """The parameters as a person would type them: switches without a value, empty ones left out."""
    switches = {
        option.spellings[0]: option for option in options_of(extract_regions.Options).values() if option.is_flag
    }
    typed = []
    for argument in argv:
        name, _, value = argument.partition("=")
        switch = switches.get(name.replace("_", "-"))
        if switch and value.lower() in SWITCHED:
            typed.append(switch.spellings[0 if SWITCHED[value.lower()] else 1])
        elif value or "=" not in argument:
            typed.append(argument)
    return typed


if __name__ == "__main__":
    leave(extract_regions.main(as_typed(sys.argv[1:])))
