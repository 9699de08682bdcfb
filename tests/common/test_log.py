"""Log records: one line each, whatever is in them."""

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest

from common import log
from infra.paths import ROOT


@pytest.fixture(autouse=True)
def _root_logger_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []
    yield
    root.handlers = handlers
    root.setLevel(level)


def logged(form: log.Format = "json") -> tuple[logging.Logger, io.StringIO]:
    stream = io.StringIO()
    log.setup("info", form, stream)
    return logging.getLogger("fleet.test"), stream


def test_a_record_is_one_json_object_with_its_fields() -> None:
    logger, stream = logged()
    logger.info("lease claimed", extra={"symbol": "A:B", "epoch": 3})
    record = json.loads(stream.getvalue())
    assert record.pop("ts").endswith("Z")
    assert record == {
        "level": "info",
        "event": "lease claimed",
        "logger": "fleet.test",
        "symbol": "A:B",
        "epoch": 3,
    }


def test_an_exception_stays_on_the_line() -> None:
    logger, stream = logged()
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        logger.exception("step failed")
    assert stream.getvalue().count("\n") == 1
    assert "ValueError: first\nsecond" in json.loads(stream.getvalue())["traceback"]


def test_a_field_json_does_not_know_becomes_its_text() -> None:
    logger, stream = logged()
    logger.info("odd", extra={"turnover": 1 << 100, "raw": b"x"})
    record = json.loads(stream.getvalue())
    assert (record["turnover"], record["raw"]) == (1 << 100, "b'x'")


def test_what_is_below_the_level_is_not_written() -> None:
    logger, stream = logged()
    logger.debug("noise")
    assert stream.getvalue() == ""


SECRET = "redis://u:hidden@h:1/0"


@pytest.mark.parametrize("form", ["json", "text"])
def test_no_record_shows_a_password(form: log.Format) -> None:
    logger, stream = logged(form)
    fields = {"url": SECRET, "all": [{"of": (SECRET, 'quoted "https://k:hidden@h/?token=hidden"')}], "odd": Odd()}
    try:
        raise ValueError(f"first\n{SECRET}\nlast")
    except ValueError:
        logger.exception("told %s", SECRET, extra=fields)
    assert "hidden" not in stream.getvalue()
    assert stream.getvalue().count("h:1/0") == 5
    if form == "json":
        assert json.loads(stream.getvalue())["all"] == [
            {"of": ["redis://***@h:1/0", 'quoted "https://***@h/?token=***"']}
        ]


class Odd:
    def __str__(self) -> str:
        return SECRET

    __repr__ = __str__


@pytest.mark.process
def test_a_bug_that_ends_a_process_shows_no_password() -> None:
    code = f"from common import log; log.setup(); raise RuntimeError({SECRET!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert "RuntimeError: redis://***@h:1/0" in done.stderr and "hidden" not in done.stderr


def test_text_is_for_people() -> None:
    logger, stream = logged("text")
    logger.warning("lease lost", extra={"symbol": "A:B"})
    assert stream.getvalue().endswith("warning lease lost symbol=A:B\n")
