"""Where `fleet watch` shows what it sees: a terminal that can be written over, one that can't, or a pipe."""

import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live

from infra.cli.watched import Watched

REFRESH_PER_S = 4
# A terminal that can't be written over gets a line of the growing bar so often.
LINE_EVERY_S = 10.0


class ReaderGone(Exception):
    """Who read what we wrote has gone: nothing to complain of."""


class Screen(ABC):
    """Shows what is watched."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched

    @abstractmethod
    def message(self, text: str, told: bool) -> None:
        """A message has come, as text; `told`: about bars."""

    @abstractmethod
    def standing_changed(self) -> None:
        """How it stands is another than before."""


class TableScreen(Screen):
    """All of it, over and over in its place."""

    def __init__(self, watched: Watched, live: Live) -> None:
        super().__init__(watched)
        self._live = live

    def message(self, text: str, told: bool) -> None:
        """It is shown when the screen is next refreshed."""

    def standing_changed(self) -> None:
        self._live.refresh()


class LineScreen(Screen):
    """A line for each bar that is final or amended, and from time to time for the growing one."""

    def __init__(self, watched: Watched, console: Console) -> None:
        super().__init__(watched)
        self._console = console
        self._shown: dict[int, dict[str, object]] = {}
        self._at_s = 0.0

    def message(self, text: str, told: bool) -> None:
        if not told:
            return
        bars = self._watched.bars()
        news = [bar for bar in bars if self._shown.get(bar["t"]) != bar]
        if not any(bar["isFinal"] for bar in news) and time.monotonic() - self._at_s < LINE_EVERY_S:
            return
        self._at_s = time.monotonic()
        lines = self._watched.table(bars, self._console.width, in_short=True)
        # Each with the widths of them all.
        heading, *rows = lines
        chosen = [row for bar, row in zip(bars, rows, strict=True) if bar in news] if len(rows) == len(bars) else rows
        for line in [heading, *chosen] if not self._shown else chosen:
            self._console.print(line, soft_wrap=True)
        self._shown = {bar["t"]: bar for bar in bars}

    def standing_changed(self) -> None:
        watched = self._watched
        self._console.print(f"{watched.symbol} {watched.timeframe.text}: {watched.standing()}", soft_wrap=True)


class PipeScreen(Screen):
    """Each message as it came, for programs; how it stands for whoever reads stderr."""

    def message(self, text: str, told: bool) -> None:
        try:
            print(text, flush=True)
        except BrokenPipeError:
            # Else Python complains at its end that it can't write what is left.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise ReaderGone from None

    def standing_changed(self) -> None:
        if not self._watched.is_connected:
            print(f"fleet: {self._watched.standing()}", file=sys.stderr, flush=True)


@contextmanager
def screen_for(watched: Watched) -> Iterator[Screen]:
    console = Console(highlight=False, markup=False, emoji=False)
    if not sys.stdout.isatty():
        yield PipeScreen(watched)
        return
    if console.is_dumb_terminal:
        screen = LineScreen(watched, console)
        screen.standing_changed()
        yield screen
        return

    def shown() -> Group:
        # One line less: the cursor's.
        return Group(*watched.lines(console.width, console.height - 1))

    with Live(
        get_renderable=shown, console=console, refresh_per_second=REFRESH_PER_S, vertical_overflow="crop"
    ) as live:
        yield TableScreen(watched, live)
