"""A bucket of `burst` events that fills at `per_s`."""

import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class Rate:
    per_s: float
    burst: float
    left: float = field(init=False)
    at_s: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.left = self.burst

    def take(self) -> bool:
        """Whether one more may happen now."""
        now_s = time.monotonic()
        self.left = min(self.burst, self.left + (now_s - self.at_s) * self.per_s)
        self.at_s = now_s
        if self.left < 1:
            return False
        self.left -= 1
        return True
