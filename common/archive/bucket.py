"""An archive in a bucket of S3, or of any store that speaks its protocol.

A writer puts its object below `tmp/`, reads it back and copies it into its place; the copy is atomic. What a killed one
leaves is removed by the next once it is an hour old by the store's own clock, which no write takes.

Credentials are found where the platform puts them: AWS_ACCESS_KEY_ID and its like, or the machine's own role.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from secrets import token_hex

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from common.archive.objects import Patience
from common.errors import ArchiveUnavailable, OperatorError

_TMP = "tmp"
_ABANDONED = timedelta(hours=1)


class Bucket:
    """`s3://NAME/PREFIX`. `endpoint`: the store's address where it is not Amazon's."""

    def __init__(self, name: str, prefix: str, endpoint: str | None, patience: Patience) -> None:
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

    def where(self, path: str) -> str:
        return f"{self._url}/{path}"

    def read(self, path: str) -> bytes | None:
        with self._told(path):
            try:
                # In one request: parts of it could be of two versions.
                return bytes(obstore.get(self._store, path).bytes())
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise
                return None

    def names(self, folder: str) -> list[str]:
        with self._told(folder):
            found = obstore.list_with_delimiter(self._store, folder)["objects"]
        return [entry["path"].rpartition("/")[2] for entry in found]

    def replace(self, path: str, data: bytes, check: Callable[[bytes], object]) -> None:
        draft = f"{_TMP}/{token_hex(8)}"
        with self._told(path):
            try:
                # A single request is whole or nothing; parts of a killed upload would stay, unseen and paid for.
                obstore.put(self._store, draft, data, use_multipart=False)
                check(bytes(obstore.get(self._store, draft).bytes()))
                # An error that S3 sends in an answer of status 200 is one for the library, too (tried).
                obstore.copy(self._store, draft, path)
                self._remove_leftovers(draft)
            finally:
                # It may never have come to be; and the error above matters more.
                with suppress(BaseError, OSError):
                    obstore.delete(self._store, draft)

    def delete(self, path: str) -> None:
        with self._told(path), suppress(FileNotFoundError):
            obstore.delete(self._store, path)

    def _remove_leftovers(self, draft: str) -> None:
        drafts = {entry["path"]: entry["last_modified"] for page in obstore.list(self._store, _TMP) for entry in page}
        for path, modified in drafts.items() if draft in drafts else ():
            if drafts[draft] - modified > _ABANDONED:
                obstore.delete(self._store, path)

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
