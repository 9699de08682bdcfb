"""A symbol lives, and is changed again and again, by processes that are killed at any command they send.

Whatever happens: no number that was ever applied reads otherwise, nobody but the holder writes, and the command run
again ends what was cut off.
"""

import asyncio
import json
import os
import random
import re
from collections import Counter, defaultdict
from collections.abc import Awaitable, Iterable
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from typing import Any, TypeVar

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from redis.asyncio import Redis

from common.errors import BadInput, StoreUnavailable
from common.market.instrument import Instrument
from common.market.scale import Scale
from common.market.timeframes.periods import DAY
from common.market.timeframes.timeframe import MINUTE, Timeframe, minute_of
from common.store.client import commit_client
from common.store.instrument import InstrumentChanged, stored_instrument
from common.store.keys import SymbolKeys
from common.store.registry import Market, Registry
from feed.queries import candles, trades
from feed.queries.candles import CandleQuery
from feed.queries.endpoint import Endpoint
from feed.queries.queries import Queries, SymbolQueries
from feed.queries.trades import TradesQuery
from feed.reading.bounds import Window
from tests.kit.asked import body_of
from tests.kit.store.mortal import Life, mortal_client
from tests.kit.writer import INSTRUMENT, Saved, Writer, random_step
from workers.change import claim, procedure
from workers.change.procedure import Changer
from workers.change.request import Request

pytestmark = pytest.mark.chaos

S, KEYS = INSTRUMENT.symbol, SymbolKeys(INSTRUMENT.symbol)
EXAMPLES = int(os.environ.get("CHANGE_EXAMPLES", 10))
STEPS = 12
EVERYTHING = Window(None, None, 50_000)
# More commands than a change ever sends: it lives.
LONG = 10_000
T = TypeVar("T")

REQUESTS = st.one_of(
    st.builds(Request, price_decimals=st.integers(2, 5)),
    st.builds(Request, size_decimals=st.integers(3, 6)),
    st.sampled_from([Request(price_decimals=0), Request(size_decimals=1)]),
    st.builds(Request, price_decimals=st.integers(2, 5), size_decimals=st.integers(3, 6)),
    st.sampled_from(
        [Request(calendar="FOREX"), Request(calendar="24x7", zone="Europe/Berlin"), Request(calendar="24x7")]
    ),
    st.sampled_from([Request(ids="unique"), Request(candle_days=30), Request(footprint_days=3)]),
)
# Of processes that try one after the other, before the one that is left alone.
LIVES = st.lists(st.builds(Life, st.integers(1, 45), st.booleans()), max_size=4)

# What all runs together must have met.
met: Counter[str] = Counter()


