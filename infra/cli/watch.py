"""`fleet watch`: live candles in the terminal, through the public WebSocket and nothing else."""

import asyncio
import contextlib
import json
import os
import random
import time
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from common.errors import BadInput, OperatorError
from common.market.timeframes.timeframe import Timeframe
from common.settings import TOKEN, Settings, load
from infra.cli.options import DataOption
from infra.cli.screens import ReaderGone, Screen, screen_for
from infra.cli.watched import Watched
from infra.local.running import launches
from infra.paths import data_folder

# A feed that is away is asked again after 0.5 s, 1 s, ... at most this.
FIRST_PAUSE_S, MAX_PAUSE_S = 0.5, 5.0
OPEN_TIMEOUT_S = 5.0
SERVER_ERROR = 500


def watch(
    symbol: Annotated[str, typer.Argument(metavar="SYMBOL", help="Such as SIMULATED:BTCUSD; fleet symbols list.")],
    timeframe: Annotated[str, typer.Option(help="Any `<n><unit>`: 10s, 1m, 15m, 4h, 1d, 1w, 1M.")] = "1m",
    url: Annotated[
        str | None,
        typer.Option(
            help="Address of the feed. Default: by PORT, else that of the fleet of --data, else http://127.0.0.1:8700.",
            show_default=False,
        ),
    ] = None,
    data: DataOption = None,
) -> None:
    """Show live candles of a symbol. On a terminal as a table, else one JSON object a line. Ctrl-C ends it.

    A feed that is away is waited for. One that wants a token is shown the one in FLEET_TOKEN.

    Examples:

    - `fleet watch SIMULATED:BTCUSD`
    - `fleet watch SIMULATED:BTCUSD --data ~/second`
    - `fleet watch SIMULATED:BTCUSD --timeframe 15m --url http://127.0.0.1:9000`
    - `fleet watch SIMULATED:BTCUSD --timeframe 10s | jq .bar.c`
    """
    address = _stream_address(url or _feed_of(load(), data))
    watched = Watched(symbol, Timeframe.parse(timeframe), address)
    with contextlib.suppress(KeyboardInterrupt, ReaderGone), screen_for(watched) as screen:
        asyncio.run(_Watch(watched, screen).run())


def _feed_of(settings: Settings, data: Path | None) -> str:
    """The feed that is meant where none is named: a fleet may have been started on another port."""
    all_of_them = launches(data_folder(data or settings.data_dir))
    running = [launch.feed for _, launch in all_of_them if launch.launcher.is_alive]
    is_port_named = data is None and "port" in settings.model_fields_set
    return running[-1] if running and not is_port_named else f"http://127.0.0.1:{settings.port}"


class _Watch:
    def __init__(self, watched: Watched, screen: Screen) -> None:
        self._watched, self._screen = watched, screen

    async def run(self) -> None:
        failures = 0
        while True:
            try:
                async with connect(
                    self._watched.address,
                    max_size=None,
                    additional_headers=_credentials(),
                    open_timeout=OPEN_TIMEOUT_S,
                ) as socket:
                    await socket.send(json.dumps(self._watched.subscription()))
                    async for text in socket:
                        failures = 0
                        self._take(text)
                why = "it closed the connection"
            except InvalidStatus as refusal:
                if refusal.response.status_code < SERVER_ERROR:
                    raise OperatorError(f"the feed at {self._watched.address} refused: {_reason(refusal)}") from None
                why = _reason(refusal)
            except InvalidURI as error:
                raise BadInput(f"--url leads nowhere: {error}") from None
            except ConnectionClosed:
                why = "the connection was lost"
            except (OSError, InvalidHandshake, EOFError) as error:
                why = _why(error)
            failures += 1
            before = self._watched.standing()
            self._watched.gone(why, int(time.time() * 1_000))
            if self._watched.standing() != before:
                self._screen.standing_changed()
            # Jitter, so that all who wait for one feed do not come at once.
            await asyncio.sleep(min(MAX_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures - 1, 10)) * random.uniform(0.5, 1))

    def _take(self, text: str | bytes) -> None:
        # Decimals stay decimals: what the server writes exactly is shown exactly.
        message: dict[str, Any] = json.loads(text, parse_float=Decimal)
        if message["type"] == "error" and message["code"] == "unauthorized":
            raise OperatorError(f"the feed wants a token: set {TOKEN} to one that it knows")
        if message["type"] == "error" and not self._watched.is_passing(message):
            raise BadInput(message["message"])
        before = self._watched.standing()
        told = self._watched.take(message)
        self._screen.message(text.decode() if isinstance(text, bytes) else text, told)
        if self._watched.standing() != before:
            self._screen.standing_changed()


def _credentials() -> dict[str, str]:
    token = os.environ.get(TOKEN)
    return {"Authorization": f"Bearer {token}"} if token else {}


def _reason(refusal: InvalidStatus) -> str:
    """The sentence of the answer, if it is the feed's, and else its status."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(json.loads(refusal.response.body or b"")["error"]["message"])
    return f"status {refusal.response.status_code}"


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer in {OPEN_TIMEOUT_S:.0f} s"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    return str(getattr(error, "strerror", None) or error)


def _stream_address(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if scheme not in ("http", "https") or not separator or not rest:
        raise BadInput(f"--url is {url!r}, expected the feed's address such as http://127.0.0.1:8700")
    return f"{'wss' if scheme == 'https' else 'ws'}://{rest.rstrip('/')}/v1/stream"
