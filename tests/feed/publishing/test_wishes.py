"""What the name of a channel asks for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import BadInput
from common.market.timeframes.timeframe import Timeframe
from feed.publishing.wishes import TOLD_BY_OTHERS, wish_of
from feed.stream.topic import Topic

S = "BINANCE:BTCUSDT"


@given(st.integers(1, 500), st.sampled_from(["ms", "s", "m", "h", "d", "w", "M"]))
def test_every_timeframe_by_its_own_name_is_a_wish(n: int, unit: str) -> None:
    text = f"{n}{unit}"
    wish = wish_of(f"{{{S}}}:candles:{text}")
    assert (wish.symbol, wish.topic) == (S, Topic("candles", (("timeframe", text),)))
    assert wish.is_told == (text not in TOLD_BY_OTHERS)


def test_trades_are_asked_for_and_published_by_their_worker() -> None:
    wish = wish_of(f"{{{S}}}:trades")
    assert (wish.symbol, wish.topic, wish.is_told) == (S, None, False)


@given(st.text(max_size=40))
def test_whatever_else_it_says_is_refused_in_one_sentence(text: str) -> None:
    for channel in (text, f"{{{S}}}:candles:{text}", f"{{{text}}}:candles:15m"):
        try:
            wish = wish_of(channel)
        except BadInput as error:
            assert str(error).startswith("channel ") and "\n" not in str(error)
        else:
            assert wish.topic and Timeframe.parse(str(dict(wish.topic.parts)["timeframe"]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("5min", "expected candles:5m"), ("1D", "expected candles:1d"), ("0m", "outside 1ms"), ("x", "is not <n><unit>")],
)
def test_another_spelling_is_told_the_right_one(text: str, expected: str) -> None:
    with pytest.raises(BadInput, match=expected):
        wish_of(f"{{{S}}}:candles:{text}")
