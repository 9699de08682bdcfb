"""What `fleet watch` shows, as text of 80 columns."""

from decimal import Decimal
from typing import Any

import pytest

from common.market.timeframes.timeframe import Timeframe
from infra.cli.watched import Watched, shortened_text
from tests.kit.watch import OPEN_MS, bar, snapshot

ADDRESS = "ws://127.0.0.1:8700/v1/stream"


def watched(*messages: dict[str, Any], symbol: str = "SIMULATED:BTCUSD", timeframe: str = "1m") -> Watched:
    found = Watched(symbol, Timeframe.parse(timeframe), ADDRESS)
    for message in messages:
        found.take(message)
    return found


def shown(found: Watched, width: int = 80, height: int = 24) -> str:
    lines = [line.plain for line in found.lines(width, height)]
    assert all(len(line) <= width for line in lines) and len(lines) <= height
    return "\n" + "\n".join(lines) + "\n"


def test_bars_are_shown_with_all_their_decimals_and_amounts_in_short() -> None:
    found = watched(snapshot(bar(), bar(1, isFinal=False, c="64011", v=2, bv="0.5", n=3)))
    assert (
        shown(found)
        == """
SIMULATED:BTCUSD 1m
Live
open (UTC)       open      high       low     close  volume  trades
01-12 14:00  64000.50  64058.00  63758.31  63933.41  67.985    1177
01-12 14:01  64000.50  64058.00  63758.31  64011.00       2       3  growing
"""
    )


def test_where_there_is_room_amounts_are_exact_and_the_delta_is_there() -> None:
    assert (
        shown(watched(snapshot(bar())), width=100)
        == """
SIMULATED:BTCUSD 1m
Live
open (UTC)       open      high       low     close       volume        delta  trades
01-12 14:00  64000.50  64058.00  63758.31  63933.41  67.98512345  -5.73820989    1177
"""
    )


def test_prices_of_many_digits_leave_out_the_rest_and_are_whole() -> None:
    fine = bar(o="0.000012345678901234", h="0.000012345678901299", l="0.000012345678901200", c="0.0000123456789012")
    assert (
        shown(watched(snapshot(fine), symbol="BINANCE_USDM:1000000PEPEUSDT_PER"))
        == """
BINANCE_USDM:1000000PEPEUSDT_PER 1m
Live
open (UTC)                   high                   low                 close
01-12 14:00  0.000012345678901299  0.000012345678901200  0.000012345678901200
"""
    )


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "0"),
        ("0.00000001", "0"),
        ("12.3456789", "12.346"),
        ("-12.3456789", "-12.346"),
        ("99999.5", "100000"),
        ("1234567.8", "1.2346M"),
        ("-250000", "-250k"),
        ("98765432109876", "98.765T"),
    ],
)
def test_an_amount_in_short_has_five_digits_and_a_unit(amount: str, text: str) -> None:
    assert shortened_text(Decimal(amount)) == text


def test_days_are_dates_and_seconds_have_theirs() -> None:
    assert "2025-01-12  64" in shown(watched(snapshot(bar(t=1_736_640_000_000)), timeframe="1d"))
    assert "01-12 14:00:00  64" in shown(watched(snapshot(bar()), timeframe="10s"))
    # The days of a market that opens within one.
    assert "01-12 14:00  64" in shown(watched(snapshot(bar()), timeframe="1d"))


def test_fresh_history_is_not_amended_and_what_changes_before_our_eyes_is() -> None:
    fetched = [bar(0, rev=1_177, source="backfill"), bar(1, rev=1_100, source="simulated"), bar(2, rev=3)]
    found = watched(snapshot(*fetched))
    assert [found.notes(each) for each in found.bars()] == ["", "", "amended x3"]
    found.take({"type": "amend", "bar": bar(0, rev=1_179, source="backfill", partial=True)})
    assert found.notes(found.bars()[0]) == "amended x2 partial"


def test_it_says_how_it_stands_and_marks_what_is_old() -> None:
    found = watched()
    assert shown(found) == "\nSIMULATED:BTCUSD 1m\nconnecting to http://127.0.0.1:8700\n"
    found.gone("nothing listens there", OPEN_MS)
    assert found.standing() == "connecting to http://127.0.0.1:8700 (nothing listens there)"
    found.take(snapshot(bar()))
    assert (found.standing(), found.is_old) == ("Live", False)
    found.gone("the connection was lost", OPEN_MS + 61_000)
    found.gone("nothing listens there", OPEN_MS + 90_000)
    assert (
        shown(found)
        == """
SIMULATED:BTCUSD 1m
feed gone since 14:01:01 UTC (nothing listens there), connecting; what is shown
is old
open (UTC)       open      high       low     close       volume  trades
01-12 14:00  64000.50  64058.00  63758.31  63933.41  67.98512345    1177
"""
    )
    assert found.is_old and all(span.style == "dim" for line in found.lines(80, 24)[4:] for span in line.spans if span)


@pytest.mark.parametrize(
    ("mode", "message", "sentence"),
    [
        ("STALE", "No trade for a minute or more", "STALE: No trade for a minute or more"),
        ("UNASSIGNED", "", "UNASSIGNED"),
    ],
)
def test_a_symbol_that_is_not_live_is_told(mode: str, message: str, sentence: str) -> None:
    found = watched(snapshot(bar(), mode=mode, message=message))
    assert (found.standing(), found.is_old) == (sentence, True)


def test_a_closed_market_is_told_and_what_is_shown_is_not_old() -> None:
    found = watched(snapshot(bar(), mode="LIVE", message="The market is closed"))
    assert (found.standing(), found.is_old) == ("The market is closed", False)


def test_a_store_that_is_away_is_told_and_waited_for() -> None:
    away = {"type": "error", "code": "store_unavailable", "message": "the store does not answer", "symbol": "A"}
    found = watched(snapshot(bar()), away)
    assert found.is_passing(away) and not found.is_passing(away | {"code": "bad_input"})
    assert found.standing() == "no news: the store does not answer"
    found.take({"type": "candle", "bar": bar()})
    assert found.standing() == "Live"


def test_a_low_terminal_shows_the_newest_bars() -> None:
    found = watched(snapshot(*map(bar, range(20))))
    assert [line[6:11] for line in shown(found, height=6).splitlines()[4:]] == ["14:17", "14:18", "14:19"]
