"""`fleet watch`: live candles in the terminal, through the public WebSocket and nothing else."""

import asyncio
import contextlib
import json
import os
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from common.errors import BadInput, OperatorError
from common.settings import TOKEN, load

# What the table shows, and what is asked for: the newest bars.
SHOWN = 20


def watch(
    symbol: Annotated[str, typer.Argument(metavar="SYMBOL", help="Such as SIMULATED:BTCUSD; fleet symbols list.")],
    timeframe: Annotated[str, typer.Option(help="Any <n><unit>: 10s, 1m, 15m, 4h, 1d, 1w, 1M.")] = "1m",
    url: Annotated[
        str | None,
        typer.Option(help="Address of the feed. Default: http://127.0.0.1:8700, or PORT.", show_default=False),
    ] = None,
) -> None:
    """Show live candles of a symbol. On a terminal as a table, else one JSON object a line. Ctrl-C ends it.

    A feed that wants a token is shown the one in FLEET_TOKEN.

    Examples:

    - `fleet watch SIMULATED:BTCUSD`
    - `fleet watch SIMULATED:BTCUSD --timeframe 15m --url http://127.0.0.1:9000`
    - `fleet watch SIMULATED:BTCUSD --timeframe 10s | jq .bar.c`
    """
    address = _stream_address(url or f"http://127.0.0.1:{load().port}")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_watch(address, symbol, timeframe))


class WatchedBars:
    """The sequence a client keeps: a snapshot, then bars by open time. An amended bar replaces the one shown."""

    def __init__(self) -> None:
        self.by_open: dict[int, dict[str, Any]] = {}
        self.cursor: str | None = None

    def take(self, message: dict[str, Any]) -> bool:
        """Apply a message; False if it says nothing about bars."""
        self.cursor = message.get("cursor", self.cursor)
        match message["type"]:
            case "snapshot":
                self.by_open = {bar["t"]: bar for bar in message["bars"]}
            case "candle" | "amend":
                self.by_open[message["bar"]["t"]] = message["bar"]
            case _:
                return False
        for open_ms in sorted(self.by_open)[:-SHOWN]:
            del self.by_open[open_ms]
        return True


async def _watch(address: str, symbol: str, timeframe: str) -> None:
    console, bars = Console(), WatchedBars()
    shown = Live(_table(symbol, timeframe, bars), console=console, refresh_per_second=10)
    with shown if sys.stdout.isatty() else contextlib.nullcontext() as live:
        try:
            # Connects again by itself, with growing pauses; the cursor makes it go on where it was cut off.
            async for socket in connect(address, max_size=None, additional_headers=_credentials()):
                with contextlib.suppress(ConnectionClosed):
                    subscribe = {"action": "subscribe", "symbol": symbol, "timeframe": timeframe, "limit": SHOWN}
                    await socket.send(json.dumps(subscribe | ({"cursor": bars.cursor} if bars.cursor else {})))
                    async for text in socket:
                        _show(live, text, symbol, timeframe, bars)
        except InvalidStatus as refusal:
            raise OperatorError(f"the feed at {address} refused: {_reason(refusal)}") from None
        except OSError as error:
            raise OperatorError(f"no feed answers at {address}: {error.strerror or error}") from None


def _credentials() -> dict[str, str]:
    token = os.environ.get(TOKEN)
    return {"Authorization": f"Bearer {token}"} if token else {}


def _reason(refusal: InvalidStatus) -> str:
    """The sentence of the answer, if it is the feed's, and else its status."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(json.loads(refusal.response.body or b"")["error"]["message"])
    return f"status {refusal.response.status_code}"


def _show(live: Live | None, text: str | bytes, symbol: str, timeframe: str, bars: WatchedBars) -> None:
    # Decimals stay decimals: what the server writes exactly is shown exactly.
    message = json.loads(text, parse_float=Decimal)
    if message["type"] == "error" and message["code"] == "unauthorized":
        raise OperatorError(f"the feed wants a token: set {TOKEN} to one that it knows")
    if message["type"] == "error":
        raise BadInput(message["message"])
    told = bars.take(message)
    if live is None:
        print(text.decode() if isinstance(text, bytes) else text, flush=True)
    elif told:
        live.update(_table(symbol, timeframe, bars))


def _table(symbol: str, timeframe: str, bars: WatchedBars) -> Table:
    rows = sorted(bars.by_open.values(), key=lambda bar: int(bar["t"]))
    simulated = any(bar["source"] == "simulated" for bar in rows)
    table = Table(title=f"{symbol} {timeframe}{' SIMULATED' if simulated else ''}")
    for name in ("open (UTC)", "open", "high", "low", "close", "volume", "delta", "trades", ""):
        table.add_column(name, justify="left" if name in ("open (UTC)", "") else "right")
    for bar in rows:
        moment = datetime.fromtimestamp(bar["t"] / 1_000, UTC)
        delta = 2 * bar["bv"] - bar["v"] + bar.get("uv", 0)
        values = (bar["o"], bar["h"], bar["l"], bar["c"], bar["v"], delta, bar["n"])
        table.add_row(f"{moment:%m-%d %H:%M:%S}", *map(str, values), _notes(bar))
    return table


def _notes(bar: dict[str, Any]) -> str:
    notes = (
        "" if bar["isFinal"] else "growing",
        f"amended x{bar['rev']}" if bar["rev"] else "",
        "partial" if bar.get("partial") else "",
    )
    return " ".join(note for note in notes if note)


def _stream_address(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if scheme not in ("http", "https") or not separator or not rest:
        raise BadInput(f"--url is {url!r}, expected the feed's address such as http://127.0.0.1:8700")
    return f"{'wss' if scheme == 'https' else 'ws'}://{rest.rstrip('/')}/v1/stream"
