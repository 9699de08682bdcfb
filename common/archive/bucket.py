"""An archive in a bucket of S3, or of any store that speaks its protocol.

A writer puts its object into its place in one request, on the condition that what is there is still what it has read
(If-Match, If-None-Match). So a killed one leaves nothing, and of two that have read the same one is refused.

Credentials are found where the platform puts them: AWS_ACCESS_KEY_ID and its like, or the machine's own role.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import S3Store

from common.archive.objects import Listed, RetryPolicy, StoredObject
from common.errors import ArchiveDamaged, ArchiveUnavailable, OperatorError, Superseded

if TYPE_CHECKING:
    from obstore import PutMode

# An object without content, on which a store shows whether it heeds conditions.
_PROBE = "tmp/conditions"
_NO_TAG = '"0"'


class Bucket:
    """`s3://NAME/PREFIX`. `endpoint`: the store's address where it is not Amazon's."""

    def __init__(self, name: str, prefix: str, endpoint: str | None, patience: RetryPolicy) -> None:
        self._url = f"s3://{name}/{prefix}".rstrip("/")
        try:
            self._store = S3Store(
                name,
                prefix=prefix or None,
                # Without an endpoint the library takes it, like the credentials, from the environment.
                config={"endpoint": endpoint, "virtual_hosted_style_request": False} if endpoint else None,
                client_options={
                    "allow_http": endpoint is not None and endpoint.startswith("http:"),
                    "connect_timeout": timedelta(seconds=patience.connect_s),
                    "timeout": timedelta(seconds=patience.request_s),
                },
                retry_config={"max_retries": patience.retries, "retry_timeout": timedelta(seconds=patience.retry_s)},
            )
        except BaseError as error:
            raise OperatorError(f"archive {self._url}: {_sentence(str(error))}") from error
        self._heeds_conditions = False

    def where(self, path: str) -> str:
        return f"{self._url}/{path}"

    def read(self, path: str) -> StoredObject | None:
        with self._told(path):
            try:
                # In one request: parts of it could be of two versions.
                found = obstore.get(self._store, path)
                return StoredObject(bytes(found.bytes()), found.meta["e_tag"])
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise
                return None

    def listed(self, folder: str) -> dict[str, Listed]:
        with self._told(folder):
            found = obstore.list_with_delimiter(self._store, folder)["objects"]
        return {entry["path"].rpartition("/")[2]: Listed(entry["size"]) for entry in found}

    def check_there(self, folder: str) -> None:
        """It has no folders; a bucket that does not exist is told by any other question."""

    def replace(self, path: str, data: bytes, check: Callable[[bytes], object], replacing: str | None) -> None:
        check(data)
        with self._told(path):
            self._check_conditions()
            tag = self._put(path, data, "create" if replacing is None else {"e_tag": replacing})
            if tag is None:
                raise Superseded(f"archive {self.where(path)} is not the object any more that was read")
            found = self.read(path)
        # If it is another one by now, its writer has read ours.
        if found and found.tag == tag and found.data != data:
            raise ArchiveDamaged(self.where(path), "was read back otherwise than it was written")

    def _check_conditions(self) -> None:
        """Refuse a store that takes no notice of conditions: there two writers would undo each other's work."""
        if self._heeds_conditions:
            return
        # The very first writer makes the object, which is refused to all others.
        creates = self._put(_PROBE, b"", "create") and self._put(_PROBE, b"", "create")
        if creates or self._put(_PROBE, b"", {"e_tag": _NO_TAG}):
            raise OperatorError(
                f"archive {self._url}: the store ignores If-Match or If-None-Match, expected both heeded"
            )
        self._heeds_conditions = True

    def _put(self, path: str, data: bytes, condition: "PutMode") -> str | None:
        """Return the tag of the new object, None if the condition is not met."""
        try:
            # A single request is whole or nothing; parts of a killed upload would stay, unseen and paid for.
            return obstore.put(self._store, path, data, mode=condition, use_multipart=False)["e_tag"]
        except (AlreadyExistsError, PreconditionError):
            return None

    @contextmanager
    def _told(self, path: str) -> Iterator[None]:
        try:
            yield
        except (BaseError, OSError) as error:
            raise ArchiveUnavailable(f"archive {self.where(path)}: {_sentence(str(error))}") from error


def _sentence(text: str) -> str:
    """The library's first line: what was asked and what came; and the store's own code, if it gave one."""
    code = text.partition("<Code>")[2].partition("</Code>")[0]
    first = text.partition("\n")[0].partition(": <?xml")[0][:300]
    return f"{first} ({code})" if code else first
