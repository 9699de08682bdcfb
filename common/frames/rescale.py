"""Frames in another scale: the same numbers, exactly, or Unfit (common.market.scale)."""

import polars as pl

from common.market.rescaling import MAX_INT_64, MAX_TURNOVER, PRICE, SIZE, TURNOVER, Rescaling, power, shifted


def rescaled(frame: pl.DataFrame, rescaling: Rescaling) -> pl.DataFrame:
    """Return a frame of any of common.frames.schema in another scale. Where it is the same one, nothing is done."""
    if rescaling.is_none or frame.is_empty():
        return frame
    changes = {name: found for name in frame.columns if (found := _change(name, rescaling)) and found[2]}
    for name, (what, decimals, shift) in changes.items():
        _check(frame[name], what, decimals, shift)
    # Whole numbers: nothing is rounded, for what would be has been refused.
    return frame.with_columns(
        pl.col(name) * power(shift) if shift > 0 else pl.col(name) // power(-shift)
        for name, (_, _, shift) in changes.items()
    )


def _change(name: str, rescaling: Rescaling) -> tuple[str, int, int] | None:
    """What a column holds, in how many decimals, and how many more it is to have."""
    if name.endswith("_ticks"):
        return PRICE, rescaling.old.price_decimals, rescaling.price_shift
    if name.endswith("_lots"):
        return SIZE, rescaling.old.size_decimals, rescaling.size_shift
    if name == "turnover":
        return TURNOVER, sum(rescaling.old), rescaling.price_shift + rescaling.size_shift
    return None


def _check(values: pl.Series, what: str, decimals: int, shift: int) -> None:
    most = MAX_TURNOVER if what == TURNOVER else MAX_INT_64
    if shift < 0:
        # By an expression: a series of 128 bits has no `%`.
        unfit = values.drop_nulls().to_frame().filter(pl.first() % power(-shift) != 0).head(1)
        for value in unfit.to_series().to_list():
            shifted(value, what, decimals, shift, most)
    for value in (values.max(), values.min()):
        if shift > 0 and isinstance(value, int):
            shifted(value, what, decimals, shift, most)
