"""What hypothesis draws: instruments, trades as venues really send them, and ways to cut and mix them."""

from hypothesis import settings
from hypothesis import strategies as st

from common.market.candle import BACKFILL, IMPORT, LIVE, SIMULATED, Candle
from common.market.footprint import TRADES_AT, Footprint, Level
from common.market.instrument import Ids, Instrument
from common.market.timeframes.calendars import sessions_of
from common.market.timeframes.timeframe import DAY_MS, MINUTE_MS, Timeframe
from common.market.trade import MAX_ID, MAX_LOTS, MAX_TICKS, Trade, Trades
from common.market.units import MAX_DECIMALS
from tests.scale import scaled

# No deadline: a busy machine is not a broken law.
LAW = settings(deadline=None, max_examples=scaled(100))

# 2024-08-08T23:50Z: a run of trades soon crosses an hour, a day and, with the longest gaps, weeks and months.
START_MS = 1_723_161_000_000

SOURCES = st.integers(1, LIVE | BACKFILL | IMPORT | SIMULATED)
SIDES = st.integers(0, 2)
# Ticks near one price, as in a market; and now and then any price there is.
PRICES = st.one_of(st.integers(99_990, 100_010), st.integers(99_000, 101_000), st.integers(1, MAX_TICKS - 1))
# Heavy tails, and prints of size zero.
SIZES = st.one_of(st.integers(0, 20), st.integers(1, 100_000), st.integers(0, MAX_LOTS - 1))
# From one trade to the next: the same ms, the same second, the next minutes, another week.
GAPS_MS = st.one_of(st.just(0), st.integers(0, 900), st.integers(0, 2 * MINUTE_MS), st.integers(0, 20 * DAY_MS))
ID_STEPS = st.one_of(st.just(1), st.just(1), st.integers(1, 40))

# Timeframes made of minutes: what minute candles can be merged into.
MINUTE_TIMEFRAMES = st.one_of(
    st.sampled_from([Timeframe.parse(text) for text in ("1m", "5m", "15m", "1h", "4h", "1d", "1w", "1M")]),
    st.builds(Timeframe, st.integers(1, 3_000), st.just("m")),
    st.builds(Timeframe, st.integers(1, 40), st.sampled_from("hdwM")),
)
# Of markets that close, or whose days are not those of UTC.
SESSIONS = st.sampled_from(["XNYS", "FOREX", "24x7"]).map(
    lambda calendar: sessions_of(calendar, "Europe/Berlin" if calendar == "24x7" else "UTC")
)
SESSION_MINUTE_TIMEFRAMES = st.builds(Timeframe.anchored, MINUTE_TIMEFRAMES, SESSIONS)
TIMEFRAMES = st.one_of(
    MINUTE_TIMEFRAMES,
    st.builds(Timeframe, st.integers(1, 100_000), st.sampled_from(["ms", "s"])),
)
SESSION_TIMEFRAMES = st.builds(Timeframe.anchored, TIMEFRAMES, SESSIONS)


def instruments(ids: Ids = "unique") -> st.SearchStrategy[Instrument]:
    decimals = st.integers(0, MAX_DECIMALS)
    return st.builds(Instrument, st.sampled_from(["BTCUSDT", "COMEX:GCZ3"]), decimals, decimals, st.just(ids))


@st.composite
def trades(draw: st.DrawFn, ids: Ids = "contiguous", min_size: int = 0, max_size: int = 30) -> Trades:
    """Draw valid trades, each once, in order of time.

    contiguous: ids count up, with gaps. unique: any ids, so that trades of one ms are not in the order of their keys.
    """
    rows = draw(st.lists(st.tuples(GAPS_MS, ID_STEPS, PRICES, SIZES, SIDES), min_size=min_size, max_size=max_size))
    count = len(rows)
    numbers = draw(st.lists(st.integers(0, MAX_ID), min_size=count, max_size=count, unique=True))
    ts_ms, number = START_MS, 1_000
    drawn = []
    for (gap_ms, step, price, size, side), any_id in zip(rows, numbers, strict=True):
        ts_ms, number = ts_ms + gap_ms, number + step
        drawn.append(Trade(ts_ms, number if ids == "contiguous" else any_id, price, size, side))
    return Trades.of(drawn)


