"""Errors, by who must act."""

from common.redact import redacted


class FleetError(Exception):
    """Base of all errors raised on purpose. The message is one sentence: what was found, what expected."""

    def __str__(self) -> str:
        # Wherever it is shown, and wherever the sentence came from: without the password of a URL.
        return redacted(super().__str__())


class BadInput(FleetError):
    """The user must act: the sentence names the value and what was expected."""


class OperatorError(FleetError):
    """The deployment must change: a setting, a port, a disk, a server."""


class NewerFormat(OperatorError):
    """What is stored was written by a later release, in a form that this one does not know."""


class RetryableError(FleetError):
    """No person must act: try again, after dropping what was in memory."""


class StoreUnavailable(RetryableError):
    """The store did not answer, or its answer was lost: the outcome of the last command is unknown."""


class Overtaken(StoreUnavailable):
    """What was read does not fit together, for it was changed in between: read all of it again (common.retry)."""


class Fenced(RetryableError):
    """Another holder has the symbol: the commit was refused because of the token."""


class Stale(RetryableError):
    """The store is not where this writer left it: the commit was refused because of `seq`."""


class ArchiveUnavailable(RetryableError):
    """The archive did not take or give an object: no room, no right, no answer. What was there is as it was."""


class Superseded(RetryableError):
    """An object of the archive has been replaced since what it was to go with was read: read both again."""


class ArchiveDamaged(OperatorError):
    """An object of the archive is not what was written: missing, damaged, foreign, or of another schema.

    `reason`: the sentence without the object's place, which stays inside.
    """

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where} {reason}")
        self.reason = reason
