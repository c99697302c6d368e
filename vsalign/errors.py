"""What can go wrong: a person's mistake (VsalignError, exit status 2) or one input that cannot be used (InputError)."""

from __future__ import annotations

from enum import StrEnum


class VsalignError(Exception):
    """A mistake that a person can mend; the message is one sentence that names the thing, the value, the remedy."""


class ConfigurationError(VsalignError):
    """An option, or a combination of options, that cannot be meant."""


class MissingInputError(VsalignError):
    """A file, folder or package that the command was pointed at is not there."""


class ModelError(VsalignError):
    """A model folder or weights file that is incomplete, altered, or of another kind."""


class TableError(VsalignError):
    """A table that cannot be read or written as asked."""


class StoreError(TableError):
    """A store that failed, also when asked again, and may answer later: the run ends as one that was stopped."""


class IncompleteTableError(TableError):
    """A table without its manifest, or whose files do not agree with it."""


class SchemaVersionError(TableError):
    """A table written under another schema version, or another table than the one asked for."""


class WrongExtractorError(TableError):
    """Region features of another extractor than the model was trained on."""


class RunStopped(Exception):
    """The run ended before its output was whole through no fault of the command, which goes on when started again."""


class Reason(StrEnum):
    """Why an input could not be used: the closed list that the errors table holds."""

    # images and archives
    EMPTY = "EMPTY"
    NOT_IMAGE = "NOT_IMAGE"
    UNSUPPORTED = "UNSUPPORTED"
    TRUNCATED = "TRUNCATED"
    CORRUPT = "CORRUPT"
    TOO_LARGE = "TOO_LARGE"
    NOT_FOUND = "NOT_FOUND"
    UNSAFE_PATH = "UNSAFE_PATH"
    DUPLICATE_ID = "DUPLICATE_ID"
    INCOMPLETE = "INCOMPLETE"
    READ_FAILED = "READ_FAILED"
    TIMED_OUT = "TIMED_OUT"
    CRASHED = "CRASHED"
    # caption lines
    BAD_LINE = "BAD_LINE"
    MISSING_IMAGE = "MISSING_IMAGE"
    NO_SPLIT = "NO_SPLIT"
    NO_WORDS = "NO_WORDS"
    # regions and pairs
    NO_BOXES = "NO_BOXES"
    BAD_BOXES = "BAD_BOXES"
    NOT_FINITE = "NOT_FINITE"
    MISSING_REGIONS = "MISSING_REGIONS"

    @property
    def passing(self) -> bool:
        """Whether a later try may succeed (tried again on resume); permanent reasons are not tried again."""
        return self in (Reason.READ_FAILED, Reason.TIMED_OUT)


class InputError(Exception):
    """One input that cannot be used: it becomes a row of errors/ and never stops a run."""

    def __init__(self, reason: Reason, message: str, uri: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.uri = uri

    def __reduce__(self) -> tuple[type[InputError], tuple[Reason, str, str]]:
        """It crosses processes whole (an Exception is otherwise rebuilt from its message alone)."""
        return InputError, (self.reason, self.message, self.uri)
