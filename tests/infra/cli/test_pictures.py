"""`fleet footprint` and `fleet profile` on a terminal of 80 columns, word for word."""

import asyncio
import random
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from common.errors import BadInput
from common.store.client import commit_client
from infra.cli.commands import app
from infra.cli.pictures import PriceColumn, short
from tests.kit.strategies import LAW
from tests.kit.writer import INSTRUMENT, Writer

S = INSTRUMENT.symbol
# 2023-11-14T22:30Z.
START_MS = 1_700_001_000_000


@pytest.fixture
def url(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("REDIS_URL", redis_url)
    return redis_url


async def _traded(url: str) -> None:
    rng = random.Random(3)
    async with commit_client(url) as client:
        writer = await Writer.begun(client)
        price = 10_000
        for minute in range(75):
            price += rng.randint(-6, 6)
            for _ in range(4):
                trade = writer.trade(
                    START_MS + minute * 60_000, price + rng.randint(-4, 4), rng.randint(1, 90_000), rng.choice((0, 1))
                )
                await writer.commit(trade)


def fleet(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert all(len(line) <= 80 for line in done.output.splitlines()), done.output
    return "\n" + done.output


def test_a_footprint_is_drawn_bar_by_bar(url: str) -> None:
    asyncio.run(_traded(url))
    assert (
        fleet("footprint", S)
        == """
TEST:BTC.USD_1-2  15m  rows of 0.02  sold x bought, UTC
       22:45           23:00           23:15           23:30 ~
100.30                                  22.69 x 3.955>
   ...
100.26  8.014 x 0       97.32 x 25.38> |145.8 x 25.36<
100.24                                 |134.9 x 0    <
100.22                 |172.4 x 138.9< |87.59 x 54.02<
100.20      0 x 10.14> |308.7 x 218.2  |69.38 x 29.34
100.18      0 x 100.9  *460.6 x 193.6  |168.2 x 209.6<
100.16   75.9 x 27.93> |  448 x 105.7  *182.5 x 298.5>
100.14                  86.22 x 49.2 > |54.72 x 0
100.12  161.7 x 73.9 <  14.05 x 0      |284.7 x 2.914<
100.10 |122.9 x 100.3   130.5 x 0    <  136.1 x 153.4<  84.75 x 0
100.08 |129.2 x 176.7    9.99 x 38.59<  75.13 x 67.72     154 x 0.219<
100.06 |146.4 x 81.9    126.6 x 0    <    120 x 35.39   54.36 x 87.66<
100.04 |169.3 x 153.2>                                  84.05 x 15.92
100.02 |    0 x 131.6                                  |209.8 x 203.6<
100.00 |131.8 x 46.12                                  |209.6 x 83.15
 99.98 *197.5 x 161  x                                 *182.9 x 256.2
 99.96      0 x 77.14                                  |  114 x 322.7
 99.94  82.57 x 23.52>                                 |  398 x 32.9 >
 99.92                                                      0 x 31.8
 99.90  46.04 x 0    <                                  40.41 x 78.4
 99.88                                                  60.71 x 17.49
 delta -106.9          -1084.838       -601.51         -462.603
   poc 99.98           100.18          100.16          99.98
* poc   | value area   < sold, > bought, x both: imbalance   ~ still growing
"""
    )


def test_a_profile_is_drawn_as_lengths(url: str) -> None:
    asyncio.run(_traded(url))
    assert (
        fleet("profile", S)
        == """
TEST:BTC.USD_1-2  session  11-14 00:00 to 11-15 00:00 UTC  rows of 0.02
volume 13375.055  delta -2208.143  still growing
100.30   █▏                                                                26.64
   ...
100.26   ██████████████                                                    301.8
100.24   ██████▎                                                           134.9
100.22 | ███████████████████████▍                                          506.1
100.20 | █████████████████████████████████▎                                718.8
100.18 | ██████████████████████████████████████████████████████████▍        1258
100.16 * █████████████████████████████████████████████████████████████████  1401
100.14 | ██████████████▋                                                   315.8
100.12 | █████████████████████████████████████████████████████████          1229
100.10 | █████████████████████████████████████                             797.7
100.08 | █████████████████████████████████████████████████████████          1229
100.06 | ███████████████████████████████████████████████████                1100
100.04 | ████████████████████████████████▌                                 700.6
100.02 | █████████████████████████████████▌                                  722
100.00   ██████████████████████████████████▋                               748.6
 99.98   █████████████████████████████████████                             797.5
 99.96   ███████████████████████▊                                          513.8
 99.94   ████████████████████████▉                                           537
 99.92   ████▎                                                              93.3
 99.90   ███████▋                                                          164.9
 99.88   ███▋                                                               78.2
* poc   | value area
"""
    )


def test_what_cannot_be_shown_is_said(url: str) -> None:
    asyncio.run(_traded(url))
    for arguments, sentence in (
        (("footprint", S, "--end", "2001-01-01"), "has nothing to show in that time"),
        (("profile", S, "--end", "2001-01-01"), "has nothing to show in that time"),
        (("profile", S, "--kind", "tpo"), "--kind is 'tpo', expected session, day, week or month"),
        (("footprint", S, "--row", "0"), "row is '0', expected auto or a multiple of the tick 0.01"),
    ):
        done = CliRunner().invoke(app, arguments)
        assert isinstance(done.exception, BadInput) and sentence in str(done.exception)


@LAW
@given(st.decimals(-(10**14), 10**14, places=8))
def test_a_short_number_has_five_characters_and_is_nearly_the_number(number: Decimal) -> None:
    text = short(number)
    assert len(text) <= 5 and (text == "0") == (number == 0)
    value = Decimal(text.rstrip("kMGT")) * 1_000 ** ("kMGT".index(text[-1]) + 1 if text[-1] in "kMGT" else 0)
    assert abs(value - number) <= max(abs(number) * Decimal("0.06"), Decimal("0.006"))


def test_rows_that_are_left_out_are_shown_as_such() -> None:
    column = PriceColumn.of({Decimal("1"), Decimal("1.5"), Decimal("3")}, Decimal("0.5"))
    assert [column.text(price) for price in column.prices] == ["3.0", "...", "1.5", "1.0"]


def test_indicators_are_lines_of_the_newest_bars(url: str) -> None:
    asyncio.run(_traded(url))
    assert (
        fleet("indicators", S, "RSI_3", "MACD_2_3_2", "VWAP", "--timeframe", "5m")
        == """
TEST:BTC.USD_1-2  5m  UTC
                        23:25        23:30        23:35      23:40 ~
RSI_3                 30.1838      17.2838      15.3196      9.59494
MACD_2_3_2 MACD    -0.0161101   -0.0287772   -0.0246293   -0.0273949
MACD_2_3_2 MACDs   -0.0116148   -0.0230564    -0.024105   -0.0262982
MACD_2_3_2 MACDh  -0.00449537   -0.0057208 -0.000524307  -0.00109663
VWAP                  100.121      100.113      100.101      100.094
~ still growing
"""
    )
