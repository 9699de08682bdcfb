"""Structured logs on stderr: one JSON object a line, or text where a person reads along.

    log = logging.getLogger(__name__)
    log.info("lease claimed", extra={"symbol": symbol, "epoch": epoch})

The message is a fixed phrase, the event's name; what varies goes into `extra`. The standard library does it
all: a log library would cost every worker memory and save us nothing.
"""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal, TextIO

from common.redact import redacted

Format = Literal["auto", "json", "text"]

# What every record carries; the rest of its attributes came in through `extra`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def setup(level: str = "info", form: Format = "auto", stream: TextIO | None = None) -> None:
    """Send all records of `level` and above to `stream` (stderr). Called once, by a main."""
    handler = logging.StreamHandler(stream or sys.stderr)
    text = form == "text" or (form == "auto" and handler.stream.isatty())
    handler.setFormatter(TextFormatter() if text else JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    sys.excepthook = _crashed


def _crashed(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    """A bug ends the process with Python's own traceback, but for what must not be seen."""
    sys.stderr.write(redacted("".join(traceback.format_exception(kind, error, where))))


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "ts": _utc(record).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
            **_fields(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        # A field that JSON does not know becomes its text: a log line must never raise.
        return json.dumps(_clean(line), ensure_ascii=False)


class TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = f"{_utc(record):%H:%M:%S}.{int(record.msecs):03}"
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        line = f"{time} {record.levelname.lower():<7} {record.getMessage()}{fields}"
        return redacted(f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line)


def _clean(value: object) -> object:
    """Without secrets, piece by piece: within JSON a URL would not end where it ends."""
    if isinstance(value, dict):
        return {str(name): _clean(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(part) for part in value]
    return value if isinstance(value, int | float | None) else redacted(str(value))


def _utc(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}
