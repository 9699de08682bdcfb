"""Faults of REST: what a request gets instead of its answer."""

from dataclasses import dataclass
from typing import NamedTuple

from infra.exchange.faults import Ban, Body, FaultLog, Injection, ServerError, Slow, Throttle


class Refusal(NamedTuple):
    """`retry_after_s` 0: the answer says nothing of it."""

    status: int
    body: Body
    retry_after_s: int = 0
    until_ms: int = 0


@dataclass(frozen=True, slots=True)
class RestFaults:
    log: FaultLog

    def delay_ms(self, path: str) -> int:
        """How much later to answer."""
        for injection in self.log.active():
            if isinstance(injection.fault, Slow) and _meets(injection, injection.fault.path, path):
                injection.used()
                return injection.fault.ms
        return 0

    def refusal(self, path: str, now_ms: int) -> Refusal | None:
        """What to answer instead. Faults that have a time of their own go first: a server error waits for its turn."""
        found = None
        for injection in self.log.active():
            fault = injection.fault
            if isinstance(fault, Throttle | Ban):
                injection.done = now_ms >= injection.until_ms
                if not injection.done and found is None and _meets(injection, fault.path, path):
                    found = _blocked(injection, fault, now_ms)
        return found or self._server_error(path)

    def _server_error(self, path: str) -> Refusal | None:
        for injection in self.log.active():
            fault = injection.fault
            if isinstance(fault, ServerError) and _meets(injection, fault.path, path):
                injection.used()
                return Refusal(fault.status, fault.body)
        return None


def _meets(injection: Injection, wanted: str, path: str) -> bool:
    """Whether the fault is about the request; then the request is counted."""
    if injection.done or wanted not in ("", path):
        return False
    injection.requests += 1
    return True


def _blocked(injection: Injection, fault: Throttle | Ban, now_ms: int) -> Refusal:
    left_s = max(1, -(-(injection.until_ms - now_ms) // 1_000))
    return Refusal(429 if isinstance(fault, Throttle) else 418, "json", left_s, injection.until_ms)
