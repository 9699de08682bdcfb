"""What a term says of its closed minutes, and what it makes of its source's comparisons."""

import json
from dataclasses import replace
from typing import Any

import pytest

from common.market.builder.builder import Builder, Changes, Minute, candle_of
from common.market.builder.validation import FOOTPRINT_PRICES, HIGH, NOT_ASCENDING
from common.market.candle import LIVE, Candle
from common.market.footprint import Footprint
from common.market.trade import Trades
from tests.kit.fakes import MINUTE_MS, START_MS, Bench, trades
from workers.sources.base import Batch, Mismatch
from workers.symbol.verdicts import Inspection

DIFFERING = Mismatch(START_MS, {"close_ticks": (6_400_050, 6_400_000), "volume_lots": (1_500, 2_000), "trades": (3, 4)})


def events(bench: Bench, *kinds: str) -> list[dict[str, Any]]:
    told = [json.loads(event) for _, event in bench.model.tables.events]
    return [event for event in told if event["type"] in kinds]


# What is then found in them.
FAULTS = [HIGH, FOOTPRINT_PRICES]


def break_high(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in the builder: candles without their highs."""

    def broken(open_ms: int, run: Trades, sources: int) -> Candle:
        return replace(candle_of(open_ms, run, sources), high_ticks=1)

    monkeypatch.setattr("common.market.builder.builder.candle_of", broken)


# faults


async def test_a_minute_that_contradicts_itself_is_told_with_the_commit_that_closes_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    break_high(monkeypatch)
    bench = Bench()
    await bench.serve(Batch(trades((1, 0)), "1"), Batch(trades((2, MINUTE_MS)), "2"), Batch(trades((3, MINUTE_MS)), ""))
    (told,) = events(bench, "fault")
    assert (told["symbol"], told["timeframe"], told["t"], told["faults"]) == ("TEST:A", "1m", START_MS, FAULTS)
    assert told["seq"] == 2 and told["token"] == bench.term.token
    assert ("{TEST:A}:events", bench.store.commits[1].events[-1]) in bench.store.commits[1].messages
    assert {"faults": "1", "faultT": str(START_MS)}.items() <= bench.model.tables.health.items()
    (record,) = [record for record in caplog.records if record.message == "minute contradicts itself"]
    assert record.levelname == "ERROR"


async def test_an_amendment_is_looked_at_too(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    await bench.serve(Batch(trades((1, 0), (4, MINUTE_MS)), "1"))
    monkeypatch.setattr(Footprint, "add", lambda *_: None)
    await bench.serve(Batch(trades((2, 20)), "2"), token="b" * 32)
    (told,) = events(bench, "fault")
    assert told["t"] == START_MS
    assert told["faults"] == ["footprint_volume", "footprint_trades", "footprint_turnover", "footprint_prices"]
    assert bench.model.tables.health["faults"] == "1"


async def test_a_footprint_that_never_had_all_trades_is_no_fault() -> None:
    """The venue's candle took the place of a minute, and then trades of it came."""
    theirs = candle_of(START_MS, trades((1, 0), (2, 20), (3, 30)), LIVE)
    bench = Bench()
    await bench.serve(
        Batch(trades((1, 0), (6, MINUTE_MS)), ""),
        Batch(Trades(), "", candles=[replace(theirs, trades=0, first_id=0)]),
        Batch(trades((4, 40)), ""),
        Batch(trades((5, 50)), ""),
    )
    assert len(events(bench, "amend")) == 3
    assert events(bench, "fault") == []
    assert "faults" not in bench.model.tables.health


async def test_a_footprint_that_is_no_longer_kept_is_no_fault() -> None:
    bench = Bench()
    days_ms = 50 * 86_400_000
    bench.clock.advance(days_ms)
    await bench.serve(
        Batch(trades((1, 0), (2, 10)), "1"),
        Batch(trades((4, days_ms), (5, days_ms + MINUTE_MS)), "2"),
        Batch(trades((3, 20)), "3"),
    )
    assert len(events(bench, "amend")) == 1
    assert events(bench, "fault") == []


def test_a_minute_that_is_closed_twice_is_out_of_order() -> None:
    builder = Builder.new(Bench().instrument, grace_ms=0)
    builder.step(trades((1, 0), (2, MINUTE_MS)), 1 << 43, {})
    run = trades((3, 5))
    closed = {START_MS: Minute(candle_of(START_MS, run, LIVE), Footprint())}
    closed[START_MS].footprint.add(run.price_ticks, run.size_lots, run.sides)
    inspection = Inspection.begin(builder.watermark_ms, {})
    assert inspection.faults(Changes(Trades(), closed=closed)) == {START_MS: [NOT_ASCENDING]}


# mismatches


async def test_a_mismatch_is_an_event_and_a_count_of_the_same_commit() -> None:
    bench = Bench()
    await bench.serve(Batch(trades((1, 0)), "1"), Batch(Trades(), "1", mismatches=[DIFFERING]), Batch(Trades(), "1"))
    (told,) = events(bench, "mismatch")
    assert told == {
        "type": "mismatch",
        "symbol": "TEST:A",
        "seq": 2,
        "token": bench.term.token,
        "timeframe": "1m",
        "t": START_MS,
        "fields": {"close": [64000.5, 64000], "volume": [1.5, 2], "trades": [3, 4]},
    }
    commit = bench.store.commits[1]
    assert b'"fields":{"close":[64000.5,64000],"volume":[1.5,2],"trades":[3,4]}' in commit.events[0]
    assert ("{TEST:A}:events", commit.events[0]) in commit.messages
    assert {"mismatches": "1", "mismatchT": str(START_MS)}.items() <= commit.health.items()


async def test_what_only_the_venue_has_is_told_as_null() -> None:
    bench = Bench()
    missing = Mismatch(START_MS, {"open_ticks": (None, 100), "turnover": (None, 12_345)})
    await bench.serve(Batch(trades((1, 0)), "1"), Batch(Trades(), "1", mismatches=[missing]))
    assert b'"fields":{"open":[null,1],"turnover":[null,0.12345]}' in bench.store.commits[1].events[0]


async def test_the_count_goes_on_in_the_next_term_and_nothing_is_told_twice() -> None:
    bench = Bench()
    later = DIFFERING._replace(open_ms=START_MS + MINUTE_MS)
    await bench.serve(Batch(trades((1, 0)), "1"), Batch(Trades(), "1", mismatches=[DIFFERING]))
    await bench.serve(Batch(Trades(), "1", mismatches=[DIFFERING, later]), token="b" * 32)
    assert [told["t"] for told in events(bench, "mismatch")] == [START_MS, START_MS + MINUTE_MS]
    assert bench.model.tables.health["mismatches"] == "2"
    assert bench.model.tables.health["mismatchT"] == str(START_MS + MINUTE_MS)


async def test_minutes_without_a_fault_say_nothing() -> None:
    bench = Bench()
    await bench.serve(
        Batch(trades((1, 0), (3, MINUTE_MS)), "1"),
        Batch(trades((2, 10), (4, 5 * MINUTE_MS)), "2"),
        Batch(Trades(), "2"),
    )
    assert {event["type"] for event in events(bench, "fault", "mismatch")} == set()
    assert not {"mismatches", "faults"} & bench.model.tables.health.keys()
