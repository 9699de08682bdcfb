"""The exchange of `fleet up --venue local`: one per data folder, always on the same port, so that URLs stay right.

<data_dir>/exchange/   port       written once
                       journal/   the markets: a second run goes on with them, with the same trades and ids
"""

import asyncio
import os
import shlex
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from common.errors import OperatorError
from infra import private

# What it trades unless told otherwise.
USUAL_NAMES = ("BTCUSDT", "ETHUSDT")

HOST = "127.0.0.1"
# Outside the range from which others are given any free port: it is likely to be free next time.
USUAL_PORT = 8790
# An hour is made in one second per market.
HISTORY_HOURS = 1
# That, the start of a process, and all of it on a busy machine.
START_TIMEOUT_S = 30.0
POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class LocalExchange:
    folder: Path
    port: int

    @property
    def rest_url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def socket_url(self) -> str:
        return f"ws://{HOST}:{self.port}"

    def command(self, names: Sequence[str]) -> str:
        """The shell command that runs it. BadInput where it can't trade one of the names."""
        # Here, for it brings the whole exchange along: no other command is to wait for that.
        from infra.exchange.listing import listing_of

        symbols = ",".join(listing_of(name).symbol for name in names)
        journal = shlex.quote(str(self.folder / "journal"))
        return (
            f"python -m infra.exchange --port {self.port} --symbols {symbols}"
            f" --history-hours {HISTORY_HOURS} --journal {journal}"
        )

    async def wait(self) -> None:
        """Return as soon as it accepts connections, which it does when its markets have their history."""
        with suppress(TimeoutError):
            async with asyncio.timeout(START_TIMEOUT_S):
                # Another process has no event to wait for.
                while not await self._listens():  # noqa: ASYNC110
                    await asyncio.sleep(POLL_S)
                return
        raise OperatorError(f"the local exchange did not come up at {self.rest_url} within {START_TIMEOUT_S:.0f} s")

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_connection(HOST, self.port)
        except OSError:
            return False
        writer.close()
        return True


def found(data_folder: Path) -> LocalExchange | None:
    """The exchange of the data folder, whether it runs or not; None: it never had one."""
    folder = data_folder / "exchange"
    path = folder / "port"
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OperatorError(f"{path} can't be read: {error.strerror}") from None
    if not text.strip().isdecimal() or not 0 < int(text) <= 65_535:
        raise OperatorError(f"{path} holds {text[:20]!r}, expected the port of the local exchange")
    return LocalExchange(folder, int(text))


def placed(data_folder: Path) -> LocalExchange:
    """The exchange of the data folder, given a port now if it has none."""
    exchange = found(data_folder)
    if exchange is None:
        exchange = LocalExchange(data_folder / "exchange", _free_port())
        _keep(exchange)
    return exchange


def _keep(exchange: LocalExchange) -> None:
    path = exchange.folder / "port"
    draft = path.with_suffix(".draft")
    try:
        private.make(exchange.folder)
        with open(draft, "w", opener=private.opener) as file:
            file.write(f"{exchange.port}\n")
        os.replace(draft, path)
    except OSError as error:
        raise OperatorError(f"{path} can't be written: {error.strerror}") from None


def _free_port() -> int:
    for port in (USUAL_PORT, 0):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return int(probe.getsockname()[1])
    raise OperatorError(f"no port is free on {HOST}")
