"""The REST routes, as a client that reads the venue's documentation expects them."""

from typing import Any

import httpx2
import pytest

from common.market.trade import SELL, Trade
from infra.exchange import Exchange, StreamGap
from infra.exchange.market import ExchangeMarket
from tests.kit.exchange import EASY, START_MS, SYMBOL, Served, served, simulated, still

MINUTE_MS = 60_000


def row(market: ExchangeMarket, trade: Trade) -> dict[str, Any]:
    """A trade as REST shows it."""
    price, size = market.listing.price, market.listing.size
    return {
        "id": trade.id,
        "price": price(trade.price_ticks),
        "qty": size(trade.size_lots),
        "quoteQty": market.listing.turnover(trade.price_ticks * trade.size_lots),
        "time": trade.ts_ms,
        "isBuyerMaker": trade.side == SELL,
        "isBestMatch": True,
    }


def truth(market: ExchangeMarket) -> list[dict[str, Any]]:
    return [row(market, trade) for trade in market.trades().rows()]


async def test_general_routes() -> None:
    async with served(still("BTCUSDT", "ETHUSDT")) as running:
        assert await running.get("ping") == {}
        assert await running.get("time") == {"serverTime": START_MS}
        info = await running.get("exchangeInfo")
        assert [symbol["symbol"] for symbol in info["symbols"]] == ["BTCUSDT", "ETHUSDT"]
        assert info["rateLimits"][0] == {
            "rateLimitType": "REQUEST_WEIGHT",
            "interval": "MINUTE",
            "intervalNum": 1,
            "limit": EASY.weight_limit,
        }
        filters = {each["filterType"]: each for each in info["symbols"][0]["filters"]}
        assert filters["PRICE_FILTER"]["tickSize"] == "0.01000000"
        assert filters["LOT_SIZE"]["stepSize"] == "0.00001000"
        for chosen in ({"symbol": "ETHUSDT"}, {"symbols": '["ETHUSDT"]'}):
            assert [each["symbol"] for each in (await running.get("exchangeInfo", **chosen))["symbols"]] == ["ETHUSDT"]
        assert (await running.get("exchangeInfo", symbolStatus="HALT"))["symbols"] == []


async def test_trades_are_the_newest_and_historical_ones_go_by_id() -> None:
    async with served(still(history_ms=120_000)) as running:
        rows = truth(running.exchange.market(SYMBOL))
        assert len(rows) > 1_200
        assert await running.get("trades", symbol=SYMBOL) == rows[-500:]
        assert await running.get("trades", symbol=SYMBOL, limit=7) == rows[-7:]
        # More than the route gives is cut.
        assert await running.get("historicalTrades", symbol=SYMBOL, limit=5_000) == rows[-1_000:]
        assert await running.get("historicalTrades", symbol=SYMBOL, fromId=rows[40]["id"], limit=30) == rows[40:70]
        assert await running.get("historicalTrades", symbol=SYMBOL, fromId=1, limit=2) == rows[:2]
        assert await running.get("historicalTrades", symbol=SYMBOL, fromId=rows[-1]["id"] + 1) == []


async def test_aggregates_hold_every_trade_once_and_follow_the_time_rules() -> None:
    async with served(still(history_ms=120_000)) as running:
        rows = truth(running.exchange.market(SYMBOL))
        everything = await _all_aggregates(running)
        assert everything[0]["a"] == 1 and everything[0]["f"] == rows[0]["id"]
        assert all(before["l"] + 1 == after["f"] for before, after in zip(everything, everything[1:], strict=False))
        assert everything[-1]["l"] == rows[-1]["id"]
        assert any(each["l"] > each["f"] for each in everything)
        start_ms, end_ms = START_MS + 30_000, START_MS + 60_000
        inside = [each for each in everything if start_ms <= each["T"] <= end_ms]
        both = {"startTime": start_ms, "endTime": end_ms}
        assert await running.get("aggTrades", symbol=SYMBOL, limit=1_000, **both) == inside
        assert await running.get("aggTrades", symbol=SYMBOL, limit=3, **both) == inside[:3]
        assert (
            await running.get("aggTrades", symbol=SYMBOL, limit=3, startTime=inside[5]["T"])
            == [each for each in everything if each["T"] >= inside[5]["T"]][:3]
        )
        before = [each for each in everything if each["T"] <= end_ms]
        assert await running.get("aggTrades", symbol=SYMBOL, limit=3, endTime=end_ms) == before[-3:]
        assert await running.get("aggTrades", symbol=SYMBOL, limit=3, endTime=end_ms * 1_000) == before[-3:]
        assert await running.get("aggTrades", symbol=SYMBOL, limit=3) == everything[-3:]


async def _all_aggregates(running: Served) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while page := await running.get("aggTrades", symbol=SYMBOL, limit=1_000, fromId=len(found) + 1):
        found += page
    return found


