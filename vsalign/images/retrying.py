"""Passing failures of a store are tried again; what remains becomes an InputError with a reason."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from vsalign.errors import InputError, Reason

T = TypeVar("T")

_PERMANENT_ERRNOS = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EINVAL)
_AGAIN_STATUSES = (408, 425, 429)
_GONE_STATUSES = (404, 410)


@dataclass(frozen=True)
class Retry:
    """How often a passing failure (a time-out, a 503, a reset connection) is tried again."""

    retries: int = 3
    """Further tries after the first."""

    backoff: float = 0.5
    """Seconds before the first further try; doubled before each next one."""


def steadily(action: Callable[[], T], uri: str, retry: Retry) -> T:
    """Do `action`, again after passing failures with exponential back-off; raises InputError for what
    remains."""
    tries = 0
    while True:
        try:
            return action()
        except InputError:
            raise
        except Exception as error:  # each store's client raises its own family of exceptions
            reason, again = _judge(error)
            if not again or tries >= retry.retries:
                tried = f", tried {tries + 1} times" if again else ""
                text = f"{type(error).__name__}: {error}".rstrip(": ")
                raise InputError(reason, f"{uri}: cannot be read ({text}{tried})", uri) from error
        time.sleep(retry.backoff * 2**tries)
        tries += 1


def _judge(error: Exception) -> tuple[Reason, bool]:
    """The reason for a failed read, and whether trying again at once may help."""
    status = getattr(error, "status", None) or getattr(error, "code", None)
    if isinstance(status, int) and 400 <= status < 600:
        if status in _GONE_STATUSES:
            return Reason.NOT_FOUND, False
        return Reason.READ_FAILED, status >= 500 or status in _AGAIN_STATUSES
    if isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError):
        return Reason.NOT_FOUND, False
    if isinstance(error, PermissionError):
        # Mended by a person, so tried again on resume, though not at once.
        return Reason.READ_FAILED, False
    if isinstance(error, TimeoutError) or "timeout" in type(error).__name__.lower():
        return Reason.TIMED_OUT, True
    if isinstance(error, OSError) and error.errno in _PERMANENT_ERRNOS:
        return Reason.NOT_FOUND, False
    if isinstance(error, ImportError):
        return Reason.READ_FAILED, False
    if isinstance(error, ValueError | TypeError):
        # A name that the system cannot take (a NUL), or a protocol that nobody knows.
        return Reason.NOT_FOUND, False
    return Reason.READ_FAILED, True
