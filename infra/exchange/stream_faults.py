"""Faults of messages: what is sent in place of one."""

import random
from dataclasses import dataclass, field
from typing import Protocol, get_args

from infra.exchange.faults import Drop, Duplicate, FaultLog, Garbage, Injection, MessageFault, Reorder
from infra.exchange.garbage import garbage_frame
from infra.exchange.streams import Message


class Outgoing(Protocol):
    """Something to be sent, in the form a connection wants."""

    def frame(self, combined: bool, unit: int) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Ruin:
    """What a message was turned into. Each connection gets its own."""

    message: Message
    fault: Garbage
    rng: random.Random

    def frame(self, combined: bool, unit: int) -> bytes:
        return garbage_frame(self.fault.form, self.message.text(combined, unit), self.fault.size_bytes, self.rng)


@dataclass(slots=True)
class _Held:
    message: Message
    after: int


@dataclass(slots=True)
class StreamFaults:
    """`seed` decides what garbage looks like."""

    log: FaultLog
    seed: int = 1
    _held: dict[int, _Held] = field(default_factory=dict)
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def acting(self, message: Message) -> Injection | None:
        """The oldest fault that waits for such a message."""
        for injection in self.log.active():
            fault = injection.fault
            if (
                isinstance(fault, get_args(MessageFault))
                and fault.symbol == message.symbol
                and fault.stream == message.kind
            ):
                return injection
        return None

    def spoil(self, injection: Injection, message: Message) -> list[Outgoing]:
        """What to send instead."""
        match injection.fault:
            case Drop():
                self._act(injection, message)
                return []
            case Duplicate():
                self._act(injection, message)
                return [message, message]
            case Garbage() as fault:
                injection.used()
                ruin = Ruin(message, fault, self._random)
                if not fault.replace:
                    return [ruin, message]
                injection.touched(message.symbol, message.first_id, message.last_id)
                return [ruin]
            case Reorder() as fault:
                return self._reorder(injection, fault, message)
        return [message]

    def _reorder(self, injection: Injection, fault: Reorder, message: Message) -> list[Outgoing]:
        held = self._held.get(injection.number)
        if held is None:
            self._act(injection, message)
            # Not over before the message has been sent after all.
            injection.done = False
            self._held[injection.number] = _Held(message, max(1, fault.distance))
            return []
        held.after -= 1
        if held.after:
            return [message]
        del self._held[injection.number]
        injection.done = injection.left <= 0
        return [message, held.message]

    @staticmethod
    def _act(injection: Injection, message: Message) -> None:
        injection.used()
        injection.touched(message.symbol, message.first_id, message.last_id)
