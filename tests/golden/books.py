"""Recorded order books, as events. The facts are in the README of the recordings.

Read by the plainest means, without the venues' parsers, so that a book is tested and not how it is parsed.
"""

import gzip
from collections.abc import Iterator
from functools import cache
from typing import Any

import orjson

from common.market import units
from tests.golden.data import folder
from workers.venues.shared.base import DepthEvent, QuoteEvent

# No recorded price or size has more decimals.
SPOT_DECIMALS = (8, 8)
USDM_DECIMALS = (5, 3)
KRAKEN_SIZE_DECIMALS = 8
# Of a side of a snapshot: one that has so many has more at the venue.
ASKED_LEVELS = (100, 500, 1_000, 5_000)

Event = DepthEvent | QuoteEvent
Decimals = tuple[int, int]


@cache
def eth_usdt() -> list[Event]:
    """Spot ETHUSDT, 10.8 minutes in two files with one snapshot. Prices of 2 decimals."""
    return [*_binance("binance_spot_ethusdt/ethusdt_20240808.gz", (2, 8)), *eth_usdt_second()]


@cache
def eth_usdt_second() -> list[Event]:
    """The second file alone: without a snapshot."""
    return list(_binance("binance_spot_ethusdt/ethusdt_20240809.gz", (2, 8)))


@cache
def btc_usdt() -> list[Event]:
    """USD-M BTCUSDT, 6 minutes, depth@0ms, with its snapshot."""
    return list(_binance("binance_usdm_btcusdt/btcusdt_20240808.gz", (1, 3)))


def several(exchange: str) -> list[Event]:
    """Four markets of BINANCE or BINANCE_FUTURES for half a minute, each with its snapshot after the first diff."""
    decimals = SPOT_DECIMALS if exchange == "BINANCE" else USDM_DECIMALS
    received: list[tuple[float, Event]] = []
    for ts, message in _frames(f"{exchange}.ws.1.0"):
        event = _binance_event(message["data"], message["stream"], decimals)
        received += [(ts, event)] if event else []
    for line in (folder() / "venue_frames" / f"{exchange}.http.0.0").read_text().splitlines():
        url, _, answer = line.partition(" -> ")
        ts_text, _, body = answer.partition(": ")
        if "/depth?symbol=" in url:
            name = url.partition("symbol=")[2].partition("&")[0]
            received.append((float(ts_text), _snapshot(orjson.loads(body), name, decimals)))
    return [event for _, event in sorted(received, key=lambda pair: pair[0])]


def kraken() -> Iterator[tuple[str, list[list[Any]], list[list[Any]], int | None, bool]]:
    """`(pair, bids, asks, checksum, snapshot)` of every frame of a book, prices and sizes still as text."""
    for _, message in _frames("KRAKEN.ws.50.0"):
        if isinstance(message, list):
            parts: dict[str, Any] = {}
            for part in message[1:-2]:
                parts |= part
            bids, asks = (parts.get(name + "s") or parts.get(name) or [] for name in "ba")
            yield message[-1], bids, asks, int(parts["c"]) if "c" in parts else None, "as" in parts


def coinbase() -> Iterator[DepthEvent]:
    for _, message in _frames("COINBASE.ws.28.0"):
        if message["type"] == "snapshot":
            bids, asks = (levels(message[side], SPOT_DECIMALS) for side in ("bids", "asks"))
            yield DepthEvent(message["product_id"], -1, -1, -1, -1, bids, asks, snapshot=True)
        elif message["type"] == "l2update":
            rows = {side: [row[1:] for row in message["changes"] if row[0] == side] for side in ("buy", "sell")}
            bids, asks = (levels(rows[side], SPOT_DECIMALS) for side in ("buy", "sell"))
            yield DepthEvent(message["product_id"], -1, -1, -1, -1, bids, asks)


def levels(rows: list[list[Any]], decimals: Decimals) -> list[tuple[int, int]]:
    return [(units.parse(row[0], decimals[0]), units.parse(row[1], decimals[1])) for row in rows]


def _binance(path: str, decimals: Decimals) -> Iterator[Event]:
    with gzip.open(folder() / path, "rb") as lines:
        for line in lines:
            message = orjson.loads(line.partition(b" ")[2])
            if "lastUpdateId" in message:
                yield _snapshot(message, "", decimals)
            else:
                event = _binance_event(message["data"], message["stream"], decimals)
                if event:
                    yield event


def _binance_event(data: dict[str, Any], stream: str, decimals: Decimals) -> Event | None:
    kind = stream.split("@")[1]
    if kind == "depth":
        bids, asks = levels(data["b"], decimals), levels(data["a"], decimals)
        return DepthEvent(data["s"], data["E"], data["U"], data["u"], data.get("pu", -1), bids, asks)
    if kind == "bookTicker":
        ((bid, bid_lots), (ask, ask_lots)) = levels([[data["b"], data["B"]], [data["a"], data["A"]]], decimals)
        return QuoteEvent(data["s"], data.get("E", -1), data["u"], bid, bid_lots, ask, ask_lots)
    return None


def _snapshot(answer: dict[str, Any], name: str, decimals: Decimals) -> DepthEvent:
    last_id = answer["lastUpdateId"]
    bids, asks = levels(answer["bids"], decimals), levels(answer["asks"], decimals)
    whole = len(bids) not in ASKED_LEVELS, len(asks) not in ASKED_LEVELS
    return DepthEvent(name, -1, last_id, last_id, -1, bids, asks, snapshot=True, whole=whole)


def _frames(name: str) -> Iterator[tuple[float, Any]]:
    """What was received: `<unix ts>: <json>`."""
    for line in (folder() / "venue_frames" / name).read_text().splitlines():
        ts, _, text = line.partition(": ")
        if text and "<" not in ts:
            yield float(ts), orjson.loads(text)
