"""What a command leaves behind: an exit status, and one sentence where a person is to blame."""

from __future__ import annotations

import pytest

from vsalign.command import exit_status
from vsalign.errors import ConfigurationError, StoreError


def command(outcome: BaseException | int | None) -> int:
    def run() -> int | None:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    return exit_status(run)


@pytest.mark.parametrize(
    ("outcome", "status", "said"),
    [
        (None, 0, ""),
        (3, 3, ""),
        (ConfigurationError("--k is 0;\ngive 1."), 2, "error: --k is 0; give 1.\n"),
        (StoreError("gs://x does not answer"), 4, "error: gs://x does not answer\n"),
        (KeyboardInterrupt(), 130, "stopped by the keyboard"),
        (SystemExit(4), 4, ""),
        (SystemExit(None), 0, ""),
        (SystemExit("words"), 1, "words\n"),
    ],
)
def test_exit_statuses(
    outcome: BaseException | int | None, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(outcome) == status
    assert capsys.readouterr().err.startswith(said)


def test_a_fault_of_the_program_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        command(ZeroDivisionError())
