"""`fleet calendars`: what people know better than the library reaches every bar, without a restart."""

from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from common.errors import BadInput
from common.market.timeframes.calendar_exceptions import NO_EXCEPTIONS
from common.market.timeframes.calendars import unfit
from common.store.calendars import CalendarStore, outside_of
from common.store.keys import SymbolKeys
from common.store.rollups import RollupStore
from infra.cli.calendars import read_file
from infra.paths import ROOT
from tests.golden.data import folder
from tests.kit.processes.command import Fleet
from tests.kit.processes.rollup import START_S, clock, rollup_of_fleet
from tests.kit.served import Served, served
from tests.kit.times import ms
from tests.kit.waiting import wait_until_async

pytestmark = pytest.mark.process

S = "NSE:SPECIAL"
KEYS = SymbolKeys(S)
# Day bars by the library's calendar, and those of the sessions that it does not know: their opens and volumes.
USUAL = {"2024-03-01T03:45": 375, "2024-10-31T03:45": 375, "2024-11-04T03:45": 375, "2025-10-20T03:45": 375}
SPECIAL = {"2024-03-02T03:45": 45, "2024-11-01T12:30": 60, "2025-10-21T08:15": 60}
SESSIONS = """\
calendar,date,open,close
XNSE,2024-03-02,09:15,10:00
XNSE,2024-11-01,18:00,19:00
XNSE,2025-10-21,13:45,14:45
"""


@pytest.fixture
def fleet(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    monkeypatch.setenv("FLEET_CANDLE_DAYS", "2000")
    return Fleet(redis_url, tmp_path / "data")


async def days_of(feed: Served) -> dict[int, int]:
    bars = (await feed.json(f"/v1/candles/{S}", timeframe="1d"))["bars"]
    return {bar["t"]: bar["v"] for bar in bars}


def days(*wanted: dict[str, int]) -> dict[int, int]:
    return {ms(opened): volume for each in wanted for opened, volume in each.items()}


# Three commands and three processes load a calendar each, which takes as many seconds.
@pytest.mark.timeout(120)
async def test_sessions_that_are_added_are_in_every_bar_and_go_again(
    fleet: Fleet, client: Redis, tmp_path: Path
) -> None:
    path = folder() / "cases" / "18-nse-special" / "candles.csv"
    numbers = ["--price-decimals", "0", "--size-decimals", "0", "--calendar", "XNSE"]
    imported = fleet("import", "candles", str(path), "--symbol", S, *numbers)
    assert "165 trades are in no session of XNSE: they are kept, no bar shows them." in imported.out
    assert "fleet calendars add" in imported.out
    (tmp_path / "sessions.csv").write_text(SESSIONS)

    async def settled() -> bool:
        return not (await RollupStore(client, S).due()).days

    async def stored() -> dict[int, int]:
        members: Any = await client.zrange(KEYS.rolled("1d"), 0, -1, withscores=True)
        return {int(score): int.from_bytes(member[40:48], "little") for member, score in members}

    async with served(fleet.url) as feed:
        with rollup_of_fleet(fleet.url, tmp_path / "archive"), clock(fleet.url):
            await wait_until_async(settled, START_S)
            # The newest day lies open: it is in an answer, and not stored.
            assert await days_of(feed) == days(USUAL) == await stored()
            health = await feed.json(f"/v1/health/{S}")
            assert health["history"]["outOfSession"] == 165
            assert await outside_of(client, [S]) == {S: (165, ms("2025-10-21"))}

            added = fleet("calendars", "add", "--file", str(tmp_path / "sessions.csv"))
            told, *days_told = added.out.splitlines()
            assert told == "XNSE: 3 exceptions, version 1"
            # Unless the clock was quicker.
            assert days_told in ([], [f"{S}: 6 days are made anew"])
            # At once, whether the queue has got there or not; the feed looks at the registry every 2 s.
            await wait_until_async(lambda: _is(days_of(feed), days(USUAL, SPECIAL)))
            await wait_until_async(settled, START_S)
            assert await days_of(feed) == days(USUAL, SPECIAL)
            assert await stored() == days(USUAL, {opened: SPECIAL[opened] for opened in list(SPECIAL)[:2]})
            minutes = await feed.json(f"/v1/candles/{S}", start=ms("2024-11-01"), end=ms("2024-11-02"))
            assert len(minutes["bars"]) == 60
            weeks = await feed.json(f"/v1/candles/{S}", timeframe="1w")
            assert {bar["t"]: bar["v"] for bar in weeks["bars"]}[ms("2024-02-26T03:45")] == 420
            assert (await feed.json(f"/v1/health/{S}"))["history"]["outOfSession"] == 0

            assert fleet("calendars", "list", "--csv").out == SESSIONS
            # As `fleet calendars drop --exception` does, but for the marking: the clock sees to that.
            await CalendarStore(client).change("XNSE", removed=[ms(opened[:10]) for opened in SPECIAL])
            await wait_until_async(lambda: _is(days_of(feed), days(USUAL)))
            await wait_until_async(lambda: _is(stored(), days(USUAL)), START_S)
            # The newest day is not over: it counts once it is.
            assert (await feed.json(f"/v1/health/{S}"))["history"]["outOfSession"] == 105


async def _is(found: Any, wanted: object) -> bool:
    return bool(await found == wanted)


def test_what_is_wrong_is_told_in_a_sentence_and_nothing_is_written(fleet: Fleet, tmp_path: Path) -> None:
    path = tmp_path / "sessions.csv"
    for text, sentence in (
        ("calendar,date\n", "begins with 'calendar,date', expected 'calendar,date,open,close'"),
        (SESSIONS + "XNSE,2024-03-09\n", "line 5: 2 fields, expected 4"),
        (SESSIONS + "XNSE,2024-03-09,9:15,10:00\n", "line 5: time is '9:15', expected one such as 09:15"),
    ):
        path.write_text(text)
        with pytest.raises(BadInput) as raised:
            read_file(path)
        assert sentence in str(raised.value)
    # The first days are fine, and are not written either.
    path.write_text(SESSIONS + "XNSE,2024-03-09,,\n")
    told = fleet("calendars", "add", "--file", str(path))
    assert (told.code, told.err) == (2, "fleet: XNSE has no session on 2024-03-09 that could be dropped\n")
    assert fleet("calendars", "list").out == "every calendar is as the library has it: fleet calendars add\n"


def test_the_file_that_is_shipped_goes_with_the_library() -> None:
    for calendar, exceptions in read_file(ROOT / "docs" / "calendar-exceptions.csv").items():
        assert unfit(calendar, NO_EXCEPTIONS.changed(exceptions)) == []
