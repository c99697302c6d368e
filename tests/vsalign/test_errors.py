"""A person's mistakes are one family; an input's faults are a closed list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from vsalign import errors
from vsalign.errors import InputError, Reason, RunStopped, VsalignError


def test_only_passing_failures_are_tried_again() -> None:
    assert {reason for reason in Reason if reason.passing} == {Reason.READ_FAILED, Reason.TIMED_OUT}


def test_a_reason_is_its_code() -> None:
    assert all(str(reason) == reason.name for reason in Reason)
    with pytest.raises(ValueError):
        Reason("SOMETHING_ELSE")


def test_every_mistake_is_a_vsalign_error_and_an_inputs_fault_is_none() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert {kind for kind in kinds if not issubclass(kind, VsalignError)} == {InputError, RunStopped}


def test_an_input_error_says_what_where_and_why() -> None:
    error = InputError(Reason.EMPTY, "a.jpg: no bytes", "a.jpg")
    assert (error.reason, error.message, error.uri, str(error)) == (
        Reason.EMPTY,
        "a.jpg: no bytes",
        "a.jpg",
        str(error),
    )
    assert str(error) == "a.jpg: no bytes"


def test_an_input_error_comes_back_from_a_worker_process(there_and_back: Callable[[Any], Any]) -> None:
    error = there_and_back(InputError(Reason.EMPTY, "a.jpg: no bytes", "a.jpg"))
    assert (error.reason, error.message, error.uri) == (Reason.EMPTY, "a.jpg: no bytes", "a.jpg")