@st.composite
def wild_trades(draw: st.DrawFn) -> Trades:
    """Draw trades of which some are valid: every field may be out of bounds, ids repeat."""
    edge = st.sampled_from([-1, 0, 1, 1 << 43, 1 << 53, (1 << 53) - 1, 1 << 63, 1 << 70])
    ts_ms = st.one_of(st.integers(START_MS, START_MS + 10 * MINUTE_MS), edge)
    row = st.builds(
        Trade,
        ts_ms,
        st.one_of(st.integers(0, 20), edge),
        st.one_of(PRICES, edge),
        st.one_of(SIZES, edge),
        st.one_of(SIDES, st.integers(0, 255)),
    )
    return Trades.of(draw(st.lists(row, max_size=30)))


@st.composite
def mixed(draw: st.DrawFn, whole: Trades) -> Trades:
    """Draw the same trades in any order, some of them twice or more."""
    indices = range(len(whole))
    again = draw(st.lists(st.sampled_from(indices), max_size=10)) if whole else []
    return whole.take(draw(st.permutations([*indices, *again])))


@st.composite
def batches(draw: st.DrawFn, whole: Trades) -> list[Trades]:
    """Draw a way to cut a sequence into batches; some may be empty."""
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    return [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]


@st.composite
def candles(draw: st.DrawFn, open_ms: int = START_MS) -> Candle:
    """Draw any candle of one minute, with prices and volumes that a builder could have made."""
    o, c = draw(PRICES), draw(PRICES)
    high, low = max(o, c) + draw(st.integers(0, 50)), max(1, min(o, c) - draw(st.integers(0, 50)))
    lots = st.one_of(st.integers(0, 3), st.integers(0, 1 << 60))
    buy, sell, unknown = (draw(lots) for _ in range(3))
    volume = buy + sell + unknown
    # Few moments and few ids among all there are, so that candles do begin or end in the same ms.
    moment = st.one_of(st.integers(0, 2), st.integers(0, MINUTE_MS - 1))
    trade_id = st.one_of(st.integers(0, 5), st.integers(0, MAX_ID))
    keys = sorted((draw(moment), draw(trade_id)) for _ in range(2))
    (first_ms, first_id), (last_ms, last_id) = keys
    below, above = (draw(st.integers(0, most)) for most in (buy, sell))
    delta = draw(st.sampled_from([None, (buy - sell - below, buy - sell + above)]))
    return Candle(
        open_ms,
        o,
        high,
        low,
        c,
        volume,
        buy,
        sell,
        draw(st.integers(low * volume, high * volume)),
        draw(st.integers(1, 1 << 20)),
        open_ms + first_ms,
        first_id,
        open_ms + last_ms,
        last_id,
        draw(st.integers(0, 3)),
        draw(SOURCES),
        *(delta or (None, None)),
    )


def footprints(min_size: int = 0) -> st.SearchStrategy[Footprint]:
    """Draw footprints of every packed shape: one side to three, narrow and wide columns."""
    lots = st.one_of(st.integers(0, 20), st.integers(0, 1 << 20), st.integers(0, (1 << 63) - 1))
    count = st.one_of(st.integers(1, 3), st.integers(1, 300), st.integers(1, 1 << 33))
    one_side = st.tuples(SIDES, lots, count)
    levels = st.lists(one_side, min_size=1, max_size=3).map(_level)
    return st.dictionaries(PRICES, levels, min_size=min_size, max_size=12).map(Footprint)


def _level(by_side: list[tuple[int, int, int]]) -> Level:
    level = [0] * 6
    for side, lots, count in by_side:
        level[side], level[side + TRADES_AT] = lots, count
    return level
