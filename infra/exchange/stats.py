"""What the exchange counted: every request, its weight and its answer, every violation, every connection."""

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any, NamedTuple

# Entries of the logs; the counters go on for ever.
KEPT_REQUESTS = 20_000
KEPT_VIOLATIONS = 2_000


class Asked(NamedTuple):
    """One REST request. `used_weight`: of its IP in the window, after it; `fault`: the answer was injected."""

    wall_ms: int
    ip: str
    path: str
    query: str
    weight: int
    status: int
    used_weight: int
    fault: bool


class Violation(NamedTuple):
    """`rule`: weight, ban (a request while banned), messages, streams or connections."""

    wall_ms: int
    rule: str
    ip: str
    what: str


@dataclass(slots=True)
class Stats:
    requests: Counter[str] = field(default_factory=Counter)
    weight: Counter[str] = field(default_factory=Counter)
    answers: Counter[int] = field(default_factory=Counter)
    violations: Counter[str] = field(default_factory=Counter)
    injected_answers: int = 0
    most_used_weight: int = 0
    connects: Counter[int] = field(default_factory=Counter)
    disconnects: Counter[str] = field(default_factory=Counter)
    request_log: deque[Asked] = field(default_factory=lambda: deque(maxlen=KEPT_REQUESTS))
    violation_log: deque[Violation] = field(default_factory=lambda: deque(maxlen=KEPT_VIOLATIONS))

    def request(self, asked: Asked) -> None:
        """Weight is what was spent: a request refused for its weight spent none."""
        self.requests[asked.path] += 1
        self.answers[asked.status] += 1
        self.weight[asked.path] += asked.weight
        self.injected_answers += asked.fault
        self.most_used_weight = max(self.most_used_weight, asked.used_weight)
        self.request_log.append(asked)

    def violate(self, rule: str, ip: str, what: str, wall_ms: int) -> None:
        self.violations[rule] += 1
        self.violation_log.append(Violation(wall_ms, rule, ip, what[:200]))

    def connect(self, status: int) -> None:
        self.connects[status] += 1

    def ended(self, cause: str) -> None:
        self.disconnects[cause] += 1

    def as_dict(self) -> dict[str, Any]:
        return {
            "requests": dict(self.requests),
            "weight": dict(self.weight),
            "answers": {str(status): count for status, count in self.answers.items()},
            "violations": dict(self.violations),
            "injected_answers": self.injected_answers,
            "most_used_weight": self.most_used_weight,
            "connects": {str(status): count for status, count in self.connects.items()},
            "disconnects": dict(self.disconnects),
        }
