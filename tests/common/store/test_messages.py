"""The packed message of a commit."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.market.coding import codec
from common.market.timeframes.timeframe import MINUTE_MS
from common.store.lease import new_token
from common.store.messages import NEWEST, CommitMessage
from tests.kit import strategies
from tests.kit.strategies import LAW, START_MS

MANY = st.lists(strategies.candles(), max_size=3)


@LAW
@given(
    st.builds(
        CommitMessage,
        seq=st.integers(1, (1 << 63) - 1),
        token=st.builds(new_token),
        watermark_ms=st.integers(-1, 1 << 43),
        closed=MANY,
        amended=MANY,
        open=st.one_of(st.none(), strategies.candles(START_MS + MINUTE_MS)),
        coverage_json=st.binary(max_size=40),
        trades=st.one_of(st.just(b""), st.builds(codec.pack_trades, strategies.trades())),
    )
)
def test_a_message_comes_out_as_it_went_in(message: CommitMessage) -> None:
    candles = [*message.closed, *message.amended, *([message.open] if message.open else [])]
    # What tells how a delta ran is of a store that has coverage by chunks.
    version = NEWEST if any(candle.delta for candle in candles) else message.version
    assert CommitMessage.unpack(message.pack()) == replace(message, version=version)


def test_a_message_of_another_version_is_refused() -> None:
    packed = CommitMessage(1, new_token(), 0, [], [], None, b"", b"").pack()
    with pytest.raises(ValueError, match="commit message of version 9, expected one of"):
        CommitMessage.unpack(b"\x09" + packed[1:])
