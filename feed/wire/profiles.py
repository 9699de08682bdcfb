"""Profiles as they are told."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import polars as pl

from common.frames.footprint import row_json
from common.frames.orderflow.nodes import nodes
from common.frames.orderflow.rows import RowColumns
from common.frames.orderflow.statistics import RowRules, RowStatistics, bar_table
from common.frames.orderflow.tpo import BRACKET_MINUTES, INITIAL_BALANCE_MINUTES, TpoProfile, initial_balance
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import MINUTE_MS
from feed.bars.profiles import BracketTimes, Profiles
from feed.reading.bounds import Span
from feed.wire.answers import exact

Told = dict[str, object]


@dataclass(frozen=True, slots=True)
class ShownProfiles:
    """What is told of profiles, and by which rules: nodes as compared with so many rows beside (None: none are).

    `prices`: of the rows that are told, both included; all others count, too. None: all are.
    """

    rules: RowRules
    nodes: int | None
    min_share_bp: int
    naked: bool
    prices: tuple[int, int] | None = None

    def told(self, levels: pl.DataFrame) -> pl.DataFrame:
        return levels if self.prices is None else levels.filter(pl.col("price_ticks").is_between(*self.prices))


def profiles_told(read: Profiles, shown: ShownProfiles, instrument: Instrument) -> list[Told]:
    statistics = RowStatistics.of(read.levels, read.row_ticks, shown.rules)
    rows = _row_texts(shown.told(read.levels), instrument)
    so_far = _so_far_told(read, shown.rules, instrument)
    told = []
    for at, bar in enumerate(bar_table(read.bars, statistics).iter_rows(named=True)):
        profile = _of_bar(bar, read.spans[at], instrument)
        profile["rows"] = orjson.Fragment(f"[{rows.get(bar['open_ms'], '')}]")
        if shown.nodes is not None:
            profile["nodes"] = _nodes_told(_rows_of(statistics.rows, bar["open_ms"]), shown, instrument)
        if shown.naked and bar["poc_ticks"] is not None:
            state, ms = read.poc_state(at, bar["poc_ticks"], bar["poc_ticks"] + read.row_ticks - 1)
            profile["pocState"] = {"state": state} | ({} if ms is None else {"t": ms})
        if so_far is not None:
            profile["developing"] = so_far[at]
        told.append(profile)
    return told


def times_told(read: BracketTimes, rules: RowRules, instrument: Instrument) -> list[Told]:
    """Time at a price of each session."""
    opens = read.brackets["open_ms"].to_numpy()
    edges = np.searchsorted(opens, [ms for span in read.spans for ms in span]).tolist()
    told = []
    for at, bar in enumerate(read.bars.iter_rows(named=True)):
        brackets = read.brackets[edges[2 * at] : edges[2 * at + 1]]
        profile = _flags(bar, read.spans[at])
        if len(brackets):
            profile |= _time_told(brackets, read, rules, instrument, read.spans[at])
        told.append(profile)
    return told


def _time_told(brackets: pl.DataFrame, read: BracketTimes, rules: RowRules, instrument: Instrument, span: Span) -> Told:
    numbers = (brackets["open_ms"].to_numpy() - span[0]) // (BRACKET_MINUTES * MINUTE_MS)
    low, high = brackets["low_ticks"].to_numpy(), brackets["high_ticks"].to_numpy()
    profile = TpoProfile.of(numbers, low, high, read.row_ticks)
    poc, area = profile.area(rules.share_bp, rules.area)
    first = initial_balance(numbers.tolist(), low.tolist(), high.tolist(), BRACKET_MINUTES)
    now_ms = read.view.state.watermark_ms if read.view.state else 0
    is_final = now_ms >= span[0] + INITIAL_BALANCE_MINUTES * MINUTE_MS
    low_tail, high_tail = profile.tails()
    poor_low, poor_high = profile.poor_ends()

    def price(ticks: int | None) -> object:
        return None if ticks is None else exact(instrument.price_text(ticks))

    def rows(run: Span | None) -> object:
        return None if run is None else {"low": price(run[0]), "high": price(run[1])}

    return {
        "poc": price(poc),
        "vah": price(area[1] if area else None),
        "val": price(area[0] if area else None),
        "ib": None if first is None else {"low": price(first[0]), "high": price(first[1]), "final": is_final},
        "singlePrints": [rows(run) for run in profile.single_prints()],
        "tails": {"low": rows(low_tail), "high": rows(high_tail)},
        "poorLow": poor_low,
        "poorHigh": poor_high,
        "rows": [{"p": price(row), "n": count, "letters": letters} for row, count, letters in profile.rows()],
    }


def _flags(bar: Mapping[str, Any], span: Span) -> Told:
    told: Told = {"from": span[0], "to": span[1], "isFinal": bar["is_final"]}
    return told | ({"partial": True} if bar["partial"] or bar.get("missing_lots") else {})


def _of_bar(bar: Mapping[str, Any], span: Span, instrument: Instrument) -> Told:
    def number(value: int | None, text: Any) -> object:
        return None if value is None else exact(text(value))

    price, size = instrument.price_text, instrument.size_text
    unknown = bar["volume_lots"] - bar["buy_lots"] - bar["sell_lots"]
    told = _flags(bar, span)
    told |= {"v": number(bar["volume_lots"], size), "delta": number(bar["delta_lots"], size)}
    told |= {"uv": number(unknown, size)} if unknown else {}
    told |= {"deltaBp": bar["delta_bp"], "n": bar["trades"], "rev": bar["rev"]}
    told |= {name: number(bar[f"{name}_ticks"], price) for name in ("high", "low", "poc", "vah", "val")}
    return told | ({} if bar["missing_lots"] is None else {"missing": number(bar["missing_lots"], size)})


def _row_texts(levels: pl.DataFrame, instrument: Instrument) -> dict[int, str]:
    lines = levels.select("open_ms", row=row_json(instrument.price_decimals, instrument.size_decimals))
    joined = lines.group_by("open_ms", maintain_order=True).agg(pl.col("row").str.join(","))
    return dict(zip(joined["open_ms"].to_list(), joined["row"].to_list(), strict=True))


def _rows_of(rows: RowColumns, open_ms: int) -> RowColumns | None:
    at = np.flatnonzero(rows.open_ms == open_ms)
    return rows.bar(int(at[0])) if len(at) else None


def _nodes_told(rows: RowColumns | None, shown: ShownProfiles, instrument: Instrument) -> Told:
    assert shown.nodes is not None
    high, low = nodes(rows, shown.nodes, shown.min_share_bp) if rows else ([], [])
    texts = ([exact(instrument.price_text(ticks)) for ticks in found] for found in (high, low))
    return dict(zip(("high", "low"), texts, strict=True))


def _so_far_told(read: Profiles, rules: RowRules, instrument: Instrument) -> list[list[Told]] | None:
    """Points of control and value areas after each bar, of each profile."""
    if read.so_far is None:
        return None
    table = RowStatistics.of(read.so_far, read.row_ticks, rules).table()
    names = {"poc_ticks": "poc", "vah_ticks": "vah", "val_ticks": "val"}
    told: list[list[Told]] = [[] for _ in read.spans]
    starts = [span[0] for span in read.spans]
    for bar in table.iter_rows(named=True):
        at = int(np.searchsorted(starts, bar["open_ms"], "right")) - 1
        prices = {
            name: None if bar[column] is None else exact(instrument.price_text(bar[column]))
            for column, name in names.items()
        }
        told[max(at, 0)].append({"t": bar["open_ms"], **prices})
    return told
