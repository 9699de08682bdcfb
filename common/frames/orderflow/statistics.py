"""What bars say beyond their candles: a table of one row a bar, and what is said of single rows and runs of them."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import polars as pl

from common.frames.orderflow.imbalance import Flags, ImbalanceRule, RowRuns, one_sided, runs_of
from common.frames.orderflow.poc import PocOf, poc_at, prices_at
from common.frames.orderflow.rows import RowColumns
from common.frames.orderflow.value_area import SHARE_BP, AreaRule, value_areas
from common.market.coding.packed import Ints
from common.market.orderflow.ratios import WHOLE_BP, basis_points

# Beyond, the product of basis points is worked out by Python's integers.
_MAX_LOTS = (1 << 62) // (2 * WHOLE_BP + 1)


@dataclass(frozen=True, slots=True)
class RowRules:
    """By what rules rows are looked at: docs/orderflow.md."""

    area: AreaRule = "standard"
    share_bp: int = SHARE_BP
    poc_of: PocOf = "volume"
    imbalance: ImbalanceRule = field(default_factory=ImbalanceRule)
    # Rows of a stack of imbalances, and of a run that one side did not trade at: at least.
    stack: int = 3
    zero_run: int = 1
    # What was bought at the highest price, or sold at the lowest, for an auction to count as unfinished.
    unfinished_min_lots: int = 0


@dataclass(frozen=True, eq=False)
class RowStatistics:
    """Of rows (common.frames.orderflow.rows) by some rules."""

    rows: RowColumns
    rules: RowRules

    @classmethod
    def of(cls, levels: pl.DataFrame, row_ticks: int, rules: RowRules) -> "RowStatistics":
        return cls(RowColumns.of(levels, row_ticks), rules)

    @cached_property
    def imbalances(self) -> tuple[Flags, Flags]:
        return self.rules.imbalance.flags(self.rows)

    @cached_property
    def stacks(self) -> tuple[RowRuns, RowRuns]:
        bought, sold = (runs_of(self.rows, flags, self.rules.stack) for flags in self.imbalances)
        return bought, sold

    @cached_property
    def zero_prints(self) -> tuple[RowRuns, RowRuns]:
        """Runs that nobody bought at, and runs that nobody sold at."""
        not_bought, not_sold = (runs_of(self.rows, flags, self.rules.zero_run) for flags in one_sided(self.rows))
        return not_bought, not_sold

    def table(self) -> pl.DataFrame:
        """One row a bar: its point of control and value area, how many imbalances, and the volume of its rows."""
        rows, rules = self.rows, self.rules
        at = poc_at(rows, rules.poc_of)
        # The area grows around the row of most volume, whatever else stands out.
        center = at if rules.poc_of == "volume" else poc_at(rows)
        low, high, has = value_areas(rows, center, rules.share_bp, rules.area)
        bought, sold = (rows.sums(flags.astype(np.int64)) for flags in self.imbalances)
        found = {
            "open_ms": pl.Series(rows.open_ms),
            "poc_ticks": _where(at >= 0, prices_at(rows, at)),
            "val_ticks": _where(has, low),
            "vah_ticks": _where(has, high),
            "bought_imbalances": pl.Series(bought, dtype=pl.Int64),
            "sold_imbalances": pl.Series(sold, dtype=pl.Int64),
            "row_lots": pl.Series(rows.sums(rows.total).tolist(), dtype=pl.Int128),
        }
        return pl.DataFrame(found)


def bar_table(bars: pl.DataFrame, statistics: RowStatistics) -> pl.DataFrame:
    """Return bars (candles, `is_final`, `partial`) with their delta, and with the table of their rows.

    A figure of a bar comes from its candle, so it is there where rows are not. `missing_lots`: its volume that no row
    has; null where none is missing. What is said of rows is null in a bar without any.
    """
    delta = (bars["buy_lots"].cast(pl.Int128) - bars["sell_lots"]).alias("delta_lots")
    bars = bars.hstack([delta, shares(delta, bars["volume_lots"]).alias("delta_bp")])
    bars = beside(bars, statistics.table())
    return bars.hstack([_missing(bars["volume_lots"], bars["row_lots"])])


def _missing(volume: pl.Series, row_lots: pl.Series) -> pl.Series:
    if (volume == row_lots).all() and not row_lots.null_count():
        return pl.Series("missing_lots", [None], pl.Int64).new_from_index(0, len(volume))
    missing = pl.col("volume") - pl.col("rows").fill_null(0)
    both = pl.DataFrame({"volume": volume, "rows": row_lots})
    return both.select(missing_lots=pl.when(missing > 0).then(missing.cast(pl.Int64))).to_series()


def beside(bars: pl.DataFrame, others: pl.DataFrame) -> pl.DataFrame:
    """Put what is known of bars beside them, by their opens: null where nothing is."""
    if len(others) == len(bars) and (others["open_ms"].to_numpy() == bars["open_ms"].to_numpy()).all():
        # As nearly always: a join takes as long as all else.
        return bars.hstack([column for column in others.get_columns() if column.name != "open_ms"])
    return bars.join(others, on="open_ms", how="left", maintain_order="left")


def shares(part: pl.Series, whole: pl.Series) -> pl.Series:
    """Basis points of each, as common.market.orderflow.ratios has them."""
    if whole.is_empty() or int(whole.max()) > _MAX_LOTS:  # type: ignore[arg-type]
        rounded = [basis_points(*pair) for pair in zip(part, whole, strict=True)]
        return pl.Series(rounded, dtype=pl.Int64)
    parts, wholes = part.cast(pl.Int64).to_numpy(), whole.to_numpy()
    safe = np.maximum(wholes, 1)
    found = np.sign(parts) * ((2 * WHOLE_BP * np.abs(parts) + safe) // (2 * safe))
    return _where(wholes > 0, found)


def _where(has: Flags, values: Ints) -> pl.Series:
    """Null where it has none."""
    found = pl.Series(values, dtype=pl.Int64)
    return found if has.all() else found.to_frame("").select(pl.when(pl.Series(has)).then("")).to_series()
