"""What a commit writes and publishes: valid JSON, exact decimals, all documented fields."""

import json
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.market.builder.builder import Builder, Changes, Minute
from common.market.candle import LIVE, SIMULATED, Candle
from common.market.coding import codec
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS, day_of
from common.market.trade import BUY, SELL, SIDE_NAMES, UNKNOWN, Trade, Trades
from common.store.commit import Commit
from common.store.keys import SymbolKeys
from common.store.messages import CommitMessage
from tests.kit import strategies
from tests.kit.strategies import LAW
from workers.symbol.commit import CommitHead, Retention, make_commit

TOKEN = "a" * 32
HEAD = CommitHead(TOKEN, 6, "here", {"mode": "LIVE"})
FOREVER = Retention(1_000_000, 1_000_000)
PLAIN = Instrument("TEST:A", 2, 3, "contiguous")
KEYS = SymbolKeys("TEST:A")
BAR_FIELDS = {"t", "o", "h", "l", "c", "v", "bv", "q", "n", "isFinal", "rev", "source"}
# A Monday in 2025: 8.12, 8.18, 8.10, 8.15.
START_MS = 1_736_690_400_000


def last_step(instrument: Instrument, batches: Sequence[Trades], sources: int = LIVE) -> tuple[Builder, Changes]:
    """Apply the batches one by one; the builder after it, and what the last one changed."""
    builder, stored = Builder.new(instrument, sources, 0), dict[int, Minute]()
    changes = Changes(Trades())
    for batch in batches:
        stored |= changes.closed | changes.amended
        changes = builder.apply(builder.accept(batch, 1 << 44), 0, stored)
    return builder, changes


def commit_of(*batches: Trades, sources: int = LIVE, retention: Retention = FOREVER, wanted: bool = True) -> Commit:
    return make_commit(HEAD, *last_step(PLAIN, batches, sources), retention, trades_wanted=wanted)


def told(commit: Commit, channel: str) -> list[dict[str, Any]]:
    """The JSON messages of a channel, with numbers as exact decimals."""
    return [read(message) for name, message in commit.messages if name == channel]


def read(message: bytes) -> Any:
    return json.loads(message, parse_float=Decimal, parse_int=Decimal)


def expected_bar(candle: Candle, instrument: Instrument) -> dict[str, Any]:
    """The numbers of a bar, straight from the integers."""

    def price(ticks: int) -> Decimal:
        return scaled(ticks, instrument.price_decimals)

    def size(lots: int) -> Decimal:
        return scaled(lots, instrument.size_decimals)

    bar = {
        "t": Decimal(candle.open_ms),
        "o": price(candle.open_ticks),
        "h": price(candle.high_ticks),
        "l": price(candle.low_ticks),
        "c": price(candle.close_ticks),
        "v": size(candle.volume_lots),
        "bv": size(candle.buy_lots),
        "q": scaled(candle.turnover, instrument.price_decimals + instrument.size_decimals),
        "n": Decimal(candle.trades),
        "rev": Decimal(candle.rev),
    }
    return bar | ({"uv": size(candle.unknown_lots)} if candle.unknown_lots else {})


def scaled(value: int, decimals: int) -> Decimal:
    # Built from digits: arithmetic would round to the context's 28.
    digits = str(abs(value)).rjust(decimals + 1, "0")
    return Decimal(f"{'-' if value < 0 else ''}{digits[: len(digits) - decimals]}.{digits[len(digits) - decimals :]}")


@LAW
@given(st.data())
def test_every_number_is_the_exact_decimal(data: st.DataObject) -> None:
    instrument = data.draw(strategies.instruments("contiguous"))
    whole = data.draw(strategies.trades(min_size=1))
    batches = data.draw(strategies.batches(data.draw(strategies.mixed(whole))))
    builder, changes = last_step(instrument, batches)
    commit = make_commit(HEAD, builder, changes, FOREVER, trades_wanted=True)
    keys = SymbolKeys(instrument.symbol)
    growing = {changes.open.candle.open_ms: changes.open} if changes.open else {}

    bars = {kind: [m.candle for m in minutes.values()] for kind, minutes in by_kind(changes, growing).items()}
    for message in told(commit, keys.candles):
        assert message.items() >= {"symbol": instrument.symbol, "seq": 7, "token": TOKEN, "timeframe": "1m"}.items()
        assert [numbers(bar) for bar in message["bars"]] == [expected_bar(c, instrument) for c in bars[message["type"]]]
    facts = {"candle": changes.closed, "amend": changes.amended}
    for kind, minutes in facts.items():
        found = [numbers(event["bar"]) for event in map(read, commit.events) if event["type"] == kind]
        assert found == [expected_bar(minute.candle, instrument) for minute in minutes.values()]
    for message in told(commit, keys.trades):
        assert [row["p"] for row in message["trades"]] == [
            scaled(ticks, instrument.price_decimals) for ticks in changes.trades.price_ticks
        ]
        assert [row["q"] for row in message["trades"]] == [
            scaled(lots, instrument.size_decimals) for lots in changes.trades.size_lots
        ]


