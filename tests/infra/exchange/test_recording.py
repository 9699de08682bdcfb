"""A recording as the market: what was recorded is what is told, on the wire and in the truth."""

import gzip
from itertools import pairwise
from pathlib import Path

import anyio
import orjson
import pytest

from common.errors import BadInput
from common.market.trade import BUY, SELL, UNKNOWN, Trade
from infra.exchange import Exchange, ExchangeMarket, Halt, Recording, StreamGap, listing_of
from infra.exchange.depth_frames import depth_frames
from tests.golden.data import folder
from tests.kit.exchange import EASY, START_MS, SYMBOL, served
from tests.kit.local_book import LocalBook, assert_true
from workers.recordings import TradeFile

CSV = """ts_ms,price,size,side,id
1000,64000.00,0.5,buy,11
1000,64000.50,0.25,buy,12
1000,63999.00,0.1,sell,13
61000,64010.00,1,unknown,14
61005,64010.00,0.00001,buy,17
"""

# Levels from before the lot was made coarser have a decimal more.
ETH = listing_of("ETHUSDT", size_decimals=5)


def csv_recording(path: Path, text: str = CSV) -> Recording:
    path.write_text(text)
    return Recording(listing_of(SYMBOL), [path])


def eth_files() -> list[Path]:
    return sorted((folder() / "binance_spot_ethusdt").glob("*.gz"))


def test_trades_of_a_file_happen_at_their_time(tmp_path: Path) -> None:
    exchange = Exchange([ExchangeMarket(csv_recording(tmp_path / "a.csv"))])
    market = exchange.market(SYMBOL)
    assert exchange.now_ms == 1_000
    exchange.advance(59_000)
    assert market.trades().ids == [11, 12, 13]
    exchange.advance(60_000)
    assert list(market.trades().rows()) == [
        Trade(1_000, 11, 6_400_000, 50_000, BUY),
        Trade(1_000, 12, 6_400_050, 25_000, BUY),
        Trade(1_000, 13, 6_399_900, 10_000, SELL),
        # The format has no unknown side.
        Trade(61_000, 14, 6_401_000, 100_000, SELL),
        Trade(61_005, 17, 6_401_000, 1, BUY),
    ]
    assert UNKNOWN not in market.trades().sides
    assert market.due_ms is None
    assert [market.tape.aggregate(at).first_id for at in range(market.tape.aggregates)] == [11, 12, 13, 14, 17]


def test_a_recording_can_be_put_elsewhere_in_time_and_is_delayed_by_a_halt(tmp_path: Path) -> None:
    exchange = Exchange([ExchangeMarket(csv_recording(tmp_path / "a.csv"))], start_ms=START_MS)
    exchange.advance(30_000)
    exchange.inject(Halt(SYMBOL, ms=7_000))
    exchange.advance(60_000)
    assert exchange.market(SYMBOL).trades().ts_ms == [START_MS] * 3 + [START_MS + 67_000, START_MS + 67_005]


def test_two_recordings_keep_their_distance(tmp_path: Path) -> None:
    later = tmp_path / "b.csv"
    later.write_text(CSV.replace("\n1000,", "\n3000,").replace("0.00001", "1"))
    first = csv_recording(tmp_path / "a.csv")
    exchange = Exchange(
        [ExchangeMarket(first), ExchangeMarket(Recording(listing_of("ETHUSDT"), [later]))], start_ms=START_MS
    )
    exchange.advance(10_000)
    assert exchange.market(SYMBOL).trades().ts_ms[0] == START_MS
    assert exchange.market("ETHUSDT").trades().ts_ms[0] == START_MS + 2_000


def test_an_invented_book_agrees_with_every_trade(tmp_path: Path) -> None:
    market = ExchangeMarket(csv_recording(tmp_path / "a.csv"))
    market.begin(1_000, 0)
    while market.due_ms is not None:
        before = market.book.last_id
        happening = market.happen()
        for update_id in range(before + 1, market.book.last_id + 1):
            state = market.book.at(update_id)
            assert not state.bids or not state.asks or max(state.bids) < min(state.asks)
        # Somewhere on the way each traded price was the best of the side that was hit.
        for trade in happening.trades:
            states = [market.book.at(update_id) for update_id in range(before + 1, market.book.last_id + 1)]
            best = [min(each.asks) if trade.side == BUY else max(each.bids) for each in states]
            assert trade.price_ticks in best
    assert all(len(side.prices) >= 20 for side in market.book.sides)


