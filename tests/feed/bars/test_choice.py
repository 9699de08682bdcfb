"""Where bars come from is chosen once, by their timeframe; callers need not know which source it is."""

import re

import pytest
from redis.asyncio import Redis

from common.market.timeframes.timeframe import Timeframe
from common.store.registry import Market
from feed.bars.by_trade import TradeSource
from feed.bars.days import DaySource
from feed.bars.minutes import MinuteSource
from feed.queries.queries import Queries
from infra.paths import ROOT
from tests.kit.writer import INSTRUMENT


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        *((text, TradeSource) for text in ("250ms", "1s", "90s")),
        *((text, MinuteSource) for text in ("1m", "15m", "24h", "120s")),
        *((text, DaySource) for text in ("1d", "3d", "1w", "1M")),
    ],
)
async def test_a_timeframe_has_one_source(client: Redis, text: str, kind: type) -> None:
    assert type(Queries(client, 6_000).of(Market(INSTRUMENT)).source(Timeframe.parse(text))) is kind


def test_nothing_but_the_choice_asks_a_timeframe_what_it_is_made_of() -> None:
    sources = [path for room in ("feed", "infra/cli") for path in (ROOT / room).rglob("*.py")]
    asking = [path for path in sources if re.search(r"\.of_(days|minutes)\b", path.read_text("utf-8"))]
    assert [path.relative_to(ROOT).as_posix() for path in asking] == ["feed/bars/choice.py"]
