"""What an archive is kept in: named objects that are replaced whole."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Patience:
    """With a store on the network. What it does not cover is for the caller to try again, or not."""

    connect_s: float = 5
    # One request: a day of three million trades is 25 MB, a slow line 1 MB/s.
    request_s: float = 60
    # Of what passes: 5xx, 429, a broken connection. No retry begins after `retry_s`.
    retries: int = 3
    retry_s: float = 30


PATIENT = Patience()


class Objects(Protocol):
    """A folder or a bucket. Every method raises ArchiveUnavailable if it could not do its work."""

    def read(self, path: str) -> bytes | None:
        """Return an object, as it is before or after whatever replaces it meanwhile. None: there is none."""
        ...

    def names(self, folder: str) -> list[str]:
        """Return the names of the objects directly in a folder, without it."""
        ...

    def replace(self, path: str, data: bytes, check: Callable[[bytes], object]) -> None:
        """Make `data` the object, at once and for good, after `check` has accepted what was read back."""
        ...

    def delete(self, path: str) -> None:
        """Remove an object, if it is there."""
        ...

    def where(self, path: str) -> str:
        """Return the full name of an object, for messages."""
        ...
