import json
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from common.market.candle import Candle
from common.market.coding.bar_json import bar_json, open_ended, run_of
from common.market.instrument import Instrument
from tests.kit.strategies import LAW, candles, instruments


def test_a_bar_reads_as_documented() -> None:
    candle = Candle(1736690400000, 812, 818, 810, 815, 124553, 70110, 54443, 101423055, 812, 0, 0, 0, 0)
    assert bar_json(candle, Instrument("A", 2, 0), is_final=False) == (
        '{"t":1736690400000,"o":8.12,"h":8.18,"l":8.1,"c":8.15,"v":124553,"bv":70110,"q":1014230.55,"n":812'
        ',"isFinal":false,"rev":0,"source":"live"}'
    )


@LAW
@given(st.lists(st.tuples(candles(), st.booleans()), max_size=4), instruments())
def test_bars_that_are_partial_are_told_later(bars: list[tuple[Candle, bool]], instrument: Instrument) -> None:
    pieces = [open_ended(bar_json(candle, instrument, is_final=True).encode()) for candle, _ in bars]
    run = run_of(pieces, {at for at, (_, partial) in enumerate(bars) if partial})
    texts = [bar_json(candle, instrument, is_final=True, partial=partial) for candle, partial in bars]
    assert run.decode() == ",".join(texts)


@LAW
@given(candles(), instruments(), st.booleans(), st.booleans())
def test_every_number_is_the_exact_decimal(candle: Candle, instrument: Instrument, final: bool, partial: bool) -> None:
    text = bar_json(candle, instrument, is_final=final, partial=partial)
    price, size = 10**instrument.price_decimals, 10**instrument.size_decimals
    ticks = {"o": candle.open_ticks, "h": candle.high_ticks, "l": candle.low_ticks, "c": candle.close_ticks}
    lots = {"v": candle.volume_lots, "bv": candle.buy_lots, "uv": candle.unknown_lots}
    expected: dict[str, object] = {"t": candle.open_ms, "n": candle.trades, "rev": candle.rev, "source": candle.source}
    expected |= {name: Fraction(value, price) for name, value in ticks.items()}
    expected |= {name: Fraction(value, size) for name, value in lots.items()}
    expected |= {"q": Fraction(candle.turnover, price * size)}
    expected |= {"isFinal": final, "partial": partial}
    if not partial:
        del expected["partial"]
    if not candle.unknown_lots:
        del expected["uv"]
    assert json.loads(text, parse_float=Fraction) == expected