def by_kind(changes: Changes, growing: dict[int, Minute]) -> dict[str, dict[int, Minute]]:
    return {"candle": changes.closed | growing, "amend": changes.amended}


def numbers(bar: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in bar.items() if name not in ("isFinal", "source", "partial")}


MINUTE = Trades.of(
    [
        Trade(START_MS, 1, 812, 60_000_000, BUY),
        Trade(START_MS + 1, 2, 818, 10_110_000, BUY),
        Trade(START_MS + 2, 3, 810, 54_443_000, SELL),
        Trade(START_MS + 59_999, 4, 815, 0, SELL),
    ]
)
NEXT = Trades.of([Trade(START_MS + MINUTE_MS, 6, 815, 1_000, UNKNOWN)])
LATE = Trades.of([Trade(START_MS + 3, 5, 811, 500, BUY)])


def test_an_open_minute_is_published_as_documented() -> None:
    commit = commit_of(MINUTE)
    assert dict(commit.messages)[KEYS.candles] == (
        b'{"type":"candle","symbol":"TEST:A","seq":7,"token":"' + TOKEN.encode() + b'","timeframe":"1m","bars":['
        b'{"t":1736690400000,"o":8.12,"h":8.18,"l":8.1,"c":8.15,"v":124553,"bv":70110,"q":1010888.1,"n":4,'
        b'"isFinal":false,"rev":0,"source":"live"}]}'
    )
    assert commit.events == []


def test_a_closed_minute_is_published_and_kept_as_an_event() -> None:
    commit = commit_of(MINUTE, Trades.of([Trade(START_MS + MINUTE_MS, 5, 815, 1_000, UNKNOWN)]))
    (message,) = told(commit, KEYS.candles)
    closed, growing = message["bars"]
    assert closed.keys() == BAR_FIELDS and growing.keys() == BAR_FIELDS | {"uv"}
    assert (closed["isFinal"], growing["isFinal"]) == (True, False)
    (event,) = map(read, commit.events)
    assert event == {
        "type": "candle",
        "symbol": "TEST:A",
        "seq": 7,
        "token": TOKEN,
        "timeframe": "1m",
        "bar": closed,
    }
    assert told(commit, KEYS.events) == [event]
    assert list(commit.minutes) == [START_MS]


def test_an_amended_minute_is_told_as_such() -> None:
    commit = commit_of(MINUTE, NEXT, LATE)
    amend, candle = told(commit, KEYS.candles)
    assert (amend["type"], candle["type"]) == ("amend", "candle")
    (bar,) = amend["bars"]
    assert (bar["rev"], bar["n"], bar["isFinal"], "partial" in bar) == (1, 5, True, False)
    assert [event["type"] for event in told(commit, KEYS.events)] == ["amend"]


def test_a_minute_with_a_hole_in_it_is_partial() -> None:
    """Trade 5 is missing, and may have been in either minute."""
    message = told(commit_of(MINUTE, NEXT), KEYS.candles)[0]
    assert [bar.get("partial") for bar in message["bars"]] == [True, True]


def test_simulated_trades_make_simulated_bars() -> None:
    message = told(commit_of(MINUTE, sources=SIMULATED), KEYS.candles)[0]
    assert [bar["source"] for bar in message["bars"]] == ["simulated"]


def test_trades_are_published_for_those_who_listen() -> None:
    (message,) = told(commit_of(MINUTE), KEYS.trades)
    assert message.keys() == {"type", "symbol", "seq", "token", "trades"}
    assert message["type"] == "trade"
    assert message["trades"][2] == {
        "t": START_MS + 2,
        "id": 3,
        "p": Decimal("8.1"),
        "q": Decimal("54443"),
        "side": SIDE_NAMES[SELL],
    }
    assert not told(commit_of(MINUTE, wanted=False), KEYS.trades)


