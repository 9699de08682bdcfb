"""Files of minute candles.

CSV       header `open_ms,open,high,low,close,volume` and any of `buy_volume`, `sell_volume`, `turnover`, `trades`
Parquet   the same columns
Binance   the public dumps of 1m klines, spot and USD-M, with or without a header

That they are of minutes must show: from when each one ends (`close_ms`, which CSV and Parquet may have, too), or from
two that are a minute apart. Else they may as well be hours.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import polars as pl

from common.errors import BadInput
from common.frames.schema import CANDLES, conform
from common.market.candle import IMPORT
from common.market.instrument import Instrument
from common.market.timeframes.timeframe import MINUTE_MS, SECOND_MS
from common.market.trade import MAX_TICKS, MAX_TS_MS, MIN_TS_MS
from workers.imports.files import KLINES_DUMP, FileForm, Rows, RowsFile, fields_of, in_ms
from workers.recordings.base import TooFineLine
from workers.recordings.parquet import Expected, scaled, scaled_as, whole

# Of candles: what has to be there, and what may be.
CANDLE_COLUMNS = ("open_ms", "open", "high", "low", "close", "volume")
_MORE_OF_CANDLES = ("buy_volume", "sell_volume", "turnover", "trades")
_CLOSE = ("close_ms",)
_BINANCE_KLINES = (*CANDLE_COLUMNS, *_CLOSE, "turnover", "trades", "buy_volume", "buy_turnover", "ignore")
_WIDTHS = {"turnover": pl.Int128()}
_MAX_TRADES = (1 << 32) - 1
# What a candle of a minute is: each of it a column that is null where it is not so, and what the reason is then.
_SOUND: Mapping[str, tuple[pl.Expr, Expected]] = {
    "#on_minute": (
        pl.col("#open_ms") % MINUTE_MS == 0,
        Expected("open_ms", "the first ms of a minute: it opens within one"),
    ),
    "#of_minute": (
        pl.col("#last_ms") - pl.col("#open_ms") == MINUTE_MS - 1,
        Expected("span", "a candle of one minute: it is of another interval"),
    ),
    "#in_time": (
        pl.col("#open_ms").is_between(MIN_TS_MS, MAX_TS_MS, closed="left"),
        Expected("open_ms", "a time from 1990 to 2248, in ms"),
    ),
    "#upright": (pl.col("#high") >= pl.col("#low"), Expected("candle", "a candle whose high is not below its low")),
    "#around": (
        (pl.min_horizontal("#open", "#close") >= pl.col("#low"))
        & (pl.max_horizontal("#open", "#close") <= pl.col("#high")),
        Expected("candle", "a candle whose open and close are between its low and its high"),
    ),
    "#priced": (
        (pl.col("#low") > 0) & (pl.col("#high") < MAX_TICKS),
        Expected("candle", "a candle of prices above 0, and not beyond what can be held"),
    ),
    "#traded": (
        (pl.min_horizontal("#volume", "#buy_volume", "#sell_volume", "#turnover") >= 0)
        & pl.col("#trades").is_between(0, _MAX_TRADES),
        Expected("candle", "a candle of which nothing is negative"),
    ),
    "#shares": (
        pl.col("#volume") - pl.col("#buy_volume") >= pl.col("#sell_volume"),
        Expected("candle", "a candle with no more bought and sold than traded"),
    ),
}
# Other intervals that candles come in; and so many of them that are one apart are no minutes, whatever is said.
_OTHER_MINUTES, _HOUR_MINUTES = (5, 10, 15, 30), 60
_MANY = 24


class CandleFile(RowsFile):
    """A file of minute candles. The optional columns are 0 where there are none.

    `are_minutes`: the caller knows that they are, where the file does not show it.
    """

    needed = CANDLE_COLUMNS
    of_minutes = True

    def __init__(self, path: Path, instrument: Instrument, skip_bad: bool = False, are_minutes: bool = False) -> None:
        super().__init__(path, instrument, skip_bad)
        self.are_minutes = are_minutes

    @property
    def _expected(self) -> Mapping[str, Expected]:
        of_price, of_size = ("open", "high", "low", "close"), ("volume", "buy_volume", "sell_volume")
        return {
            **{f"#{name}": Expected(name, "a whole number of ms") for name in ("open_ms", "close_ms")},
            "#trades": Expected("trades", "a whole number"),
            **{f"#{name}": scaled_as(name, self.instrument, "price") for name in of_price},
            **{f"#{name}": scaled_as(name, self.instrument, "size") for name in of_size},
            "#turnover": Expected("turnover", "a number of no more decimals than price and size together"),
            **{name: expected for name, (_, expected) in _SOUND.items()},
        }

    def check(self) -> None:
        nearest_ms, newest, says_ends = None, list[int](), "close_ms" in self.columns()
        for rows in CandleFile(self.path, self.instrument, skip_bad=True).batches():
            self._check_whole(rows)
            if says_ends:
                return
            opens = sorted({*newest, *rows.frame["open_ms"].to_list()})
            newest = opens[-1:]
            found = [after - before for before, after in pairwise(opens)]
            nearest_ms = min(filter(None, (nearest_ms, *found)), default=None)
            if nearest_ms == MINUTE_MS:
                return
            self._check_interval(nearest_ms, found)
            if self.are_minutes:
                return
        if newest:
            apart = f"they are {nearest_ms // MINUTE_MS} minutes apart or more" if nearest_ms else "there is one alone"
            raise BadInput(
                f"{self.path} does not show that its candles are of a minute: none says when it ends, and {apart}; "
                "if they are, say --minutes"
            )

    def _check_whole(self, rows: Rows) -> None:
        """Of candles of seconds some open with a minute, too; and of hours none is of one. The first says why."""
        if 2 * rows.bad < len(rows.frame) or not rows.bad:
            return
        count = rows.bad + len(rows.frame)
        try:
            for _ in CandleFile(self.path, self.instrument).batches():
                pass
        except BadInput as error:
            if rows.bad == 1 or isinstance(error, TooFineLine):
                raise
            first = str(error).removeprefix(f"{self.path} ")
            raise BadInput(f"{self.path}: {rows.bad} of {count} rows are no candles of a minute, {first}") from None

    def _check_interval(self, nearest_ms: int | None, apart: Sequence[int]) -> None:
        """Refuse what is plainly of hours, or of another usual interval: `--minutes` is for what is sparse."""
        minutes = (nearest_ms or 0) // MINUTE_MS
        is_usual = minutes in _OTHER_MINUTES or (minutes and minutes % _HOUR_MINUTES == 0)
        if is_usual and len(apart) >= _MANY and 2 * apart.count(minutes * MINUTE_MS) > len(apart):
            raise BadInput(
                f"{self.path} has candles that open {minutes} minutes apart: they are of {minutes} minutes, "
                "expected candles of one (a column close_ms may say of each when it ends)"
            )

    def _form(self, first: bytes, second: bytes) -> FileForm | None:
        header = fields_of(first)
        if all(name in header for name in CANDLE_COLUMNS):
            return FileForm(tuple(header), has_header=True)
        has_header = not header[0].isdigit()
        fields = fields_of(second if has_header else first)
        is_klines = len(fields) == len(_BINANCE_KLINES) and fields[0].isdigit() and fields[6].isdigit()
        return FileForm(_BINANCE_KLINES, has_header, KLINES_DUMP) if is_klines else None

    def _read_of(self, form: FileForm) -> list[str]:
        return [name for name in form.columns if name in (*CANDLE_COLUMNS, *_CLOSE, *_MORE_OF_CANDLES)]

    def _rows(self, raw: pl.DataFrame, form: FileForm, first: int, unit: str, fraction: float) -> Rows:
        i, schema = self.instrument, raw.schema
        decimals = dict.fromkeys(("open", "high", "low", "close"), i.price_decimals)
        decimals |= dict.fromkeys(("volume", "buy_volume", "sell_volume"), i.size_decimals)
        decimals["turnover"] = i.price_decimals + i.size_decimals
        buys_only = "buy_volume" in schema and "sell_volume" not in schema
        raw = raw.with_columns(pl.lit("0").alias(name) for name in _MORE_OF_CANDLES if name not in schema)
        parsed = [scaled(name, raw.schema[name], places, _WIDTHS.get(name)) for name, places in decimals.items()]
        parsed += [whole(name, raw.schema[name]) for name in ("open_ms", "trades", *_CLOSE) if name in raw.columns]
        times = [name for name in ("open_ms", *_CLOSE) if name in raw.columns]
        rows = raw.with_columns(parsed).with_columns(in_ms(pl.col(f"#{name}")).alias(f"#{name}") for name in times)
        last_ms = pl.col("#close_ms") if "close_ms" in raw.columns else pl.col("#open_ms") + MINUTE_MS - 1
        texts = [pl.col(name).cast(pl.String) for name in CANDLE_COLUMNS]
        shown = [pl.concat_str(texts, separator=",").alias("candle"), _span(pl.col("#open_ms"), last_ms).alias("span")]
        named = [pl.col(f"#{name}") for name in (*decimals, *times, "trades")]
        sound = [pl.when(condition).then(True).alias(name) for name, (condition, _) in _SOUND.items()]
        whole_rows = rows.with_columns(last_ms.alias("#last_ms")).with_columns(shown)
        kept, bad = self._good(whole_rows, first, unit, [*named, *sound])
        if form.dump:
            # A kline of a minute without trades repeats the price before it; here such a minute has no candle.
            kept = kept.filter(pl.col("#trades") > 0)
        candles = kept.select(
            open_ms="#open_ms",
            open_ticks="#open",
            high_ticks="#high",
            low_ticks="#low",
            close_ticks="#close",
            volume_lots="#volume",
            buy_lots="#buy_volume",
            # Klines tell what was bought: the rest was sold. Of a candle that tells nothing the sides are unknown.
            sell_lots=pl.col("#volume") - pl.col("#buy_volume") if buys_only else pl.col("#sell_volume"),
            turnover="#turnover",
            trades="#trades",
            first_ts_ms="#open_ms",
            first_id=pl.lit(0, pl.Int64),
            last_ts_ms=pl.col("#open_ms") + MINUTE_MS - 1,
            last_id=pl.lit(0, pl.Int64),
            rev=pl.lit(0, pl.Int64),
            sources=pl.lit(IMPORT, pl.UInt8),
            # Only trades tell how a delta ran.
            delta_min_lots=pl.lit(None, pl.Int64),
            delta_max_lots=pl.lit(None, pl.Int64),
        )
        return Rows(conform(candles, CANDLES), bad, fraction, of_minutes=True)


def _span(open_ms: pl.Expr, last_ms: pl.Expr) -> pl.Expr:
    """How long it lasts, as a sentence tells it."""
    return pl.concat_str([((last_ms + 1 - open_ms) // SECOND_MS).cast(pl.String), pl.lit(" s")])
