"""Recorded hours of exchanges to their days, weeks and months: the recordings' own, or a recomputation with datetime.

Prices and sizes are integers here; a recorded hour is named by the clock, so the first of New York begins at 09:00.
"""

import csv
import io
import zipfile
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from common.frames.resample import resample
from common.frames.schema import CANDLES, conform
from common.market.timeframes.calendars import sessions_of
from common.market.timeframes.timeframe import Timeframe
from tests.golden.data import folder

NEW_YORK = ZoneInfo("America/New_York")
DAY = timedelta(days=1)


class Bar(NamedTuple):
    """`at`: the wall clock of the recording."""

    at: datetime
    open: int
    high: int
    low: int
    close: int
    volume: int


def read(name: str, day: date | None = None, scale: int = 1, first: int = 1) -> list[Bar]:
    """`day`: of a file with ms since midnight. `first`: the column of the open (of the ask it is 6)."""
    with zipfile.ZipFile(folder() / name) as archive:
        rows = list(csv.reader(io.TextIOWrapper(archive.open(archive.namelist()[0]))))
    return [Bar(_at(row[0], day), *_prices(row[first : first + 4], scale), int(row[5])) for row in rows]


def _prices(texts: list[str], scale: int) -> tuple[int, int, int, int]:
    opened, high, low, close = (round(float(text) * scale) for text in texts)
    return opened, high, low, close


def _at(text: str, day: date | None) -> datetime:
    if day is None:
        return datetime.fromisoformat(text)
    return datetime.combine(day, time()) + timedelta(milliseconds=int(text))


def resampled(bars: Iterable[tuple[int, Bar]], timeframe: Timeframe) -> dict[int, tuple[int, ...]]:
    """OHLC and volume by open, of bars that open at these times."""
    opens, found = zip(*bars, strict=True)
    _, opened, high, low, close, volume = zip(*found, strict=True)
    columns = {"open_ticks": opened, "high_ticks": high, "low_ticks": low, "close_ticks": close, "volume_lots": volume}
    keys = {"open_ms": opens, "first_ts_ms": opens, "last_ts_ms": opens}
    rest = [pl.lit(0, dtype).alias(name) for name, dtype in CANDLES.items() if name not in columns | keys]
    frame = conform(pl.DataFrame(columns | keys).with_columns(rest), CANDLES)
    return {row[0]: row[1:] for row in resample(frame, timeframe).select("open_ms", *columns).iter_rows()}


def merged(bars: Iterable[Bar]) -> tuple[int, ...]:
    found = list(bars)
    high, low = max(bar.high for bar in found), min(bar.low for bar in found)
    return found[0].open, high, low, found[-1].close, sum(bar.volume for bar in found)


def ms(moment: datetime, zone: ZoneInfo | None = None) -> int:
    return int(moment.replace(tzinfo=zone or UTC).timestamp()) * 1000


def timeframe_open(at: datetime, text: str) -> int:
    """The midnight that begins the week or month."""
    return ms(datetime.combine(at - at.weekday() * DAY if text == "1w" else at.replace(day=1), time()))


def grouped(bars: Iterable[Bar], key: str) -> list[list[Bar]]:
    """By the week or month of their date, as datetime has it."""
    groups: dict[tuple[int, ...], list[Bar]] = defaultdict(list)
    for bar in bars:
        groups[tuple(bar.at.isocalendar())[:2] if key == "1w" else (bar.at.year, bar.at.month)].append(bar)
    return list(groups.values())


@cache
def bac_hours() -> list[tuple[int, Bar]]:
    """With the times at which they open: an hour in which trading begins opens with it."""
    bars = read("us_equities/bac_hour.zip")
    return [(ms(max(bar.at, datetime.combine(bar.at, time(9, 30))), NEW_YORK), bar) for bar in bars]


@cache
def bac_days() -> list[Bar]:
    return read("us_equities/bac_daily.zip")


def new_york(text: str) -> Timeframe:
    return Timeframe.parse(text).anchored(sessions_of("XNYS"))


@cache
def half_days() -> set[date]:
    """The recorded days that end at 13:00 by the calendar."""
    sessions = sessions_of("XNYS")
    assert sessions is not None
    closes = {day.at.date(): sessions.closes[sessions.at(ms(day.at))] for day in bac_days()}
    return {day for day, close_ms in closes.items() if close_ms == ms(datetime.combine(day, time(13)), NEW_YORK)}


def bac_sessions() -> list[list[Bar]]:
    """Recorded hours by day, without those that begin when a half day is over."""
    days: dict[date, list[Bar]] = defaultdict(list)
    halves = half_days()
    for _, bar in bac_hours():
        if bar.at.hour <= 13 or bar.at.date() not in halves:
            days[bar.at.date()].append(bar)
    return list(days.values())


def at_open(day: date) -> int:
    return ms(datetime.combine(day, time(9, 30)), NEW_YORK)


def test_hours_of_23_years_are_the_recorded_days_in_the_zone_of_new_york() -> None:
    midnights = Timeframe(1, "d").anchored(sessions_of("24x7", "America/New_York"))
    found = resampled(bac_hours(), midnights)
    assert found == {ms(day.at, NEW_YORK): tuple(day[1:]) for day in bac_days()}
    assert len(found) == 5_849


