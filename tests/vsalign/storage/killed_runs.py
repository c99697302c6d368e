"""Kill a run (SIGKILL) before each of its file operations, one after the other, and resume each; print what is left.

Started by test_killed.py in a process of its own, since it forks: `python killed_runs.py FOLDER`. One line of JSON a
killed run: its number, the signal that ended it, and the folder.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas  # pyarrow would load it anew in every fork

import vsalign.storage

OPERATIONS = ("fsync", "link", "replace", "unlink", "remove", "makedirs")


def load_captions() -> Any:
    path = Path(__file__).with_name("conftest.py")
    spec = importlib.util.spec_from_file_location("captions_table", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["captions_table"] = module
    spec.loader.exec_module(module)
    return module.Captions


def kill_before(number: int) -> None:
    """Make this process kill itself before its file operation `number`."""
    left = [number]

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*arguments: Any, **options: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)

        return operation

    for name in OPERATIONS:
        setattr(os, name, counted(getattr(os, name)))


def in_child(work: Callable[[], None]) -> int:
    """Do `work` in a forked process; the signal that ended it, or minus its exit status."""
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status)


def main(root: str) -> None:
    captions = load_captions()
    for number in range(200):
        table = captions(f"{root}/{number}")

        def killed(table: Any = table, number: int = number) -> None:
            kill_before(number)
            table.run()

        ended = in_child(killed)
        print(json.dumps({"number": number, "signal": ended, "url": table.url}), flush=True)
        if ended != signal.SIGKILL:
            return


if __name__ == "__main__":
    assert pandas and vsalign.storage  # loaded once, before the forks
    main(sys.argv[1])
