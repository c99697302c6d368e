"""The `vsalign` command: names of commands -> functions, imported only when called."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from vsalign.command import exit_status
from vsalign.errors import ConfigurationError
from vsalign.options import closest


@dataclass(frozen=True)
class Command:
    """One command of `vsalign`."""

    target: str
    """`module:function`, of which the function is a `main(argv) -> exit status`."""

    line: str
    """What it does, in one line."""

    def __call__(self, argv: Sequence[str]) -> int | None:
        """Import the function and run it on the arguments that follow the command's name."""
        module, _, function = self.target.partition(":")
        main = getattr(importlib.import_module(module), function)
        status: int | None = main(list(argv))
        return status


COMMANDS: Mapping[str, Command] = {
    "scenes": Command(
        "vsalign.datasets.scenes.command:main", "draw pictures with captions and the true box of every phrase"
    ),
    "align": Command(
        "vsalign.pictures.aligned:main", "draw which phrase of a sentence is on which region of a picture"
    ),
    "describe": Command(
        "vsalign.pictures.described:main", "what is on a photograph and its regions, printed and drawn"
    ),
    "index": Command("vsalign.search.building:main", "make an index of a regions table, to find pictures by sentences"),
    "search": Command("vsalign.search.command:search", "find pictures by a sentence, and what in them answers it"),
    "forget": Command("vsalign.search.command:forget", "take pictures out of an index"),
    "serve": Command("vsalign.search.server.command:main", "search an index, or a folder of pictures, on a web page"),
    "gallery": Command("vsalign.pictures:main", "make a web page of a descriptions table that opens from a file"),
    "status": Command("vsalign.status:main", "what is done of a table, also while a stage makes it"),
    "export": Command(
        "vsalign.exports:main", "write a descriptions table as COCO JSON, sidecar files or WebDataset tars"
    ),
    "inspect regions": Command(
        "vsalign.pictures.inspection:main", "what a regions table holds, and a sheet of pictures with their boxes"
    ),
    "inspect descriptions": Command(
        "vsalign.pictures.captions_inspected:main", "what a descriptions table holds, and how varied its captions are"
    ),
    "evaluate ranking": Command(
        "vsalign.evaluation.alignment_commands:ranking",
        "recall at 1, 5, 10 and median rank, sentences to images and back",
    ),
    "evaluate recall": Command(
        "vsalign.evaluation.commands:recall",
        "how many phrases have a region on their true box, by kind of phrase",
    ),
    "evaluate grounding": Command(
        "vsalign.evaluation.alignment_commands:grounding",
        "how many phrases land on their true box, beside simple baselines",
    ),
    "evaluate descriptions": Command(
        "vsalign.evaluation.commands:descriptions",
        "BLEU, METEOR, ROUGE-L and CIDEr-D of a descriptions table",
    ),
    "evaluate regions": Command(
        "vsalign.evaluation.region_commands:regions",
        "BLEU, METEOR and mAP of descriptions of boxes that people drew and spoke of",
    ),
    "boxes": Command("vsalign.evaluation.region_commands:boxes", "write the true boxes of phrases as a COCO JSON"),
    "evaluate region-words": Command(
        "vsalign.evaluation.commands:region_words",
        "how many described object regions of scenes name their shape and colour",
    ),
}

STAGES = """Stages, each with --help:
  python -m pipelines.extract_regions   photographs -> regions (Beam)
  python -m pipelines.prepare_captions  caption files -> captions (Beam)
  python -m jobs.train_detector         photographs + captions + true boxes -> detector (Ray)
  python -m jobs.train_alignment        regions + captions -> alignment model (Ray)
  python -m jobs.align_segments         which words belong to which region (Ray)
  python -m jobs.train_mrnn             regions or segments + captions -> describer (Ray)
  python -m jobs.caption_images         photographs -> descriptions (Ray)"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; without one, list them."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return exit_status(lambda: run(arguments))


def run(argv: Sequence[str]) -> int | None:
    """Run the command that `argv` begins with; raises ConfigurationError for a name that is no command."""
    if argv[:1] == ["--version"]:
        print(f"vsalign {version('vsalign')}")
        return 0
    words = [word for word in argv[:2] if not word.startswith("-")]
    for length in range(len(words), 0, -1):
        name = " ".join(words[:length])
        if name in COMMANDS:
            return COMMANDS[name](argv[length:])
    group = words[0] if words else ""
    members = {name: command for name, command in COMMANDS.items() if name.startswith(f"{group} ")}
    if len(words) > bool(members) or set(argv[len(words) :]) - {"-h", "--help"}:
        raise ConfigurationError(_unknown(argv, group if members else ""))
    print(listing(members or COMMANDS))
    return 0


def listing(commands: Mapping[str, Command]) -> str:
    """The commands, one a line, and where the stages are."""
    width = max(map(len, commands))
    lines = [f"  {name:<{width}}  {command.line}" for name, command in commands.items()]
    head = "usage: vsalign COMMAND [OPTIONS]; vsalign COMMAND --help explains its options"
    parts = [head, "\n".join(["Commands:", *lines])]
    return "\n\n".join(parts if commands is not COMMANDS else [*parts, STAGES])


def _unknown(argv: Sequence[str], group: str) -> str:
    """The sentence for what is no command, with the closest one."""
    typed = " ".join(argv[: 2 if group else 1])
    groups = {name.split()[0] for name in COMMANDS}
    near = closest(typed, [*COMMANDS, *groups])
    remedy = f"did you mean `vsalign {near}`?" if near else "`vsalign --help` lists the commands."
    return f"vsalign has no command {typed}; {remedy}"


if __name__ == "__main__":
    sys.exit(main())
