"""A symbol is changed while it has data: everything is as if it had been so from the beginning."""

import random
from dataclasses import replace
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from common.errors import BadInput, Fenced, OperatorError, StoreUnavailable
from common.market.builder.gaps import Ledger
from common.market.coding import codec
from common.market.instrument import Instrument
from common.market.rescaling import Rescaling
from common.market.timeframes.calendar_exceptions import SessionException
from common.market.timeframes.periods import DAY
from common.market.timeframes.timeframe import DAY_MS, Timeframe, minute_of
from common.market.trade import Trade
from common.market.walk import Walk
from common.series import FOOTPRINTS
from common.store.calendars import CalendarStore, adopt
from common.store.change import ChangeStart
from common.store.format import FORMAT
from common.store.instrument import stored_instrument
from common.store.keys import FORMAT_KEY, SymbolKeys
from common.store.registry import Registry
from common.store.rollups import RollupStore
from tests.kit.asked import all_answers
from tests.kit.served import Served, hear, say, served
from tests.kit.writer import INSTRUMENT, Writer, random_step
from tests.scale import scaled
from workers.change import procedure
from workers.change.procedure import Changed, Changer
from workers.change.request import Request
from workers.change.shadows import Shadows

S = INSTRUMENT.symbol
KEYS = SymbolKeys(S)


async def change(url: str, **fields: Any) -> Changed:
    return await Changer(url, S, Request(**fields), "tests:2", 6_000, 10_000).run()


async def filled(client: Redis, seed: int, steps: int = 60, **options: Any) -> Writer:
    """A symbol with a past: sealed days, open minutes, late trades, gaps."""
    writer, rng = await Writer.begun(client, **options), random.Random(seed)
    for _ in range(steps):
        await random_step(writer, rng)
    return writer


def finer(trade: Trade, price: int, size: int) -> Trade:
    return trade._replace(price_ticks=trade.price_ticks * 10**price, size_lots=trade.size_lots * 10**size)