class Machine(RuleBasedStateMachine):
    url: str

    @initialize(seed=st.integers(0, 1 << 30))
    def start(self, seed: int) -> None:
        self.loop, self.rng = asyncio.Runner(), random.Random(seed)
        self.client = self.run(self.connected())
        self.instrument = INSTRUMENT
        # Each applied trade as (time, id, price, size).
        self.trades: list[tuple[int, int, Decimal, Decimal]] = []
        self.writer = self.run(Writer.begun(self.client))
        self.kept = Queries(self.client, 6_000)
        # Without trades every change fits.
        for _ in range(3):
            self.trade()

    async def connected(self) -> Redis:
        client = commit_client(self.url)
        await client.flushall()
        return client

    def run(self, work: Awaitable[T]) -> T:
        async def awaited() -> T:
            return await work

        return self.loop.run(awaited())

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.run(self.client.aclose())
            self.loop.close()

    @rule()
    def trade(self) -> None:
        """Commits of a worker; minutes close, days end, late trades come."""
        known = len(self.writer.applied)
        self.run(random_step(self.writer, self.rng))
        scale = self.instrument.scale
        self.trades += [_exact(one.trade, scale) for one in self.writer.applied[known:]]

    @rule()
    def trade_for_long(self) -> None:
        for _ in range(15):
            self.trade()

    @rule()
    def roll_up(self) -> None:
        self.run(self.writer.roll_up())
        self.check()

    @rule(request=REQUESTS, lives=LIVES)
    def change(self, request: Request, lives: list[Life]) -> None:
        """By processes that may be killed. What one was cut off from, the next ends."""
        wanted = request.instrument(self.instrument)
        allowed = self.fits(wanted) and (self.instrument.ids, wanted.ids) != ("unique", "contiguous")
        for life in [*map(replace, lives), Life(LONG, arrives=False)]:
            if not self.killed(request, life, allowed):
                break
            self.look_back(wanted)
        if allowed:
            self.instrument = wanted
            met["changed"] += 1
        self.take_back()
        market = self.run(Registry(self.client).market(S))
        assert market and market.instrument == self.instrument
        assert (market.candle_days or 30, market.footprint_days or 3) == (30, 3)
        assert not self.run(self.client.exists(KEYS.changing, *map(KEYS.shadow, KEYS.rewritten())))
        self.check()

    def killed(self, request: Request, life: Life, allowed: bool) -> bool:
        """Run the command; whether it was killed."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(procedure, "commit_client", lambda url: mortal_client(url, life))
            patch.setattr(claim, "LOOK_S", 0.001)
            changer = Changer(self.url, S, request, "tests:2", 1, 10_000)
            try:
                self.run(changer.run())
            except StoreUnavailable:
                assert life.dead
                met["killed"] += 1
                return True
            except BadInput as error:
                assert not allowed, error
                met["refused"] += 1
                return False
        assert allowed
        return False

    def look_back(self, wanted: Instrument) -> None:
        """After a kill the data is of the one or the other, and whoever asks is answered."""
        data, market = self.run(stored_instrument(self.client, S)), self.run(Registry(self.client).market(S))
        assert market and (data is None or data.instrument in (self.instrument, wanted))
        if data and data.instrument != market.instrument:
            assert not data.mismatch(market.instrument)
        self.check()

    def take_back(self) -> None:
        """The worker claims the symbol, of what it is by now."""
        self.writer.instrument = self.instrument
        self.run(self.writer.claim())

    def fits(self, wanted: Instrument) -> bool:
        price, size = Decimal(1).scaleb(-wanted.price_decimals), Decimal(1).scaleb(-wanted.size_decimals)
        return all(not p % price and not q % size for _, _, p, q in self.trades)

    def check(self) -> None:
        """Every answer, of a feed that keeps what it has read and of a new one, is the truth."""
        if not self.trades:
            return
        for queries in (self.kept, Queries(self.client, 6_000)):
            told = self.asked(queries, trades.ENDPOINT, TradesQuery(None, None, 10_000, "json"))["trades"]
            assert [(t["t"], t["id"], t["p"], t["q"]) for t in told] == sorted(self.trades)
            market = self.run(queries.market(S))
            for timeframe in (MINUTE, DAY):
                bars = self.asked(queries, candles.ENDPOINT, CandleQuery(timeframe, EVERYTHING, "none", "json"))["bars"]
                assert [_bar(bar) for bar in bars] == list(_bars(self.trades, market.instrument.anchored(timeframe)))

    def asked(self, queries: Queries, endpoint: Endpoint[SymbolQueries, Any], query: Any) -> dict[str, Any]:
        """As feed.web.routes does: again, where the symbol has been changed."""

        async def ask() -> bytes:
            for _ in range(3):
                with suppress(InstrumentChanged):
                    market: Market = await queries.market(S)
                    return await body_of(endpoint, queries, market, query)
                queries.forget(S)
            raise AssertionError("it changes under every attempt")

        answer: dict[str, Any] = _exact_json(self.run(ask()))
        return answer


def _exact(trade: Any, scale: Scale) -> tuple[int, int, Decimal, Decimal]:
    price = Decimal(trade.price_ticks).scaleb(-scale.price_decimals)
    return trade.ts_ms, trade.id, price, Decimal(trade.size_lots).scaleb(-scale.size_decimals)


def _exact_json(text: bytes) -> Any:
    return json.loads(text, parse_float=Decimal)


def _bar(bar: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(bar[name] for name in ("t", "o", "h", "l", "c", "v", "q", "n"))


def _bars(trades: Iterable[tuple[int, int, Decimal, Decimal]], timeframe: Timeframe) -> Iterable[tuple[Any, ...]]:
    """By the definition of a bar."""
    by_open: dict[int, list[tuple[Decimal, Decimal]]] = defaultdict(list)
    for ts_ms, _, price, size in sorted(trades):
        if timeframe.holds(minute_of(ts_ms)):
            by_open[timeframe.open_of(minute_of(ts_ms))].append((price, size))
    for open_ms, rows in sorted(by_open.items()):
        prices = [price for price, _ in rows]
        volume, turnover = sum(size for _, size in rows), sum(price * size for price, size in rows)
        yield open_ms, prices[0], max(prices), min(prices), prices[-1], volume, turnover, len(rows)


# Of the ledger and of events: when a gap ended, who wrote it, and when it was told.
_ITS_OWN = re.compile(rb'"(token|endedAt|ended_ms|at)":("\w+"|\d+)')

SCENARIOS = {
    "finer": Request(price_decimals=4, size_decimals=5),
    "coarser": Request(price_decimals=1, size_decimals=2),
    "ids": Request(ids="unique"),
    "calendar": Request(calendar="FOREX", candle_days=30),
}


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_a_change_killed_at_any_command_has_happened_or_not_and_ends_when_it_is_run_again(
    redis_url: str, scenario: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, life = SCENARIOS[scenario], Life(LONG, arrives=True)
    monkeypatch.setattr(procedure, "commit_client", lambda url: mortal_client(url, life))
    monkeypatch.setattr(claim, "LOOK_S", 0.001)
    async with commit_client(redis_url) as client:
        await client.flushall()
        writer = await Writer.begun(client)
        await some_days(writer, coarse=scenario == "coarser")
        before, saved = await writer.save(), await stored(client)
        changer = Changer(redis_url, S, request, "tests:2", 1, 10_000)
        # The first one of all sends the texts of scripts, too: the second is counted.
        for _ in range(2):
            life = Life(LONG, arrives=True)
            await begin_again(writer, before)
            await changer.run()
        changed, commands = await stored(client), LONG - life.left
        assert changed != saved and commands > 10
        for at in range(1, commands + 1):
            await begin_again(writer, before)
            # To be killed when a command has arrived is to be killed before the next one.
            life = Life(at, arrives=False)
            with suppress(StoreUnavailable):
                # Its last commands give back what it held: it does not hear of its own death.
                await changer.run()
            assert life.dead and await stored(client) in (saved, changed)
            life = Life(LONG, arrives=False)
            await changer.run()
            assert await stored(client) == changed
            market = await Registry(client).market(S)
            assert market and market.instrument == request.instrument(INSTRUMENT)
            assert market.candle_days == request.candle_days


async def begin_again(writer: Writer, saved: Saved) -> None:
    await writer.rewind(saved)
    await Registry(writer.client).change_symbol(S, lambda market: Market(INSTRUMENT, market.source))


async def some_days(writer: Writer, *, coarse: bool) -> None:
    """Sealed days, open minutes, a gap, late trades; `coarse`: numbers that fit fewer decimals."""
    rng, step = random.Random(5), 10 if coarse else 1
    for at in range(60):
        writer.now_ms += rng.choice((500, 20_000, 3_600_000))
        ticks, lots = step * rng.randint(990, 1_010), step * rng.randint(1, 9)
        trade = writer.trade(writer.now_ms - rng.choice((0, 0, 90_000)), ticks, lots)
        if at != 30:
            await writer.commit(trade)
    await writer.roll_up()
    await writer.commit(writer.trade(writer.applied[5].trade.ts_ms, step * 995, step))


async def stored(client: Redis) -> dict[str, Any]:
    """All that there is of the symbol, but for who wrote it and what is in the way only while it is changed."""
    found: dict[str, Any] = {}
    for key in KEYS.all_keys():
        if not key.endswith(("changed", "changing", "owner")):
            found[key] = await value_of(client, key)
    for name in (b"token", b"updated_ms"):
        found[KEYS.state].pop(name, None)
    # Who has taken it over is told, too.
    found[KEYS.events] = [each for each in found[KEYS.events] or [] if b'"type":"taken"' not in each[1][b"event"]]
    found[KEYS.trades] = [(entry, {**fields, b"token": b""}) for entry, fields in found[KEYS.trades]]
    return found


def _without_its_own(fields: dict[bytes, bytes]) -> dict[bytes, bytes]:
    return {name: _ITS_OWN.sub(b"", value) for name, value in fields.items()}


async def value_of(client: Redis, key: str) -> Any:
    match await client.type(key):
        case b"hash":
            fields: Any = await client.hgetall(key)
            return _without_its_own(fields)
        case b"zset":
            return await client.zrange(key, 0, -1, withscores=True)
        case b"stream":
            entries: Any = await client.xrange(key)
            return [(entry, _without_its_own(fields)) for entry, fields in entries]
    return None


def test_a_symbol_that_is_changed_by_processes_that_are_killed(redis_url: str) -> None:
    Machine.url = redis_url
    met.clear()
    run_state_machine_as_test(
        Machine,
        settings=settings(deadline=None, max_examples=EXAMPLES, stateful_step_count=STEPS, derandomize=True),
    )
    missing = {"changed", "refused", "killed"} - met.keys()
    assert not missing, f"never met: {missing}, but {dict(met)}"