def test_hours_of_23_years_are_the_days_of_the_exchange_but_for_prints_after_a_half_day() -> None:
    """On 11 half days the recording has prints of hours after the close, and counts them. A session does not."""
    found = resampled(bac_hours(), new_york("1d"))
    assert found == {at_open(bars[0].at): merged(bars) for bars in bac_sessions()}
    recorded = {at_open(day.at): tuple(day[1:]) for day in bac_days()}
    assert found.keys() == recorded.keys() and len(found) == 5_849
    late = {at_open(bar.at) for _, bar in bac_hours() if bar.at.hour > 13 and bar.at.date() in half_days()}
    assert {open_ms for open_ms in found if found[open_ms] != recorded[open_ms]} == late and len(late) == 11


def test_the_calendar_finds_52_half_days_and_every_day_that_ends_early_in_the_recording() -> None:
    last_hours = {bar.at.date(): bar.at.hour for _, bar in bac_hours()}
    assert {day for day, hour in last_hours.items() if hour < 14} < half_days()
    assert len(half_days()) == 52


@pytest.mark.parametrize("text", ["1w", "1M"])
def test_weeks_and_months_of_new_york_have_the_days_of_their_dates(text: str) -> None:
    bars = [bar for day in bac_sessions() for bar in day]
    expected = {at_open(group[0].at): merged(group) for group in grouped(bars, text)}
    found = resampled(bac_hours(), new_york(text))
    assert list(found.values()) == list(expected.values())
    # The recording begins on a Friday: its first week was open before.
    assert list(found)[1:] == list(expected)[1:]


def test_a_half_day_ends_with_the_minute_of_its_closing_auction() -> None:
    day = date(2015, 12, 24)
    minutes = [(ms(bar.at, NEW_YORK), bar) for bar in read("us_equities/goog_minute_20151224_trade.zip", day)]
    (recorded,) = (bar for bar in read("us_equities/goog_daily.zip") if bar.at.date() == day)
    inside = [bar for _, bar in minutes if time(9, 30) <= bar.at.time() <= time(13)]
    assert inside[-1].at.time() == time(13) and len(inside) < len(minutes)
    (found,) = resampled(minutes, new_york("1d")).values()
    assert found == merged(inside)
    # High and low of the recorded day are of other prints than its minutes.
    assert (found[0], *found[3:]) == (recorded.open, recorded.close, recorded.volume)
    hours = resampled(minutes, new_york("1h"))
    assert [datetime.fromtimestamp(at / 1000, NEW_YORK).hour for at in hours] == [9, 10, 11, 12]
    assert sum(hour[4] for hour in hours.values()) == found[4]


@cache
def euro(kind: str, first: int) -> list[Bar]:
    return read(f"forex_eurusd/{kind}_eurusd.zip", scale=100_000, first=first)


@pytest.mark.parametrize("first", [1, 6], ids=["bid", "ask"])
def test_hours_of_the_euro_are_the_days_of_the_recording(first: int) -> None:
    hours, days = euro("hour", first), euro("daily", first)
    found = resampled(((ms(bar.at), bar) for bar in hours), Timeframe(1, "d"))
    assert found == {ms(day.at): tuple(day[1:]) for day in days}
    assert len(found) == 3_487
    # Sunday is a day of its own there, and begins with its first hour.
    sundays = [day.at for day in days if day.at.isoweekday() == 7]
    assert len(sundays) > 500 and all(ms(at) in found for at in sundays)


@pytest.mark.parametrize("first", [1, 6], ids=["bid", "ask"])
@pytest.mark.parametrize("text", ["1w", "1M"])
def test_weeks_and_months_of_the_euro_have_the_days_of_their_dates(first: int, text: str) -> None:
    days = euro("daily", first)
    timeframe = Timeframe.parse(text)
    found = resampled(((ms(bar.at), bar) for bar in euro("hour", first)), timeframe)
    assert found == {timeframe_open(group[0].at, text): merged(group) for group in grouped(days, text)}


@pytest.mark.parametrize("first", [1, 6], ids=["bid", "ask"])
def test_sunday_evening_belongs_to_monday_in_trading_days_of_forex(first: int) -> None:
    """The recording's clock is taken for New York's: its week begins on Sunday afternoon."""
    hours = [(ms(bar.at, NEW_YORK), bar) for bar in euro("hour", first) if bar.at.hour != 2]
    trading: dict[date, list[Bar]] = defaultdict(list)
    for _, bar in hours:
        day = (bar.at + timedelta(hours=7)).date()
        if day.isoweekday() < 6:
            trading[day].append(bar)
    expected = {ms(datetime.combine(day - DAY, time(17)), NEW_YORK): merged(bars) for day, bars in trading.items()}
    assert resampled(hours, Timeframe(1, "d").anchored(sessions_of("FOREX"))) == expected
    weeks = resampled(hours, Timeframe(1, "w").anchored(sessions_of("FOREX")))
    by_week: dict[tuple[int, ...], list[Bar]] = defaultdict(list)
    for day, bars in trading.items():
        by_week[tuple(day.isocalendar())[:2]] += bars
    assert list(weeks.values()) == list(map(merged, by_week.values()))