async def test_aggregates_of_an_hour_at_most_are_asked_for_by_time() -> None:
    async with served(still()) as running:
        hour: dict[str, str | int] = {"symbol": SYMBOL, "startTime": START_MS, "endTime": START_MS + 3_600_000}
        assert await running.get("aggTrades", **hour) == []
        assert await running.refused("aggTrades", **hour | {"endTime": START_MS + 3_600_001}) == (400, -1127)
        assert await running.refused("aggTrades", symbol=SYMBOL, fromId=1, startTime=START_MS) == (400, -1128)


async def test_klines_open_in_the_span_and_the_last_one_is_still_forming() -> None:
    async with served(still(history_ms=10 * MINUTE_MS + 20_000)) as running:
        rows = await running.get("klines", symbol=SYMBOL, interval="1m")
        opens = [START_MS + at * MINUTE_MS for at in range(11)]
        assert [each[0] for each in rows] == opens
        assert all(each[6] == each[0] + 59_999 and len(each) == 12 and each[11] == "0" for each in rows)
        assert rows == await running.get("uiKlines", symbol=SYMBOL, interval="1m")
        running.exchange.advance(30_000)
        forming = (await running.get("klines", symbol=SYMBOL, interval="1m", limit=1))[0]
        assert forming[0] == rows[-1][0] and forming[8] > rows[-1][8]
        ask = {"symbol": SYMBOL, "interval": "1m"}
        assert await running.get("klines", **ask, startTime=opens[2], limit=3) == rows[2:5]
        assert await running.get("klines", **ask, startTime=opens[2] + 1, endTime=opens[4]) == rows[3:5]
        assert await running.get("klines", **ask, endTime=opens[4] + 5, limit=2) == rows[3:5]


async def test_klines_of_a_time_zone_open_on_its_grid() -> None:
    async with served(still(history_ms=20_000)) as running:
        ask = {"symbol": SYMBOL, "interval": "1d"}
        for zone, hours in (("0", 0), ("8", -8), ("-1:00", 1), ("05:45", -5.75)):
            (day,) = await running.get("klines", **ask, timeZone=zone)
            assert (day[0] - int(hours * 3_600_000)) % (24 * 3_600_000) == 0
            assert day[6] == day[0] + 24 * 3_600_000 - 1
        for zone in ("15", "-12:01", "x", "1:60"):
            assert await running.refused("klines", **ask, timeZone=zone) == (400, -1130)


async def test_a_minute_without_trades_is_flat() -> None:
    markets = simulated(SYMBOL, orders_per_s=0.05)
    async with served(Exchange(markets, start_ms=START_MS, history_ms=20 * MINUTE_MS, rules=EASY)) as running:
        rows = await running.get("klines", symbol=SYMBOL, interval="1m")
        quiet = [(before, each) for before, each in zip(rows, rows[1:], strict=False) if each[8] == 0]
        assert quiet
        for before, each in quiet:
            assert each[1] == each[2] == each[3] == each[4] == before[4]
            assert each[5] == each[7] == each[9] == "0.00000000"
        assert all(after[0] - before[0] == MINUTE_MS for before, after in zip(rows, rows[1:], strict=False))


async def test_depth_is_the_book_of_its_update_id() -> None:
    async with served(still(history_ms=5_000)) as running:
        market = running.exchange.market(SYMBOL)
        for limit, levels in ((None, 100), (5, 5), (9_999, 400)):
            answer = await running.get("depth", symbol=SYMBOL, **({"limit": limit} if limit else {}))
            state = market.book.at(answer["lastUpdateId"])
            price, size = market.listing.price, market.listing.size
            bids = [[price(at), size(lots)] for at, lots in sorted(state.bids.items(), reverse=True)]
            asks = [[price(at), size(lots)] for at, lots in sorted(state.asks.items())]
            assert answer["bids"] == bids[:levels] and answer["asks"] == asks[:levels]


async def test_tickers_show_the_last_price_and_the_best_levels() -> None:
    async with served(still("BTCUSDT", "ETHUSDT", history_ms=20_000)) as running:
        depth = await running.get("depth", symbol="ETHUSDT", limit=1)
        quote = await running.get("ticker/bookTicker", symbol="ETHUSDT")
        assert [quote["bidPrice"], quote["bidQty"]] == depth["bids"][0]
        assert [quote["askPrice"], quote["askQty"]] == depth["asks"][0]
        assert len(await running.get("ticker/bookTicker")) == 2
        (last,) = await running.get("trades", symbol="ETHUSDT", limit=1)
        assert await running.get("ticker/price", symbol="ETHUSDT") == {"symbol": "ETHUSDT", "price": last["price"]}
        assert [each["symbol"] for each in await running.get("ticker/price", symbols='["BTCUSDT"]')] == ["BTCUSDT"]


