"""What is known to be in the archive of a symbol, by series, and what of it is lost."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from common.series import MINUTE_SERIES
from common.store.keys import SymbolKeys

_ARCHIVED_FIELDS = ("from_ms", "version", "lost")
_ARCHIVED_TRADES_FIELDS = ("trades_seq", "trades_ms", "trades_from_ms", "trades_version", "trades_lost")
# Of time: from and to, in ms UTC.
Spans = tuple[tuple[int, int], ...]


class Archived(NamedTuple):
    """What the archive has of a series: complete from its first day on, -1 if it has none, in `version`.

    But for the spans `lost`, both ends included, which were given up.
    """

    from_ms: int
    version: int
    lost: Spans = ()


class ArchivedTrades(NamedTuple):
    """The archive has the trades of all commits up to `seq`, whose watermark is `watermark_ms`, in `version`.

    But not all of those traded up to `from_ms` (-1: all), or in one of the spans `lost`, both ends included.
    """

    seq: int
    watermark_ms: int
    from_ms: int
    version: int
    lost: Spans = ()


@dataclass(frozen=True, slots=True)
class ArchivedAll:
    """Of every series of minutes, by its name, and of trades: None if none ever were."""

    minutes: dict[str, Archived]
    trades: ArchivedTrades | None


class ArchivedPart:
    """Asks for all of it."""

    field: ClassVar[str] = "archived"

    def ask(self, pipe: Any, keys: SymbolKeys) -> None:
        fields = [f"{name}_{field}" for name in MINUTE_SERIES for field in _ARCHIVED_FIELDS]
        pipe.hmget(keys.archive, [*fields, *_ARCHIVED_TRADES_FIELDS])

    def read(self, answers: Iterator[Any]) -> ArchivedAll:
        values = next(answers)
        trades_at = len(values) - len(_ARCHIVED_TRADES_FIELDS)
        return ArchivedAll(_archived(values[:trades_at]), _archived_trades(values[trades_at:]))


def touches(spans: Spans, from_ms: int, end_ms: int) -> bool:
    """Whether one of the spans has a time in `[from_ms, end_ms)`."""
    return any(first < end_ms and last >= from_ms for first, last in spans)


def lost_spans(text: bytes | None) -> Spans:
    """Read `<series>_lost` (lost.lua): spans of time, both ends included, ascending."""
    pairs = (span.split(b":") for span in text.split(b";")) if text else ()
    return tuple((int(from_ms), int(to_ms)) for from_ms, to_ms in pairs)


def _archived(values: list[bytes | None]) -> dict[str, Archived]:
    found: dict[str, Archived] = {}
    for name, from_ms, version, lost in zip(MINUTE_SERIES, values[::3], values[1::3], values[2::3], strict=True):
        found[name] = Archived(_or_none(from_ms), _or_none(version), lost_spans(lost))
    return found


def _or_none(value: bytes | None) -> int:
    return -1 if value is None else int(value)


def _archived_trades(values: list[bytes | None]) -> ArchivedTrades | None:
    seq, watermark_ms, from_ms, version, lost = values
    if seq is None:
        return None
    return ArchivedTrades(int(seq), int(watermark_ms or -1), int(from_ms or -1), int(version or 0), lost_spans(lost))
