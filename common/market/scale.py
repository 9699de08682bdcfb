"""How exact a symbol's numbers are.

What is written once and kept as it is (sealed blocks, chunks of depth, objects of the archive) names its scale and is
read by it. Everything else is rewritten when a symbol's scale changes (common.market.rescaling).
"""

from typing import NamedTuple


class Scale(NamedTuple):
    """A price is counted in units of 10**-price_decimals, a size in units of 10**-size_decimals."""

    price_decimals: int
    size_decimals: int

    def __str__(self) -> str:
        return f"{self.price_decimals}.{self.size_decimals}"

    @classmethod
    def parse(cls, text: str) -> "Scale":
        """Read what `str` gives. ValueError where it is none."""
        price, _, size = text.partition(".")
        return cls(int(price), int(size))


class Scales(NamedTuple):
    """`now`: the one that is asked for; `unnamed`: of what does not name its own."""

    now: Scale
    unnamed: Scale

    @classmethod
    def unchanged(cls, scale: Scale) -> "Scales":
        return cls(scale, scale)

    @property
    def name(self) -> Scale | None:
        """What is to be named by what is written now; None: it need not."""
        return None if self.now == self.unnamed else self.now