def test_bad_frames_are_named_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "frames.gz"
    path.write_bytes(gzip.compress(b'1 {"data":{"e":"x"}}\n2 {"data":{"e":"depthUpdate","E":5}}\n'))
    with pytest.raises(BadInput, match=r"frames.gz line 2: 'u', expected a depth event"):
        Recording(ETH, [path])


@pytest.mark.parametrize(
    ("text", "error"),
    [("ts_ms,price,size,side,id\n", "holds no trade"), (CSV + "5,1,1,buy,18\n", "expected ascending ids and times")],
)
def test_a_recording_that_cannot_be_told_is_refused(tmp_path: Path, text: str, error: str) -> None:
    with pytest.raises(BadInput, match=error):
        Exchange([ExchangeMarket(csv_recording(tmp_path / "a.csv", text))]).advance(100_000)


async def test_a_recording_that_breaks_off_ends_the_serving_with_the_reason(tmp_path: Path) -> None:
    exchange = Exchange([ExchangeMarket(csv_recording(tmp_path / "a.csv", CSV + "5,1,1,buy,18\n"))], speed=10_000)
    with pytest.raises(BadInput, match="expected ascending ids and times"):
        async with served(exchange):
            await anyio.sleep_forever()


async def test_recorded_frames_are_told_again() -> None:
    """Real depth: the book a client keeps from diffs and snapshot is the recorded one, and crossed at no update."""
    listing, files = ETH, eth_files()
    exchange = Exchange([ExchangeMarket(Recording(listing, files), EASY)], rules=EASY)
    market = exchange.market("ETHUSDT")
    async with served(exchange) as running:
        async with running.feed("/stream?streams=ethusdt@trade/ethusdt@depth@100ms") as feed:
            exchange.advance(2_000)
            messages = await feed.messages()
            book = LocalBook()
            book.set(await running.get("depth", symbol="ETHUSDT", limit=5_000))
            told: list[int] = []
            depth: list[dict[str, int]] = []
            for _ in range(10):
                for message in messages:
                    data = message["data"]
                    if data["e"] == "trade":
                        told.append(data["t"])
                    else:
                        depth.append(data)
                        book.apply(data)
                assert_true(book, market)
                exchange.advance(3_000)
                messages = await feed.messages()
    assert len(depth) > 200 and all(before["u"] + 1 == after["U"] for before, after in pairwise(depth))
    trades = market.trades()
    assert told == trades.ids[: len(told)] and len(told) > 500
    recorded = next(TradeFile(files[0], listing.instrument).chunks()).trades
    assert trades == recorded[: len(trades)]


def test_the_book_of_recorded_frames_is_that_of_the_recorded_quotes() -> None:
    """bookTicker frames are in the file and not used: they are the oracle."""
    exchange = Exchange([ExchangeMarket(Recording(ETH, eth_files()), EASY)])
    exchange.advance(100_000)
    book, quotes = exchange.market("ETHUSDT").book, _quotes(eth_files()[0])
    frames = [frame.last_id for frame in depth_frames(eth_files()[0], ETH)]
    asked = [each for each in frames if each in quotes and book.oldest_id <= each <= book.last_id]
    for update_id in asked:
        state = book.at(update_id)
        assert (max(state.bids), min(state.asks)) == quotes[update_id]
    assert len(asked) > 100


def _quotes(path: Path) -> dict[int, tuple[int, int]]:
    instrument = ETH.instrument
    with gzip.open(path) as lines:
        found = [orjson.loads(line.partition(b" ")[2])["data"] for line in lines if b"bookTicker" in line]
    return {each["u"]: (instrument.price_ticks(each["b"]), instrument.price_ticks(each["a"])) for each in found}


async def test_faults_work_on_recordings(tmp_path: Path) -> None:
    async with served(Exchange([ExchangeMarket(csv_recording(tmp_path / "a.csv"), EASY)], rules=EASY)) as running:
        async with running.feed("/ws/btcusdt@trade") as feed:
            running.exchange.inject(StreamGap(SYMBOL, count=1, rest="klines"))
            running.exchange.advance(70_000)
            assert await feed.trade_ids() == [13, 14, 17]
            assert [each["id"] for each in await running.get("trades", symbol=SYMBOL)] == [13, 14, 17]
            # The recording's own gap of ids is nobody's fault, and looks the same.
            assert running.exchange.missed(SYMBOL) == [(15, 16)]
