"""Where a simulated market was left off: the position of its source."""

from dataclasses import dataclass

import orjson


@dataclass(slots=True)
class Walk:
    """The market's state. Where it is left off is a position; the randomness after it starts again."""

    next_id: int
    price_ticks: int
    ts_ms: float

    @classmethod
    def at(cls, position: str) -> "Walk":
        return cls(*orjson.loads(position))

    @property
    def position(self) -> str:
        return orjson.dumps([self.next_id, self.price_ticks, self.ts_ms]).decode()


def rescaled(position: str, price_shift: int) -> str:
    """A position in `price_shift` more decimals of a price, below 0: fewer. "" stays ""."""
    if not position:
        return position
    walk = Walk.at(position)
    walk.price_ticks = max(1, walk.price_ticks * 10 ** max(0, price_shift) // 10 ** max(0, -price_shift))
    return walk.position
