"""What a feed says to `fleet watch`."""

from decimal import Decimal
from typing import Any

OPEN_MS = 1_736_690_400_000


def bar(number: int = 0, **changes: Any) -> dict[str, Any]:
    usual = {
        "t": OPEN_MS + 60_000 * number,
        "o": "64000.5",
        "h": 64058,
        "l": "63758.31",
        "c": "63933.41",
        "v": "67.98512345",
        "bv": "31.12345678",
        "n": 1_177,
        "isFinal": True,
        "rev": 0,
        "source": "live",
    }
    found: dict[str, Any] = {**usual, **changes}
    return {name: Decimal(value) if name in ("o", "h", "l", "c", "v", "bv") else value for name, value in found.items()}


def snapshot(*bars: dict[str, Any], **health: Any) -> dict[str, Any]:
    return {
        "type": "snapshot",
        "cursor": "1-a",
        "bars": list(bars),
        "health": {"mode": "LIVE", "reason": None} | health,
    }
