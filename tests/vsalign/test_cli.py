"""The `vsalign` command finds, lists and runs its commands."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from vsalign import cli
from vsalign.errors import MissingInputError


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"]])
def test_alone_it_lists_every_command_with_a_line(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv) == 0
    text = capsys.readouterr().out
    for name, command in cli.COMMANDS.items():
        assert f"  {name} " in text and command.line in text
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("argv", [["evaluate"], ["evaluate", "--help"]])
def test_a_group_lists_its_own(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv) == 0
    text = capsys.readouterr().out
    assert "evaluate ranking" in text and "gallery" not in text


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["scnes"], "vsalign has no command scnes; did you mean `vsalign scenes`?"),
        (
            ["evaluate", "rankings"],
            "vsalign has no command evaluate rankings; did you mean `vsalign evaluate ranking`?",
        ),
        (["evalute"], "vsalign has no command evalute; did you mean `vsalign evaluate`?"),
        (["zzzzz"], "vsalign has no command zzzzz; `vsalign --help` lists the commands."),
        (["--scenes"], "vsalign has no command --scenes; did you mean `vsalign scenes`?"),
    ],
)
def test_an_unknown_command_is_one_sentence_and_2(
    argv: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(argv) == 2
    assert capsys.readouterr().err == f"error: {sentence}\n"


def fake_main(argv: list[str]) -> int:
    if argv == ["--fail"]:
        raise MissingInputError("There is no folder x; create it.")
    return 30 + len(argv)


def test_a_command_gets_its_arguments_byte_for_byte_and_gives_its_status(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commands = {
        "one": cli.Command(f"{__name__}:fake_main", ""),
        "two three": cli.Command(f"{__name__}:fake_main", ""),
    }
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__, importlib.import_module(__name__)))
    monkeypatch.setattr(cli, "COMMANDS", commands)
    assert cli.main(["one", "--input", "a $b `c` é"]) == 32
    assert cli.main(["two", "three"]) == 30
    assert cli.main(["one", "--fail"]) == 2


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("vsalign 0.")


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_exists_and_explains_itself(name: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "vsalign.cli", *name.split(), "--help"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    assert f"usage: vsalign {name}" in run.stdout