@pytest.mark.parametrize("seed", range(scaled(3)))
async def test_more_decimals_change_no_number(feed: Served, client: Redis, redis_url: str, seed: int) -> None:
    writer = await filled(client, seed)
    before = await all_answers(feed, S)
    done = await change(redis_url, price_decimals=4, size_decimals=5)
    assert done.now.instrument == replace(INSTRUMENT, price_decimals=4, size_decimals=5)
    assert await all_answers(feed, S) == before
    data = await stored_instrument(client, S)
    assert data and data.instrument == done.now.instrument and data.unnamed == INSTRUMENT.scale
    # It goes on, also into days that were sealed before, in numbers that did not fit.
    writer.instrument = done.now.instrument
    await writer.claim()
    rng = random.Random(seed)
    for _ in range(30):
        await random_step(writer, rng)
    late = writer.trade(writer.applied[0].trade.ts_ms + 1, ticks=100_0001, lots=3)
    await writer.commit(late)
    await writer.roll_up()
    minute = (await feed.json(f"/v1/candles/{S}", timeframe="1m", limit=1, start=late.ts_ms // 60_000 * 60_000))["bars"]
    assert minute[0]["l"] <= 100.0001
    back = await all_answers(feed, S)
    with pytest.raises(BadInput, match=f"symbol {S} can't be changed: (price|size) .* has more than"):
        await change(redis_url, price_decimals=2)
    assert await all_answers(feed, S) == back
    assert not await client.exists(KEYS.changing, *map(KEYS.shadow, KEYS.rewritten()))


async def test_a_simulated_market_goes_on_at_its_price(client: Redis, redis_url: str) -> None:
    """Which is part of its position."""
    await filled(client, 5, steps=3)
    await Registry(client).change_symbol(S, lambda market: replace(market, source={"kind": "simulator"}))
    await client.hset(KEYS.state, "position", Walk(7, 64_000_50, 12.5).position)
    for decimals, ticks in ((4, 64_000_5000), (2, 64_000_50)):
        await change(redis_url, price_decimals=decimals)
        position: Any = await client.hget(KEYS.state, "position")
        assert Walk.at(position.decode()) == Walk(7, ticks, 12.5)


async def test_what_was_made_finer_can_be_made_coarser_again(feed: Served, client: Redis, redis_url: str) -> None:
    await filled(client, 7)
    before, stored = await all_answers(feed, S), await everything(client)
    await change(redis_url, price_decimals=6, size_decimals=6)
    assert await everything(client) != stored
    await change(redis_url, price_decimals=2, size_decimals=3)
    assert await all_answers(feed, S) == before
    assert await everything(client) == stored


async def everything(client: Redis) -> dict[str, Any]:
    """All series as they are stored; of the stream all but what the changes themselves have written."""
    found: dict[str, Any] = {}
    for key in KEYS.rewritten()[1:]:
        found[key] = await client.zrange(key, 0, -1, withscores=True)
    entries: Any = await client.xrange(KEYS.trades)
    found["trades"] = [(entry_id, fields) for entry_id, fields in entries if fields[b"n"] != b"0"]
    found["open"] = await client.hmget(KEYS.state, ("candle", "footprint", "coverage", "watermark_ms"))
    return found


async def test_it_is_as_if_it_had_been_so_from_the_beginning(client: Redis, redis_url: str) -> None:
    """Byte for byte, but for the blocks of days, which keep their own scale."""
    rescaling = Rescaling(INSTRUMENT.scale, replace(INSTRUMENT, price_decimals=5, size_decimals=4).scale)
    writer = await filled(client, 11)
    written = await everything(client)
    await change(redis_url, price_decimals=5, size_decimals=4)
    changed = await everything(client)
    for key in KEYS.rewritten()[1:]:
        pack = rescaling.footprint if "footprints" in key else rescaling.candle
        if "late" not in key:
            assert changed[key] == [[pack(member), score] for member, score in written[key]]
    for key in (KEYS.minutes(FOOTPRINTS), KEYS.candles):
        for member, _ in changed[key]:
            again = codec.pack_candle(codec.unpack_candle(member)) if key == KEYS.candles else member
            assert again == member
    assert changed["trades"] == [
        (entry_id, {**fields, b"trades": rescaling.trades(fields[b"trades"])}) for entry_id, fields in written["trades"]
    ]
    assert writer.seq + 1 == int(await client.hget(KEYS.state, "seq") or 0)


async def test_a_symbol_without_data_is_changed_in_the_registry_alone(client: Redis, redis_url: str) -> None:
    await Writer(client).register()
    done = await change(redis_url, price_decimals=5, ids="unique", calendar="XNYS", candle_days=7)
    market = await Registry(client).market(S)
    assert market == done.now and market.candle_days == 7
    assert market.instrument == Instrument(S, 5, 3, "unique", "XNYS")


async def test_what_does_not_fit_is_refused_before_anything_is_written(client: Redis, redis_url: str) -> None:
    writer = await Writer.begun(client)
    await writer.commit(writer.trade(ticks=9_900_000_000_000, lots=10**12))
    before = await everything(client)
    wanted: list[tuple[dict[str, Any], str]] = [
        ({"price_decimals": 5}, "price 99000000000 is too great for 5 decimals"),
        ({"size_decimals": 10}, "size 1000000000 is too great for 10 decimals"),
        ({"price_decimals": 19}, "price_decimals is 19"),
        ({"calendar": "NOWHERE"}, "calendar 'NOWHERE'"),
    ]
    for fields, sentence in wanted:
        with pytest.raises(BadInput, match=sentence):
            await change(redis_url, **fields)
        assert await everything(client) == before
        assert not await client.exists(KEYS.changing, *map(KEYS.shadow, KEYS.rewritten()))


@pytest.mark.parametrize("seed", range(scaled(4)))
async def test_what_comes_while_it_is_laid_down_is_in_it(
    feed: Served, client: Redis, redis_url: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trades, late ones, minutes that close, days that are rolled up: by a worker that goes on until it is fenced."""
    writer, rng, told = await filled(client, seed), random.Random(seed), list[Any]()
    lay = Shadows.lay

    async def lay_meanwhile(self: Shadows, look: ChangeStart) -> None:
        await lay(self, look)
        if len(told) < 2:
            # The first attempt has fenced it.
            await writer.claim()
            for _ in range(12):
                await random_step(writer, rng)
            told.append(await all_answers(feed, S))

    monkeypatch.setattr(Shadows, "lay", lay_meanwhile)
    await change(redis_url, price_decimals=4, size_decimals=5)
    assert await all_answers(feed, S) == told[-1]
    with pytest.raises(Fenced):
        await writer.commit(writer.trade())


async def test_without_what_came_meanwhile_nothing_is_taken_in(
    client: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: a change that does not look again is refused, for the lengths differ."""
    writer, lay = await filled(client, 3), Shadows.lay

    async def lay_meanwhile(self: Shadows, look: ChangeStart) -> None:
        await lay(self, look)
        for minute in range(3):
            await writer.commit(writer.trade(writer.now_ms + 60_000 * minute))

    async def follow(self: Shadows, look: ChangeStart) -> bool:
        return True

    monkeypatch.setattr(Shadows, "lay", lay_meanwhile)
    monkeypatch.setattr(Shadows, "follow", follow)
    monkeypatch.setattr(procedure, "ATTEMPTS", 1)
    before = await stored_instrument(client, S)
    with pytest.raises(StoreUnavailable, match="changed under every attempt"):
        await change(redis_url, price_decimals=4)
    assert await stored_instrument(client, S) == before


async def test_ids_that_were_contiguous_become_unique(feed: Served, client: Redis, redis_url: str) -> None:
    """What is known stays known, what was missing stays missing, and nobody waits for it any more."""
    writer = await Writer.begun(client)
    for _ in range(5):
        await writer.commit(writer.trade(writer.now_ms + 60_000))
    left_out = writer.trade(writer.now_ms + 60_000)
    for _ in range(5):
        await writer.commit(writer.trade(writer.now_ms + 60_000))
    (gap,) = Ledger().follow(writer.builder.coverage, "disconnect", 5)
    await client.hset(KEYS.gaps, gap.id, gap.dump())
    bars = (await feed.json(f"/v1/candles/{S}"))["bars"]
    assert any(bar.get("partial") for bar in bars)
    await change(redis_url, ids="unique")
    assert (await feed.json(f"/v1/candles/{S}"))["bars"] == bars
    (told,) = (await feed.json(f"/v1/gaps/{S}"))["gaps"]
    assert (told["id"], told["state"], told["missing"]) == (gap.id, "unfillable", 1)
    event = orjson.loads((await client.xrevrange(KEYS.events, count=1))[0][1][b"event"])  # type: ignore[index]
    assert (event["type"], event["gap"]["state"]) == ("gap", "unfillable")
    writer.instrument = replace(INSTRUMENT, ids="unique")
    await writer.claim()
    known = writer.applied[3].trade
    # One that was applied; one that was missing; one with an id that does not follow.
    await writer.commit(known, left_out, writer.trade(writer.now_ms + 1)._replace(id=10**15))
    assert writer.builder.refused == {"duplicate": 1}
    trades = (await feed.json(f"/v1/trades/{S}"))["trades"]
    assert [trade["id"] for trade in trades] == [*range(1, 12), 10**15]
    with pytest.raises(BadInput, match="has trades whose ids need not be contiguous"):
        await change(redis_url, ids="contiguous")


@pytest.mark.parametrize("form", [1, FORMAT])
async def test_all_that_was_missing_stays_missing_when_ids_become_unique(
    feed: Served, client: Redis, redis_url: str, form: int
) -> None:
    """What is told of them is the same, also by a worker that goes on, and what is stored is small.

    `form`: of the symbol, in a store that has been upgraded.
    """
    writer = await Writer.begun(client, format=form)
    for _ in range(100):
        writer.trade()
        await writer.commit(writer.trade(writer.now_ms + 700), writer.trade(writer.now_ms + 61_000))
    before = await all_answers(feed, S)
    told = [answer for (path, _), answer in before.items() if "candles" in path]
    assert all(answer["gaps"] and any(bar.get("partial") for bar in answer["bars"]) for answer in told)
    await change(redis_url, ids="unique")
    assert await all_answers(feed, S) == before
    writer.instrument = replace(INSTRUMENT, ids="unique")
    await writer.claim()
    assert await all_answers(feed, S) == before
    covered = writer.builder.coverage.covers
    bars = before[f"/v1/candles/{S}", str({"timeframe": "1m"})]["bars"]
    assert [not covered(bar["t"], bar["t"] + 60_000) for bar in bars] == [bar.get("partial", False) for bar in bars]
    await writer.commit(writer.trade(writer.now_ms + 61_000))
    after = await all_answers(feed, S)
    for asked, answer in before.items():
        if "candles" in asked[0] and asked[1] != str({"timeframe": "1s"}):
            assert after[asked]["gaps"] == answer["gaps"]
            assert {b["t"] for b in after[asked]["bars"] if b.get("partial")} == {
                b["t"] for b in answer["bars"] if b.get("partial")
            }
    assert not await client.hexists(KEYS.state, "coverage")
    assert len(await client.hget(KEYS.state, "newest_span") or b"") < 100


async def test_while_processes_of_an_older_release_may_write_no_data_is_changed(client: Redis, redis_url: str) -> None:
    """They would take what has been changed for what it was."""
    await filled(client, 5, format=1)
    await client.set(FORMAT_KEY, 1)
    with pytest.raises(OperatorError, match="the store is in format 1, .*: fleet upgrade first"):
        await change(redis_url, price_decimals=4)
    assert (await change(redis_url, candle_days=9)).now.candle_days == 9
    await client.set(FORMAT_KEY, FORMAT)
    assert (await change(redis_url, price_decimals=4)).now.instrument.price_decimals == 4


async def test_of_more_ids_than_are_known_what_is_older_is_refused(client: Redis, redis_url: str) -> None:
    writer = await Writer.begun(client, trades_kept=70_000)
    for _ in range(12):
        rows = [writer.trade(writer.now_ms + 1) for _ in range(5_000)]
        await writer.commit(*rows)
    await change(redis_url, ids="unique")
    writer.instrument = replace(INSTRUMENT, ids="unique")
    await writer.claim()
    old, recent = writer.applied[9_998].trade, writer.applied[10_001].trade
    await writer.commit(old._replace(id=10**9), recent._replace(id=10**9 + 1), recent)
    assert writer.builder.refused == {"too_late": 1, "duplicate": 1}


@pytest.mark.parametrize("calendar", ["FOREX", "XNYS"])
async def test_days_follow_another_calendar_at_once_and_when_they_have_been_made_again(
    feed: Served, client: Redis, redis_url: str, calendar: str
) -> None:
    """Today: days are lost, and a running feed stays wrong after a rebuild."""
    writer, rng = await Writer.begun(client), random.Random(1)
    for _ in range(400):
        await writer.commit(writer.trade(writer.now_ms + rng.randrange(3_000_000), rng.randint(9_000, 11_000), 5))
    await writer.roll_up()
    for timeframe in ("1d", "1w", "1M"):
        await feed.json(f"/v1/candles/{S}", timeframe=timeframe)
    instrument = replace(INSTRUMENT, calendar=calendar)
    async with feed.connect() as socket:
        await say(socket, action="subscribe", symbol=S, timeframe="1d")
        days_traded = {one.trade.ts_ms // DAY_MS for one in writer.applied}
        assert len((await hear(socket, "snapshot"))["bars"]) == len(days_traded)
        done = await change(redis_url, calendar=calendar)
        assert done.days == len(days_traded)
        snapshot = await hear(socket, "snapshot")
        assert snapshot["reset"] and snapshot["bars"] == await days(feed)
        expected = [bar(open_ms, rows) for open_ms, rows in grouped(writer, instrument.anchored(DAY))]
        assert [tuple(one[name] for name in "tohlcvn") for one in await days(feed)] == expected
        writer.instrument = instrument
        await writer.roll_up()
        assert [tuple(one[name] for name in "tohlcvn") for one in await days(feed)] == expected
        stored: Any = await client.zrange(KEYS.rolled("1d"), 0, -1)
        opens = [codec.candle_open(member) for member in stored]
        assert opens == [
            one[0] for one in expected if instrument.anchored(DAY).next_open(one[0]) <= writer.builder.watermark_ms
        ]
        await writer.claim()
        await writer.commit(writer.trade(writer.now_ms + 1, 12_000))
    async with served(redis_url) as other:
        for timeframe in ("1d", "1w", "1M"):
            paths = [await one.json(f"/v1/candles/{S}", timeframe=timeframe) for one in (feed, other)]
            assert paths[0]["bars"] == paths[1]["bars"]


async def test_what_a_calendar_had_otherwise_is_left_behind_with_it(client: Redis, redis_url: str) -> None:
    instrument = replace(INSTRUMENT, calendar="XNYS")
    writer, rng = await Writer.begun(client, instrument=instrument), random.Random(1)
    for _ in range(40):
        await writer.commit(writer.trade(writer.now_ms + rng.randrange(30_000_000), rng.randint(9_000, 11_000), 5))
    await CalendarStore(client).change("XNYS", [SessionException.of("2023-11-15", "09:15", "10:00")])
    assert await adopt(client, (market.instrument for market in (await Registry(client).symbols()).values()))
    assert (await change(redis_url, calendar="24x7")).days
    writer.instrument = INSTRUMENT
    await writer.roll_up()
    assert not (await RollupStore(client, S).due()).days
    assert await client.zcard(KEYS.rolled("1d")) > 5


async def days(feed: Served) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await feed.json(f"/v1/candles/{S}", timeframe="1d"))["bars"]
    return found


def grouped(writer: Writer, timeframe: Timeframe) -> list[tuple[int, list[Trade]]]:
    found: dict[int, list[Trade]] = {}
    for trade in sorted(one.trade for one in writer.applied):
        if timeframe.holds(minute_of(trade.ts_ms)):
            found.setdefault(timeframe.open_of(minute_of(trade.ts_ms)), []).append(trade)
    return sorted(found.items())


def bar(open_ms: int, trades: list[Trade]) -> tuple[Any, ...]:
    prices = [trade.price_ticks / 100 for trade in trades]
    return open_ms, prices[0], max(prices), min(prices), prices[-1], round(0.005 * len(trades), 3), len(trades)
