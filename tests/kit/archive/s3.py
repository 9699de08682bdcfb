"""An archive in a folder, and one in a bucket of a real S3 server on loopback, which can be told to fail."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import obstore
import pytest
from obstore.store import S3Store

from common.archive.archive import Archive
from common.archive.bucket import Bucket
from common.archive.objects import RetryPolicy

KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
BUCKET = "market"
HASTY = RetryPolicy(retries=1)
# On which writers try whether the store heeds conditions.
PROBE = "tmp/conditions"
_CONDITIONS = ("HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH")


@dataclass(slots=True)
class S3:
    """moto's server behind switches: requests of the methods `failing` get a 503, those `stuck` no answer for now."""

    inner: Any
    endpoint: str = ""
    failing: set[str] = field(default_factory=set)
    # The object whose PUT fails.
    failing_put: str | None = None
    ignores_conditions: bool = False
    fail_next: int = 0
    stuck: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    # moto looks and writes in two steps; of S3 each request is atomic.
    one_by_one: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        method = environ["REQUEST_METHOD"]
        self.asked.append(f"{method} {environ['PATH_INFO']}")
        if method in self.stuck:
            self.released.wait()
        if self._fails(environ):
            start_response("503 Slow Down", [("Content-Length", "0")])
            return []
        if self.ignores_conditions:
            environ = {name: value for name, value in environ.items() if name not in _CONDITIONS}
        with self.one_by_one:
            return list(self.inner(environ, start_response))

    def _fails(self, environ: dict[str, Any]) -> bool:
        if self.fail_next:
            self.fail_next -= 1
            return True
        method, path = environ["REQUEST_METHOD"], unquote(environ["PATH_INFO"])
        is_put = method == "PUT" and self.failing_put is not None and path.endswith(unquote(self.failing_put))
        return is_put or method in self.failing

    def heal(self) -> None:
        self.failing.clear()
        self.failing_put, self.ignores_conditions, self.fail_next = None, False, 0
        self.stuck.clear()
        self.released.set()
        self.asked.clear()

    def bucket(self, name: str = BUCKET, patience: RetryPolicy = HASTY) -> Bucket:
        return Bucket(name, "fleet/a", self.endpoint, patience)

    def raw(self, prefix: str = "fleet/a") -> S3Store:
        """The same place by the library itself."""
        return S3Store(
            BUCKET,
            prefix=prefix,
            config={"endpoint": self.endpoint, "virtual_hosted_style_request": False},
            client_options={"allow_http": True},
        )


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3]:
    # Here, not above: together they take two seconds to load.
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log(self, type: str, message: str, *args: Any) -> None:
            pass

    app = S3(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    app.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield app
    app.heal()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def s3(s3_server: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """The server with one empty bucket."""
    import httpx

    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    s3_server.heal()
    s3_server.released.clear()
    httpx.post(f"{s3_server.endpoint}/moto-api/reset").raise_for_status()
    httpx.put(f"{s3_server.endpoint}/{BUCKET}").raise_for_status()
    s3_server.asked.clear()
    return s3_server


@pytest.fixture(params=["folder", "s3"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Archive:
    if request.param == "folder":
        return Archive.open(str(tmp_path / "archive"))
    return Archive.open(f"s3://{BUCKET}/fleet/a", request.getfixturevalue("s3").endpoint)


def names(store: S3Store) -> list[str]:
    """Everything below the archive's prefix."""
    return sorted(entry["path"] for page in obstore.list(store) for entry in page)
