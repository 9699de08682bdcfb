"""What an archive is kept in: named objects that are replaced whole."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """With a store on the network. What it does not cover is for the caller to try again, or not."""

    connect_s: float = 5
    # One request: a day of three million trades is 25 MB, a slow line 1 MB/s.
    request_s: float = 60
    # Of what passes: 5xx, 429, a broken connection. No retry begins after `retry_s`.
    retries: int = 3
    retry_s: float = 30


PATIENT = RetryPolicy()


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as it was read. `etag`: what the store calls this version of it, if it has names for them."""

    data: bytes
    etag: str | None = None

    @property
    def tag(self) -> str:
        """Return what no object of other bytes is called: 1 ms for a month of candles."""
        return self.etag or hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True, slots=True)
class Listed:
    """What a listing shows of one name. `kind`: what it is, '' for an object."""

    bytes: int
    kind: str = ""


class Objects(Protocol):
    """A folder or a bucket. Every method raises ArchiveUnavailable if it could not do its work."""

    def read(self, path: str) -> StoredObject | None:
        """Return an object, as it is before or after whatever replaces it meanwhile. None: there is none.

        ArchiveDamaged if what is there is no object: it is not opened.
        """
        ...

    def listed(self, folder: str) -> Mapping[str, Listed]:
        """Return what is directly in a folder, by its name there."""
        ...

    def check_there(self, folder: str) -> None:
        """To be asked when an object is missing: raise ArchiveUnavailable if the folder is, which is never removed."""
        ...

    def replace(self, path: str, data: bytes, check: Callable[[bytes], object], replacing: str | None) -> None:
        """Make `data`, which `check` must accept, the object at once and for good, in place of the one of that tag.

        None: there is none yet. Raises Superseded if another one, or none, is there by now.
        """
        ...

    def where(self, path: str) -> str:
        """Return the full name of an object, for messages."""
        ...