async def test_times_are_microseconds_on_request() -> None:
    async with served(still(history_ms=60_000)) as running:
        headers = {"X-MBX-TIME-UNIT": "MICROSECOND"}
        time = await running.http.get("/api/v3/time", headers=headers)
        assert time.json() == {"serverTime": (START_MS + 60_000) * 1_000}
        (trade,) = (await running.http.get(f"/api/v3/trades?symbol={SYMBOL}&limit=1", headers=headers)).json()
        assert trade["time"] == running.exchange.market(SYMBOL).tape.ts_ms[-1] * 1_000
        (kline,) = (
            await running.http.get(f"/api/v3/klines?symbol={SYMBOL}&interval=1m&limit=1", headers=headers)
        ).json()
        assert kline[0] == (START_MS + 60_000) * 1_000 and kline[6] == kline[0] + 60_000_000 - 1


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("trades", -1102),
        ("trades?symbol=", -1105),
        ("trades?symbol=NOPE", -1121),
        ("trades?symbol=btcusdt", -1100),
        ("trades?symbol=BTCUSDT&limit=x", -1100),
        ("trades?symbol=BTCUSDT&limit=0", -1130),
        ("trades?symbol=BTCUSDT&fromId=3", -1104),
        ("trades?symbol=BTCUSDT&limit=1&fromId=3", -1101),
        ("trades?symbol=BTCUSDT&symbol=BTCUSDT", -1101),
        ("historicalTrades?symbol=BTCUSDT&fromId=99999999999999999999", -1108),
        ("historicalTrades?symbol=BTCUSDT&fromId=-1", -1100),
        ("klines?symbol=BTCUSDT", -1102),
        ("klines?symbol=BTCUSDT&interval=1H", -1120),
        ("exchangeInfo?symbol=BTCUSDT&symbols=%5B%22BTCUSDT%22%5D", -1128),
        ("exchangeInfo?symbols=BTCUSDT", -1100),
        ("exchangeInfo?symbols=%5B%22BTCUSDT%22,%22BTCUSDT%22%5D", -1151),
        ("exchangeInfo?symbols=%5B%22NOPE%22%5D", -1121),
        ("exchangeInfo?symbolStatus=OPEN", -1122),
        ("ping?x=1", -1101),
    ],
)
async def test_a_bad_request_gets_the_venues_code(one: Served, query: str, code: int) -> None:
    answer = await one.http.get(f"/api/v3/{query}")
    assert answer.status_code == 400 and answer.json()["code"] == code, answer.text
    assert answer.headers["content-type"] == "application/json;charset=UTF-8"


async def test_a_route_that_is_not_there_is_not_found(one: Served) -> None:
    assert (await one.http.get("/api/v3/account")).status_code == 404


async def test_hidden_trades_are_in_no_answer_and_leave_a_hole_in_the_ids() -> None:
    async with served(still(history_ms=30_000)) as running, running.feed("/ws/btcusdt@trade"):
        injection = running.exchange.inject(StreamGap(SYMBOL, count=5, rest="klines"))
        running.exchange.advance(30_000)
        market = running.exchange.market(SYMBOL)
        (hidden,) = injection.trades[SYMBOL]
        gone = set(range(hidden[0], hidden[1] + 1))
        assert 5 <= len(gone) < 30
        shown = [each for each in truth(market) if each["id"] not in gone]
        assert (
            await running.get("historicalTrades", symbol=SYMBOL, fromId=hidden[0], limit=2)
            == [each for each in shown if each["id"] > hidden[1]][:2]
        )
        assert await running.get("trades", symbol=SYMBOL, limit=1_000) == shown[-1_000:]
        assert not gone & {each["f"] for each in await _all_of(running)}
        # The klines still have them.
        volume = sum(each[8] for each in await running.get("klines", symbol=SYMBOL, interval="1m"))
        assert volume == len(truth(market))


async def _all_of(running: Served) -> Any:
    return await running.get("aggTrades", symbol=SYMBOL, startTime=START_MS, limit=1_000)


async def test_a_gap_of_which_nothing_is_left_has_no_klines_either() -> None:
    async with served(still(history_ms=90_000)) as running, running.feed("/ws/btcusdt@trade"):
        running.exchange.inject(StreamGap(SYMBOL, count=3, rest="nothing"))
        running.exchange.advance(90_000)
        opens = [each[0] for each in await running.get("klines", symbol=SYMBOL, interval="1m")]
        assert opens == [START_MS, START_MS + 2 * MINUTE_MS, START_MS + 3 * MINUTE_MS]


async def test_answers_are_counted_with_their_weight(one: Served) -> None:
    before = one.exchange.stats.weight.copy()
    spent = {"depth?symbol=BTCUSDT&limit=5": 5, "depth?symbol=BTCUSDT&limit=101": 25, "klines?symbol=X": 2}
    spent |= {"depth?symbol=BTCUSDT&limit=1000": 50, "depth?symbol=BTCUSDT&limit=5000": 250, "time": 1}
    spent |= {"ticker/price": 4, "ticker/price?symbol=BTCUSDT": 2, "exchangeInfo": 20, "aggTrades?symbol=BTCUSDT": 4}
    last = await _used(await one.http.get("/api/v3/ping"))
    for query, weight in spent.items():
        used = await _used(await one.http.get(f"/api/v3/{query}"))
        assert used == last + weight, query
        last = used
    assert (one.exchange.stats.weight - before).total() == sum(spent.values()) + 1


async def _used(answer: httpx2.Response) -> int:
    return int(answer.headers["X-MBX-USED-WEIGHT-1M"])
