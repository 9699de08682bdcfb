"""The venue's limits, as its documentation states them, and how much of the past is kept. All may be tightened."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rules:
    """Times of limits and connections are those of the wall clock, whatever the speed of the market."""

    # REST, per IP.
    weight_limit: int = 6_000
    weight_window_ms: int = 60_000
    raw_limit: int = 61_000
    raw_window_ms: int = 5 * 60_000
    # "Repeatedly violating" is all the documentation says; this many refusals in one window are it.
    refusals_before_ban: int = 10
    ban_ms: int = 2 * 60_000
    ban_cap_ms: int = 3 * 24 * 60 * 60_000

    # WebSocket.
    connect_limit: int = 300
    connect_window_ms: int = 5 * 60_000
    message_limit: int = 5
    message_window_ms: int = 1_000
    max_streams: int = 1_024
    ping_every_ms: int = 20_000
    pong_within_ms: int = 60_000
    max_age_ms: int = 24 * 60 * 60_000
    # What a client may leave unread before it is cut; also what a stalled connection holds back.
    max_unsent_bytes: int = 32 << 20

    # Memory, per market.
    keep_trades: int = 1_000_000
    keep_book_changes: int = 500_000
    keep_minutes: int = 7 * 24 * 60
