"""Indicators as answers: columns in JSON, a table in CSV and Arrow."""

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import orjson
import polars as pl

from common.indicators.engine import Floats
from common.indicators.ids import Indicator, number_text
from common.indicators.kinds import IndicatorKind
from common.indicators.table import ALIASES, KINDS
from common.market.builder.gaps import Ledger
from common.market.instrument import Instrument
from common.store.health import HealthRules
from common.store.registry import Market
from feed.bars.indicators import NO_BAR, IndicatorColumns, IndicatorRead
from feed.wire.answers import JSON, SymbolAnswer, TableWriters, cursor_of, health, told_coverage

# As text a number takes so many bytes.
NUMBER_BYTES = 20


@dataclass(frozen=True, slots=True)
class IndicatorsAnswer:
    market: Market
    # What is said of the question.
    asked: Mapping[str, object]
    read: IndicatorRead
    ledger: Ledger
    rules: HealthRules
    media_type: ClassVar[str] = JSON

    def body(self) -> bytes:
        read, found = self.read, self.read.columns
        told: dict[str, object] = {**self.asked, "t": read.opens_ms.tolist(), "isFinal": read.is_final.tolist()}
        if read.as_of_ms is not None:
            told["asOf"] = [None if ms == NO_BAR else ms for ms in read.as_of_ms.tolist()]
        told["indicators"] = {each.indicator.asked: _outputs(each) for each in found}
        told["warmFrom"] = {
            each.indicator.asked: _warm_from(each, read) for each in found if each.warm_from or not each.settled
        }
        told |= _where_any(found)
        told["cursor"] = cursor_of(read.view.state)
        told |= told_coverage(read.cover, self.ledger, read.from_ms, read.to_ms)
        told["health"] = health(self.market, read.view, read.cover, self.rules, read.to_ms)
        return SymbolAnswer(self.market, told | ({"next": read.more} if read.more else {})).body()


def _outputs(columns: IndicatorColumns) -> orjson.Fragment:
    """NaN is written as null."""
    arrays = {name: np.ascontiguousarray(values) for name, values in columns.outputs.items()}
    return orjson.Fragment(orjson.dumps(arrays, option=orjson.OPT_SERIALIZE_NUMPY))


def _warm_from(columns: IndicatorColumns, read: IndicatorRead) -> int | None:
    """None: none of these bars is exact."""
    at = columns.warm_from
    return int(read.opens_ms[at]) if columns.settled and at < len(read.opens_ms) else None


def _where_any(found: Iterable[IndicatorColumns]) -> dict[str, object]:
    """What is said of some of them alone."""
    told: dict[str, dict[str, object]] = {}
    for each in found:
        said: dict[str, object] = {}
        if each.partial.any():
            said["partials"] = each.partial.tolist()
        if not each.settled:
            said["settled"] = False
        if each.since_ms is not None:
            said |= {"since": each.since_ms, "reliableSince": each.reliable_since_ms}
        if each.indicator.kind.shift_of:
            said["shift"] = each.indicator.kind.shift_of(each.indicator.numbers)
        for name, value in said.items():
            told.setdefault(name, {})[each.indicator.asked] = value
    return dict(told)


def table_of(read: IndicatorRead) -> pl.DataFrame:
    """A column for each output: named by the id, and where it has several by that and the output's."""
    columns: dict[str, object] = {"t": read.opens_ms, "isFinal": read.is_final}
    for each in read.columns:
        for name, values in each.outputs.items():
            key = each.indicator.asked if name == "value" else f"{each.indicator.asked}.{name}"
            columns[key] = _nulled(values)
    if read.as_of_ms is not None:
        columns["asOf"] = pl.Series([None if ms == NO_BAR else ms for ms in read.as_of_ms.tolist()], dtype=pl.Int64)
    return pl.DataFrame(columns)


def _nulled(values: Floats) -> pl.Series:
    return pl.Series(values, dtype=pl.Float64).fill_nan(None)


def _csv(table: pl.DataFrame, _: Instrument) -> bytes:
    return table.write_csv().encode()


def _arrow(table: pl.DataFrame, _: Instrument) -> bytes:
    stream = io.BytesIO()
    table.rechunk().write_ipc_stream(stream, compression="uncompressed", compat_level=pl.CompatLevel.oldest())
    return stream.getvalue()


INDICATOR_WRITERS: TableWriters = {"csv": _csv, "arrow": _arrow}


def listed() -> list[dict[str, object]]:
    """Each kind, with its defaults: of the table that computes it."""
    return [_listed(kind) for kind in KINDS.values()]


def _listed(kind: IndicatorKind) -> dict[str, object]:
    numbers = tuple(rule.default for rule in kind.numbers)
    anchor = "session" if kind.memory == "anchored" else ""
    default = Indicator(kind.name, kind.name, numbers, kind.sources[0] if kind.sources else "close", anchor)
    return {
        "id": default.canonical,
        "name": kind.name,
        "aliases": [alias for alias, name in ALIASES.items() if name == kind.name],
        "numbers": [
            {
                "name": rule.name,
                "default": orjson.Fragment(number_text(rule.default)),
                "from": orjson.Fragment(number_text(rule.min_value)),
                "to": orjson.Fragment(number_text(rule.max_value)),
                "whole": rule.is_whole,
            }
            for rule in kind.numbers
        ],
        "sources": list(kind.sources),
        "anchored": kind.memory == "anchored",
        "outputs": list(kind.outputs),
        "formula": kind.formula,
        "first": dict(zip(kind.outputs, kind.first_of(numbers), strict=False)),
        "memory": kind.memory,
        "warmup": default.warmup,
        "shift": kind.shift_of(numbers) if kind.shift_of else {},
    }
