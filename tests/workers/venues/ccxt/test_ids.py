"""Texts to whole numbers: small numbers stay, all else is hashed, and the kinds never meet."""

from hypothesis import example, given
from hypothesis import strategies as st

from common.market.trade import BUY, MAX_ID, SELL
from tests.kit.strategies import LAW
from workers.venues.ccxt.ids import HASHED, Ids, trade_id

TEXTS = st.one_of(st.text(max_size=40), st.uuids().map(str), st.integers(0, 1 << 70).map(str))


@LAW
@given(st.integers(0, HASHED - 1))
@example(0)
@example(HASHED - 1)
def test_a_number_is_its_own_id(number: int) -> None:
    assert trade_id(str(number)) == number


@LAW
@given(TEXTS, TEXTS)
@example("7", "007")
@example("7", "٧")
@example("7", " 7")
@example(str(HASHED), str(HASHED + 1))
def test_an_id_fits_and_other_texts_have_other_ids(one: str, other: str) -> None:
    assert 0 <= trade_id(one) <= MAX_ID
    assert (trade_id(one) == trade_id(other)) == (one == other)


def test_a_hash_is_the_same_in_every_process() -> None:
    """What is stored must be known again by a later version."""
    assert trade_id("a3f1c9") == 7915296729332527206
    assert Ids().of(None, 1_700_000_000_000, "1.5", "2.0", BUY) == 5543906475826624550


@LAW
@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["1.0", "2.0"]), st.sampled_from([BUY, SELL]))))
def test_trades_without_ids_are_told_apart_and_known_again(rows: list[tuple[int, str, int]]) -> None:
    first, again = Ids(), Ids()
    ids = [first.of(None, ts_ms, "10.0", size, side) for ts_ms, size, side in rows]
    assert len(set(ids)) == len(rows) and all(HASHED <= each <= MAX_ID for each in ids)
    assert [again.of("", ts_ms, "10.0", size, side) for ts_ms, size, side in rows] == ids
