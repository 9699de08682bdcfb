"""Trade frames of venues, parsed: what a socket's reader has to do for each, and the batch made of them for a commit.

Repeat: `python -m infra.bench frames`.
"""

import random
from collections.abc import Sequence
from datetime import UTC, datetime

from common.market.instrument import Instrument
from infra.bench.base import Figure, best_rate
from workers.sources.venue.live_trades import LiveTrades
from workers.venues.binance.wire import BinanceParser
from workers.venues.coinbase.client import CoinbaseParser
from workers.venues.kraken.client import KrakenParser
from workers.venues.shared.base import Listing, Parser

FRAMES = 20_000
MIN_PER_S = {"Binance": 300_000, "Coinbase": 200_000, "Kraken": 110_000}
# Frames whose trades wait for one commit, on a busy day.
FRAMES_KEPT = 500
START_MS = 1_700_000_000_000

# Each with its name of the market, and the decimals that it prints.
BINANCE = (
    '{{"stream":"btcusdt@trade","data":{{"e":"trade","E":{ts_ms},"s":"BTCUSDT","t":{id},"p":"{price:.2f}000000",'
    '"q":"{size:.8f}","T":{ts_ms},"m":{is_sell},"M":true}}}}'
)
COINBASE = (
    '{{"type":"match","trade_id":{id},"maker_order_id":"ac928c66-ca53-498f-9c13-a110027a60e8",'
    '"taker_order_id":"132fb6ae-456b-4654-b4e0-d681ac05cea1","side":"{maker}","size":"{size:.8f}","price":"{price:.2f}",'
    '"product_id":"BTC-USD","sequence":{id},"time":"{time}"}}'
)
KRAKEN = (
    '{{"channel":"trade","type":"update","data":[{{"symbol":"BTC/USD","side":"{taker}","price":{price:.1f},'
    '"qty":{size:.8f},"ord_type":"limit","trade_id":{id},"timestamp":"{time}"}}]}}'
)


def measure() -> list[Figure]:
    binance, coinbase = _listing("BTCUSDT", 2), _listing("BTC-USD", 2)
    kraken = _listing("BTC/USD", 1)
    return [
        *_rates("Binance", BinanceParser([binance], "trade"), BINANCE),
        *_rates("Coinbase", CoinbaseParser([coinbase]), COINBASE),
        *_rates("Kraken", KrakenParser([kraken]), KRAKEN),
    ]


def _rates(venue: str, parser: Parser, form: str) -> list[Figure]:
    frames = _frames(form)
    groups = [frames[at : at + FRAMES_KEPT] for at in range(0, FRAMES, FRAMES_KEPT)]

    def parse() -> None:
        for group in groups:
            # Events live until their commit. Of all of them at once the collector of garbage would be measured.
            _ = [parser.parse(frame) for frame in group]

    def take() -> None:
        for group in groups:
            live = LiveTrades()
            for frame in group:
                for event in parser.parse(frame):
                    live.put(event[1])  # type: ignore[arg-type, misc]  # they are all of trades
            while not live.is_empty:
                live.take(FRAMES_KEPT)

    what, target_per_s = f"trade frames of {venue} parsed, one core", MIN_PER_S[venue]
    parsed_per_s, taken_per_s = best_rate(FRAMES, parse), best_rate(FRAMES, take)
    return [
        Figure(what, f">= {target_per_s // 1_000} k/s", _in_thousands(parsed_per_s), parsed_per_s >= target_per_s),
        Figure(f"{what}, and made a batch for a commit", "", _in_thousands(taken_per_s)),
    ]


def _in_thousands(per_s: float) -> str:
    return f"{per_s / 1_000:,.0f} k/s"


def _frames(form: str) -> Sequence[bytes]:
    """As recorded of Binance: nine of ten prices come again, and seven of ten sizes."""
    chance = random.Random(1)
    usual_lots = [chance.randrange(1, 10**6) * 1_000 for _ in range(300)]
    cents, ts_ms, found = 6_000_000, START_MS, list[bytes]()
    for number in range(1, FRAMES + 1):
        ts_ms += chance.randrange(20)
        cents += chance.randrange(-30, 31)
        is_sell = chance.random() < 0.5
        fields = {
            "ts_ms": ts_ms,
            "id": number,
            "price": cents / 100,
            "size": (chance.choice(usual_lots) if chance.random() < 0.7 else chance.randrange(1, 10**9)) / 1e8,
            "is_sell": "true" if is_sell else "false",
            "taker": "sell" if is_sell else "buy",
            "maker": "buy" if is_sell else "sell",
            "time": datetime.fromtimestamp(ts_ms // 1_000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            + f".{ts_ms % 1_000:03}456Z",
        }
        found.append(form.format(**fields).encode())
    return found


def _listing(name: str, price_decimals: int) -> Listing:
    return Listing(name, Instrument(f"BENCH:{name.replace('/', '-')}", price_decimals, 8, "contiguous"), 1, 1)