def test_the_packed_message_says_the_same_in_integers() -> None:
    builder, changes = last_step(PLAIN, [MINUTE, NEXT, LATE + Trades.of([Trade(START_MS + 120_000, 7, 1, 1, BUY)])])
    commit = make_commit(HEAD, builder, changes, FOREVER)
    message = CommitMessage.unpack(commit.message + commit.trades)
    assert (message.seq, message.token, message.watermark_ms) == (7, TOKEN, START_MS + 120_000)
    assert message.closed == [minute.candle for minute in changes.closed.values()]
    assert message.amended == [minute.candle for minute in changes.amended.values()]
    assert changes.open and message.open == changes.open.candle
    assert message.coverage_json == commit.checkpoint.coverage
    assert codec.unpack_trades(message.trades) == changes.trades == codec.unpack_trades(commit.trades)


def test_the_commit_stands_where_its_writer_does() -> None:
    commit = commit_of(MINUTE)
    assert (commit.token, commit.seq, commit.position, commit.health) == (TOKEN, 6, "here", {"mode": "LIVE"})
    assert (commit.trade_count, commit.trades) == (4, codec.pack_trades(MINUTE))


def test_a_step_in_which_only_time_passed_tells_of_no_bars() -> None:
    builder, _ = last_step(PLAIN, [MINUTE])
    builder.apply(Trades(), START_MS + 2 * MINUTE_MS, {})
    later = builder.apply(Trades(), START_MS + 3 * MINUTE_MS, {})
    commit = make_commit(HEAD, builder, later, FOREVER)
    assert later.moved
    assert commit.message and commit.messages == []


@pytest.mark.parametrize("batches", [(MINUTE, NEXT), (MINUTE, NEXT, LATE)])
def test_where_retention_ends_is_asked_when_a_minute_is_written(batches: tuple[Trades, ...]) -> None:
    commit = commit_of(*batches, retention=Retention(3, 2))
    today_ms = day_of(START_MS + MINUTE_MS)
    assert commit.floors_ms == {"candles": today_ms - 3 * DAY_MS, "footprints": today_ms - 2 * DAY_MS}


def test_while_no_minute_is_written_nothing_is_dropped() -> None:
    commit = commit_of(MINUTE, retention=Retention(3, 2))
    assert commit.floors_ms == {}


def test_an_amendment_beyond_retention_is_told_while_its_minute_is_kept() -> None:
    """What the archive has not got is not dropped, and is still corrected."""
    far = Trades.of([Trade(START_MS + 5 * DAY_MS, 6, 815, 1_000, BUY)])
    builder, changes = last_step(PLAIN, [MINUTE, far, LATE])
    commit = make_commit(
        replace(HEAD, stored={open_ms: minute.candle for open_ms, minute in changes.amended.items()}),
        builder,
        changes,
        Retention(3, 2),
    )
    assert list(commit.minutes) == list(changes.amended) != []


def test_what_late_trades_make_of_a_minute_that_is_gone_is_for_the_store_and_told_to_nobody() -> None:
    """It is no candle, but a part of one that the archive has. The feed reads again what it has made of it."""
    far = Trades.of([Trade(START_MS + 5 * DAY_MS, 6, 815, 1_000, BUY)])
    builder, changes = last_step(PLAIN, [MINUTE, far, LATE])
    commit = make_commit(HEAD, builder, changes, Retention(3, 2))
    assert list(commit.minutes) == list(changes.amended) != []
    assert commit.events == [] and not [bars for bars in told(commit, KEYS.candles) if bars["type"] == "amend"]
    message = CommitMessage.unpack(commit.message + commit.trades)
    assert message.amended == [minute.candle for minute in changes.amended.values()]
    # Nor is it told once minutes are kept for longer than they were.
    commit = make_commit(replace(HEAD, floor_ms=max(changes.amended) + 1), builder, changes, FOREVER)
    assert commit.events == [] and list(commit.minutes) == list(changes.amended)
    # The venue's own candle has all trades of its minute: with what the archive has they would be counted twice.
    commit = make_commit(replace(HEAD, replaced=changes.amended), builder, changes, Retention(3, 2))
    assert commit.minutes == {}
