"""`GET /v1/gaps/{symbol}`: the gap ledger."""

from typing import Any

import pytest

from common.market.builder.gaps import DISCONNECT, OPEN, REPAIRED, REPAIRING, UNFILLABLE, Gap
from common.store.keys import SymbolKeys
from tests.kit.served import Served
from tests.kit.writer import INSTRUMENT, START_MS, Writer

S = INSTRUMENT.symbol
PATH = f"/v1/gaps/{S}"
# By the time they were seen.
STATES = [REPAIRED, UNFILLABLE, OPEN, REPAIRED, REPAIRING, OPEN, OPEN]


def gap(number: int, state: str) -> Gap:
    first = 100 * number + 1
    return Gap(first, first + 9, START_MS + number, START_MS + number + 5, DISCONNECT, START_MS + 50 * number, state)


GAPS = [gap(number, state) for number, state in enumerate(STATES)]


@pytest.fixture
async def gaps(writer: Writer) -> None:
    """In the store, in another order than they were seen in."""
    shuffled: dict[Any, Any] = {one.id: one.dump() for one in sorted(GAPS, key=lambda one: one.state)}
    await writer.client.hset(SymbolKeys(S).gaps, mapping=shuffled)


@pytest.mark.usefixtures("gaps")
async def test_gaps_are_answered_newest_first(feed: Served) -> None:
    answer = await feed.json(PATH)
    assert answer == {"symbol": S, "gaps": [one.json() for one in reversed(GAPS)], "open": 4}


@pytest.mark.usefixtures("gaps")
async def test_limit_keeps_the_newest_and_state_those_in_it(feed: Served) -> None:
    for asked, numbers in (
        ({"limit": 2}, [6, 5]),
        ({"state": "open"}, [6, 5, 2]),
        ({"state": "open", "limit": 2}, [6, 5]),
        ({"state": "repairing"}, [4]),
        ({"state": "repaired"}, [3, 0]),
        ({"state": "unfillable", "limit": 1}, [1]),
    ):
        answer = await feed.json(PATH, **asked)
        assert answer["gaps"] == [GAPS[number].json() for number in numbers], asked
        assert answer["open"] == 4


async def test_a_symbol_without_gaps_has_none(feed: Served, writer: Writer) -> None:
    assert await feed.json(PATH) == {"symbol": S, "gaps": [], "open": 0}
