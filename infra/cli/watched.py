"""What `fleet watch` knows of a series, and the lines that show it: values in, text out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from rich.text import Text

from common.market.timeframes.timeframe import DAY_MS, Timeframe
from infra.cli.tables import Cell, Column, Row, folded, table_lines

# What is asked for, and shown where there is room: the newest bars.
SHOWN = 20

COLUMNS = (
    Column("open (UTC)"),
    Column("open", is_right=True, rank=3),
    Column("high", is_right=True, rank=2),
    Column("low", is_right=True, rank=2),
    Column("close", is_right=True),
    Column("volume", is_right=True, rank=4),
    Column("delta", is_right=True, rank=6),
    Column("trades", is_right=True, rank=5),
    Column("", rank=1),
)
PRICES = "ohlc"
# Units of timeframes whose bars are known by their date, and by their second.
DATED, BELOW_MINUTES = ("d", "w", "M"), ("s", "ms")
# Amounts in short where they do not fit: 12.3456789 as 12.346, 1234567.8 as 1.235M. Prices are never shortened.
SHORT_DIGITS = 5
UNITS = ((1_000_000_000_000, "T"), (1_000_000_000, "B"), (1_000_000, "M"), (1_000, "k"))

# A bar whose trades came in late by so much is history that was fetched, and was never shown otherwise.
FETCHED = frozenset(("backfill", "import"))

HEALTHY = frozenset(("LIVE", "BACKFILLING"))


@dataclass(slots=True)
class Watched:
    """The sequence a client keeps: a snapshot, then bars by open time. An amended bar replaces the one shown."""

    symbol: str
    timeframe: Timeframe
    address: str
    by_open: dict[int, dict[str, Any]] = field(default_factory=dict)
    cursor: str | None = None
    health: dict[str, Any] = field(default_factory=dict)
    # The revision each bar was first shown with: what is amended from then on is amended before our eyes.
    first_revs: dict[int, int] = field(default_factory=dict)
    # When the feed went, in ms UTC; None while it is there, or has yet to be.
    gone_ms: int | None = None
    is_connected: bool = False
    # Why there is no feed, or no news; "" if there is nothing to tell.
    trouble: str = ""

    def subscription(self) -> dict[str, Any]:
        wanted = {"action": "subscribe", "symbol": self.symbol, "timeframe": self.timeframe.text, "limit": SHOWN}
        return wanted | ({"cursor": self.cursor} if self.cursor else {})

    def take(self, message: dict[str, Any]) -> bool:
        """Apply a message; False if it says nothing about bars."""
        self.is_connected, self.gone_ms, self.trouble = True, None, ""
        self.cursor = message.get("cursor", self.cursor)
        self.health = message.get("health", self.health)
        match message["type"]:
            case "snapshot":
                self.by_open = {bar["t"]: bar for bar in message["bars"]}
            case "candle" | "amend":
                self.by_open[message["bar"]["t"]] = message["bar"]
            case "error":
                self.trouble = message["message"]
                return False
            case _:
                return False
        for open_ms in sorted(self.by_open)[:-SHOWN]:
            del self.by_open[open_ms]
        self.first_revs = {t: self.first_revs.get(t, bar["rev"]) for t, bar in self.by_open.items()}
        return True

    def is_passing(self, error: dict[str, Any]) -> bool:
        """Whether what an error tells goes by itself: of a subscription that runs on."""
        return error.get("code") == "store_unavailable" and "symbol" in error

    def gone(self, why: str, now_ms: int) -> None:
        """The feed is not there."""
        if self.is_connected:
            self.gone_ms = now_ms
        self.is_connected, self.trouble = False, why

    @property
    def is_old(self) -> bool:
        """Whether what is shown may have been overtaken."""
        return not self.is_connected or bool(self.trouble) or self.health.get("mode", "LIVE") not in HEALTHY

    def standing(self) -> str:
        """How it stands, in one sentence."""
        if not self.is_connected:
            place = self.address.removesuffix("/v1/stream").replace("ws", "http", 1)
            why = f" ({self.trouble})" if self.trouble else ""
            if self.gone_ms is None:
                return f"connecting to {place}{why}"
            return f"feed gone since {_clock(self.gone_ms)} UTC{why}, connecting; what is shown is old"
        if self.trouble:
            return f"no news: {self.trouble}"
        mode, message = self.health.get("mode", "LIVE"), self.health.get("message", "")
        return message or "Live" if mode == "LIVE" else f"{mode}: {message}" if message else mode

    def lines(self, width: int, height: int) -> list[Text]:
        """All of it, in so many columns and lines of a terminal."""
        colour = "" if self.is_connected and not self.is_old else "yellow" if self.is_connected else "red"
        head = folded(f"{self.symbol} {self.timeframe.text}{'  SIMULATED' if self.is_simulated else ''}", width)
        standing = folded(self.standing(), width)
        found = [Text(line, "bold") for line in head] + [Text(line, colour) for line in standing]
        bars = self.bars()[-max(1, height - len(found) - 1) :]
        return found + (self.table(bars, width) if bars else [])

    @property
    def is_simulated(self) -> bool:
        return any(bar["source"] == "simulated" for bar in self.by_open.values())

    def bars(self) -> list[dict[str, Any]]:
        return [self.by_open[open_ms] for open_ms in sorted(self.by_open)]

    def table(self, bars: Sequence[dict[str, Any]], width: int, *, in_short: bool = False) -> list[Text]:
        """Amounts are shortened where else a column but the delta would have no room; `in_short`: always."""
        lines = table_lines(COLUMNS, self._rows(bars, shortened=False), width)
        names = [column.name for column in COLUMNS[1:] if column.name != "delta"]
        if not in_short and all(name in lines[0].plain for name in names):
            return lines
        return table_lines(COLUMNS, self._rows(bars, shortened=True), width)

    def _rows(self, bars: Sequence[dict[str, Any]], *, shortened: bool) -> list[Row]:
        style = "dim" if self.is_old else ""
        digits = max(decimals(bar[name]) for bar in bars for name in PRICES)
        amount = shortened_text if shortened else str
        rows = list[Row]()
        for bar in bars:
            prices = [f"{Decimal(bar[name]):.{digits}f}" for name in PRICES]
            delta = 2 * bar["bv"] - bar["v"] + bar.get("uv", 0)
            texts = [self._time(bar["t"]), *prices, amount(bar["v"]), amount(delta), str(bar["n"]), self.notes(bar)]
            rows.append([Cell(text, style) for text in texts])
        return rows

    def notes(self, bar: dict[str, Any]) -> str:
        amended = bar["rev"] - self.first_revs.get(bar["t"], bar["rev"])
        if not amended and 2 * bar["rev"] < bar["n"] and bar["source"] not in FETCHED:
            # Before we looked; of history that has been fetched every trade counts as one, and nobody saw it otherwise.
            amended = bar["rev"]
        notes = (
            "" if bar["isFinal"] else "growing",
            f"amended x{amended}" if amended else "",
            "partial" if bar.get("partial") else "",
        )
        return " ".join(note for note in notes if note)

    def _time(self, open_ms: int) -> str:
        moment, unit = datetime.fromtimestamp(open_ms // 1_000, UTC), self.timeframe.unit
        if unit in DATED and all(bar["t"] % DAY_MS == 0 for bar in self.by_open.values()):
            return f"{moment:%Y-%m-%d}"
        if unit not in BELOW_MINUTES:
            return f"{moment:%m-%d %H:%M}"
        return f"{moment:%m-%d %H:%M:%S}{f'.{open_ms % 1_000:03}' if unit == 'ms' else ''}"


def shortened_text(amount: Decimal | int) -> str:
    """To five digits or so, with a unit where it is large."""
    number = Decimal(amount)
    for factor, unit in UNITS:
        # Up to 100k there is room for all of it.
        if abs(number) >= (factor if factor > 1_000 else 100_000):
            return f"{_rounded(number / factor)}{unit}"
    return _rounded(number)


def decimals(number: Decimal | int) -> int:
    """How many its shortest text has."""
    return len(str(number).partition(".")[2])


def _rounded(number: Decimal) -> str:
    whole = len(str(int(abs(number))))
    text = f"{number:.{max(0, SHORT_DIGITS - whole)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _clock(ts_ms: int) -> str:
    return f"{datetime.fromtimestamp(ts_ms // 1_000, UTC):%H:%M:%S}"
