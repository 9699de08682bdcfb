"""What one query may cost: it ends with `next` where its budget does, and asked on with that all is seen once."""

import random
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import pytest

from common.market.timeframes.timeframe import DAY_MS
from feed.bars.tail import Tails
from feed.reading.budget import QueryBudget
from tests.kit.served import Served
from tests.kit.writer import INSTRUMENT, START_MS, Writer, some_trades

S = INSTRUMENT.symbol
CANDLES, FOOTPRINT = f"/v1/candles/{S}", f"/v1/footprint/{S}"


@pytest.fixture
def spend(feed: Served, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give each query as little as said, and read it in small parts."""

    def spend(bar_factor: int = 1_000, **limits: Any) -> None:
        monkeypatch.setattr("feed.reading.budget.BAR_FACTOR", bar_factor)
        feed.services.queries.answer_bytes = limits.pop("max_bytes", 1 << 20)
        monkeypatch.setattr("feed.queries.queries.QueryBudget", partial(QueryBudget, **limits))
        for name in ("feed.bars.recipe.PART", "feed.bars.recipe.FOOTPRINT_PART", "feed.bars.recipe.CHUNK"):
            monkeypatch.setattr(name, 3)
        monkeypatch.setattr("feed.bars.recipe.FOOTPRINT_CHUNK", 2)
        monkeypatch.setattr("feed.reading.sealed_days.MAX_LEVELS_AT_ONCE", 12)
        monkeypatch.setattr("feed.bars.footprints.ROWS_AT_ONCE", 8)
        # No tail has them.
        monkeypatch.setattr("feed.bars.tail.MAX_BARS", 0)

    return spend


@pytest.fixture
async def history(writer: Writer) -> Writer:
    """Three days: the first two are sealed, and the second was written late as well."""
    rng = random.Random(7)
    for day in range(3):
        for _ in range(4):
            await writer.commit(*some_trades(writer, rng, 25))
        if day < 2:
            writer.now_ms += DAY_MS
            await writer.commit(writer.trade())
            await writer.roll_up()
    await writer.commit(writer.trade(writer.now_ms - DAY_MS))
    return writer


async def walked(feed: Served, path: str, **asked: Any) -> tuple[list[Any], int]:
    """Ask on as the answers say; return all bars, and how often was asked."""
    found: list[Any] = []
    forward = "start" in asked
    for requests in range(1, 200):
        answer = await feed.json(path, **asked)
        assert answer["bars"], asked
        found = found + answer["bars"] if forward else answer["bars"] + found
        if "next" not in answer:
            return found, requests
        assert list(answer["next"]) == ["start" if forward else "end"]
        asked |= answer["next"]
    raise AssertionError("it never ends")


@pytest.mark.parametrize("limits", [{"max_rows": 12}, {"max_work_s": 0.0}], ids=["rows", "work"])
@pytest.mark.parametrize("path", [CANDLES, FOOTPRINT])
async def test_walking_on_from_where_a_budget_was_spent_sees_every_bar_once(
    feed: Served, history: Writer, spend: Callable[..., None], path: str, limits: dict[str, Any]
) -> None:
    timeframes, fills = ("1m", "15m", "4h", "1d"), ("none", "flat") if path == CANDLES else (None,)
    asked = [
        {"timeframe": timeframe, "limit": 5_000, **({"fill": fill} if fill else {}), **end}
        for timeframe in timeframes
        for fill in fills
        for end in ({}, {"start": START_MS - DAY_MS}, {"end": history.now_ms - DAY_MS // 2})
    ]
    whole = [(await feed.json(path, **each))["bars"] for each in asked]
    spend(**limits)
    feed.services.queries.tails = Tails()
    for each, bars in zip(asked, whole, strict=True):
        found, count = await walked(feed, path, **each)
        assert found == bars, each
        assert count > 1 or each["timeframe"] != "1m" or "end" in each


@pytest.mark.parametrize("timeframe", ["3m", "15m", "1h"])
@pytest.mark.parametrize("path", [CANDLES, FOOTPRINT])
async def test_no_bar_is_passed_over_where_limit_and_budget_are_reached_at_once(
    feed: Served, history: Writer, spend: Callable[..., None], path: str, timeframe: str
) -> None:
    """A full answer says no `next`: of what was read beyond it some is cut."""
    whole = (await feed.json(path, timeframe=timeframe, limit=5_000))["bars"]
    for max_rows, limit in product((6, 12), range(1, 7)):
        spend(max_rows=max_rows)
        feed.services.queries.tails = Tails()
        asked: dict[str, Any] = {}
        found: list[Any] = []
        while len(found) < len(whole):
            answer = await feed.json(path, timeframe=timeframe, limit=limit, **asked)
            found = answer["bars"] + found
            assert whole[-len(found) :] == found, (max_rows, limit)
            assert "next" not in answer or len(answer["bars"]) < limit
            asked = answer.get("next") or {"end": found[0]["t"]}


async def test_a_table_that_takes_more_than_a_budget_is_refused_with_what_fits(
    feed: Served, history: Writer, spend: Callable[..., None]
) -> None:
    whole = (await feed.get(CANDLES, limit=5_000, format="csv")).text.splitlines()
    spend(max_rows=8)
    for form in ("csv", "arrow"):
        refused = await feed.get(CANDLES, limit=5_000, format=form)
        assert refused.status_code == 400, form
        assert "more than one table may take, expected start=" in refused.json()["error"]["message"]
    start_ms = int(refused.text.split("start=")[1].split()[0])
    newer = await feed.get(CANDLES, limit=5_000, format="csv", start=start_ms, end=history.now_ms + DAY_MS)
    header, *lines = newer.text.splitlines()
    assert newer.status_code == 200 and lines
    assert header == whole[0] and lines == whole[-len(lines) :]


async def test_an_answer_of_more_bytes_than_may_be_is_asked_for_in_parts(
    feed: Served, history: Writer, spend: Callable[..., None]
) -> None:
    whole = (await feed.json(FOOTPRINT, limit=5_000))["bars"]
    spend(max_bytes=4_000)
    for asked in ({}, {"start": START_MS - DAY_MS}):
        found, requests = await walked(feed, FOOTPRINT, limit=5_000, **asked)
        assert found == whole and requests > 2
        assert len((await feed.get(FOOTPRINT, limit=5_000, **asked)).content) < 4_000 + 1_500


async def test_a_bar_that_is_too_much_for_one_answer_is_refused(
    feed: Served, history: Writer, spend: Callable[..., None]
) -> None:
    spend(max_bytes=500)
    refused = await feed.get(FOOTPRINT, timeframe="1d", limit=1)
    assert refused.status_code == 400 and "higher rows" in refused.json()["error"]["message"]
    # Of higher rows it fits.
    assert (await feed.get(FOOTPRINT, timeframe="1d", limit=1, row=100)).status_code == 200
    spend(max_rows=10, bar_factor=4)
    refused = await feed.get(FOOTPRINT, timeframe="1M", row=100, limit=1)
    assert refused.status_code == 400 and "expected a shorter timeframe" in refused.json()["error"]["message"]
