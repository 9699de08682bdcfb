"""What an IP may still ask for. Pure: time is an argument."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import NamedTuple

from infra.exchange.rules import Rules

# On loopback there are few; the cap is for a client that binds a new address each time.
MAX_IPS = 4_096

OK, TOO_MANY, BANNED = 200, 429, 418


@dataclass(slots=True)
class LimitWindow:
    """A budget that is full again at every multiple of `span_ms`, as the venue's minutes are."""

    limit: int
    span_ms: int
    used: int = 0
    _open_ms: int = 0

    def roll(self, now_ms: int) -> None:
        open_ms = now_ms - now_ms % self.span_ms
        if open_ms != self._open_ms:
            self._open_ms, self.used = open_ms, 0

    def fits(self, amount: int) -> bool:
        return self.used + amount <= self.limit

    def ends_in_ms(self, now_ms: int) -> int:
        return self._open_ms + self.span_ms - now_ms

    def take(self, amount: int, now_ms: int) -> bool:
        """Spend, if there is enough left."""
        self.roll(now_ms)
        if not self.fits(amount):
            return False
        self.used += amount
        return True


class Verdict(NamedTuple):
    """`status` 200, 429 or 418; `used_weight` goes into the header of every answer."""

    status: int
    used_weight: int
    retry_after_s: int = 0
    banned_until_ms: int = 0


@dataclass(slots=True)
class _Client:
    weight: LimitWindow
    raw: LimitWindow
    connects: LimitWindow
    refusals: int = 0
    bans: int = 0
    banned_until_ms: int = 0


@dataclass(slots=True)
class Limiter:
    """A refused request spends nothing, but counts towards a ban. Bans double from `ban_ms` up to the cap."""

    rules: Rules
    _clients: OrderedDict[str, _Client] = field(default_factory=OrderedDict)

    def request(self, ip: str, weight: int, now_ms: int) -> Verdict:
        client = self._client(ip)
        window_before = client.weight._open_ms
        client.weight.roll(now_ms)
        client.raw.roll(now_ms)
        if client.weight._open_ms != window_before:
            client.refusals = 0
        if now_ms < client.banned_until_ms:
            return self._banned(client, now_ms)
        if client.weight.fits(weight) and client.raw.fits(1):
            client.weight.used += weight
            client.raw.used += 1
            return Verdict(OK, client.weight.used)
        return self._refuse(client, client.raw if client.weight.fits(weight) else client.weight, now_ms)

    def connect(self, ip: str, now_ms: int) -> bool:
        """Whether the IP may try one more WebSocket connection."""
        return self._client(ip).connects.take(1, now_ms)

    def _refuse(self, client: _Client, window: LimitWindow, now_ms: int) -> Verdict:
        client.refusals += 1
        if client.refusals < self.rules.refusals_before_ban:
            return Verdict(TOO_MANY, client.weight.used, _seconds(window.ends_in_ms(now_ms)))
        client.refusals = 0
        client.banned_until_ms = now_ms + min(self.rules.ban_cap_ms, self.rules.ban_ms << client.bans)
        client.bans = min(client.bans + 1, 32)
        return self._banned(client, now_ms)

    def _banned(self, client: _Client, now_ms: int) -> Verdict:
        until_ms = client.banned_until_ms
        return Verdict(BANNED, client.weight.used, _seconds(until_ms - now_ms), until_ms)

    def _client(self, ip: str) -> _Client:
        client = self._clients.get(ip)
        if client is None:
            rules = self.rules
            client = self._clients[ip] = _Client(
                LimitWindow(rules.weight_limit, rules.weight_window_ms),
                LimitWindow(rules.raw_limit, rules.raw_window_ms),
                LimitWindow(rules.connect_limit, rules.connect_window_ms),
            )
            if len(self._clients) > MAX_IPS:
                self._clients.popitem(last=False)
        return client


def _seconds(span_ms: int) -> int:
    """Whole seconds, up: a client that waits them out is never early."""
    return max(1, -(-span_ms // 1_000))
