"""`GET /v1/candles`: 500 x 15m out of a year of minutes, and the same query out of one day of them."""

import asyncio
import http.client
import random

import redis

from common.market.builder.builder import Builder
from common.market.coding import codec
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS
from common.market.trade import Trade, Trades
from common.store.client import commit_client
from common.store.commit import StreamBounds
from common.store.keys import SymbolKeys
from common.store.lease import NOTHING_SEEN, new_token
from common.store.registry import Market, Registry
from common.store.symbol import Claim, SymbolStore
from infra.bench.base import Figure, ask_once, feed, percentile, store
from workers.symbol.commit import CommitHead, Retention, make_commit

YEAR, DAY = "BENCH:YEAR", "BENCH:DAY"
DAYS = {YEAR: 365, DAY: 1}
ROUNDS = 300
MAX_P50_MS, MAX_RATIO = 3.0, 1.3
# Of the answer to who has a closed range already.
MAX_HELD_MS = 1.0
# Of several timeframes in one call, and against as many calls.
TIMEFRAMES = ("1min", "5min", "15min", "30min", "1h", "4h", "1d")
MAX_SEVERAL_MS, MAX_SEVERAL_RATIO = 6.0, 0.5
BARS_OF_A_DAY = 96
_START_MS = 1_700_006_400_000
_PAGE = 5_000


def measure() -> list[Figure]:
    with store() as url:
        asyncio.run(_fill(url))
        times = asyncio.run(_measure(url))
    year, day, same_year, same_day, held, several, apart = (percentile(values, 0.5) * 1e3 for values in times)
    ratio, same_ratio = year / day, same_year / same_day
    what = "GET /v1/candles"
    return [
        Figure(
            f"{what} 500 x 15m of a year of minutes, p50", f"<= {MAX_P50_MS} ms", f"{year:.2f} ms", year <= MAX_P50_MS
        ),
        Figure(
            f"{what} the same query of one day (has 96 bars)",
            f"<= {MAX_RATIO} x",
            f"{ratio:.2f} x",
            ratio <= MAX_RATIO,
        ),
        Figure(
            f"{what} 96 x 15m of both: the same answer size",
            f"<= {MAX_RATIO} x",
            f"{same_ratio:.2f} x",
            same_ratio <= MAX_RATIO,
        ),
        Figure(
            f"{what} 500 x 15m that the client has, asked with their tag: 304, p50",
            f"<= {MAX_HELD_MS:.0f} ms",
            f"{held:.2f} ms",
            held <= MAX_HELD_MS,
        ),
        Figure(
            f"{len(TIMEFRAMES)} timeframes x 500 bars of a year in one call, p50",
            f"<= {MAX_SEVERAL_MS:.0f} ms",
            f"{several:.2f} ms",
            several <= MAX_SEVERAL_MS,
        ),
        Figure(
            f"{len(TIMEFRAMES)} timeframes x 500 bars in one call, against GET /v1/candles of each",
            f"<= {MAX_SEVERAL_RATIO} x",
            f"{several / apart:.2f} x",
            several / apart <= MAX_SEVERAL_RATIO,
        ),
    ]


async def _measure(url: str) -> list[list[float]]:
    async with feed(url) as port:
        return await asyncio.to_thread(_ask, port)


def _ask(port: int) -> list[list[float]]:
    """All in turn, round by round, on one connection: they meet the same machine."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    asked = [(YEAR, 500), (DAY, 500), (YEAR, BARS_OF_A_DAY), (DAY, BARS_OF_A_DAY)]
    times: list[list[float]] = [[] for _ in (*asked, "held", "several", "apart")]
    several = f"/api/multi-timeframe/ohlcv/{YEAR}?timeframes={','.join(TIMEFRAMES)}&lookback=500"
    each = [f"/v1/candles/{YEAR}?timeframe={timeframe}&limit=500" for timeframe in TIMEFRAMES]
    closed = f"/v1/candles/{YEAR}?timeframe=15m&limit=500&end={_START_MS + 364 * DAY_MS}"
    connection.request("GET", closed)
    answer = connection.getresponse()
    answer.read()
    tag = answer.headers["etag"]
    for _ in range(ROUNDS):
        for values, (symbol, limit) in zip(times, asked, strict=False):
            values.append(ask_once(connection, f"/v1/candles/{symbol}?timeframe=15m&limit={limit}"))
        times[-3].append(ask_once(connection, closed, 304, {"if-none-match": tag}))
        times[-2].append(ask_once(connection, several))
        times[-1].append(sum(ask_once(connection, path) for path in each))
    connection.close()
    return times


async def _fill(url: str) -> None:
    async with commit_client(url) as client:
        for symbol, days in DAYS.items():
            instrument = Instrument(symbol, 2, 8, "contiguous")
            await Registry(client).add_symbol(Market(instrument, {"kind": "inbox"}))
            opens = _write_minutes(url, symbol, days)
            claim = await (symbol_store := SymbolStore(client, symbol, StreamBounds(100_000, 10_000))).claim(
                token := new_token(), NOTHING_SEEN, "bench"
            )
            assert isinstance(claim, Claim)
            builder = Builder.new(instrument)
            last = Trades.of([_trade(opens[-1] + MINUTE_MS, len(opens))])
            changes = builder.step(last, last.ts_ms[0], {})
            await symbol_store.commit(make_commit(CommitHead(token, 0, "", {}), builder, changes, Retention(400, 40)))


def _write_minutes(url: str, symbol: str, days: int) -> range:
    """Closed minutes, written as a worker writes them, without the trades: loading a year takes seconds."""
    opens = range(_START_MS + (365 - days) * DAY_MS, _START_MS + 365 * DAY_MS, MINUTE_MS)
    members = {}
    with redis.Redis.from_url(url) as client:
        for number, open_ms in enumerate(opens):
            builder = Builder.new(Instrument(symbol, 2, 8, "contiguous"))
            builder.step(Trades.of([_trade(open_ms, number)]), open_ms, {})
            assert builder.open is not None
            members[codec.pack_candle(builder.open.candle)] = open_ms
            if len(members) == _PAGE:
                client.zadd(SymbolKeys(symbol).candles, members)
                members = {}
        if members:
            client.zadd(SymbolKeys(symbol).candles, members)
    return opens


def _trade(ts_ms: int, number: int) -> Trade:
    rng = random.Random(number)
    return Trade(ts_ms, number, 6_000_000 + rng.randrange(1_000_000), rng.randrange(1, 10**9), number % 2)
