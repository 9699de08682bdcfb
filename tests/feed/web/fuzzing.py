"""What a hostile or broken client sends: requests, messages and frames, by a seed."""

import random
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_from_bytes

import orjson

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

_KINDS = ("candles", "footprint", "trades", "book", "quote", "heatmap", "viewport", "gaps", "market", "health")
_PATHS = (*(f"/v1/{kind}/" for kind in _KINDS), "/v1/symbols", "/v1/health", "/healthz", "/readyz", "/metrics", "/")
_NAMES = (
    "timeframe",
    "start",
    "end",
    "limit",
    "fill",
    "format",
    "row",
    "depth",
    "state",
    "take",
    "",
    "cursor",
    "bucket",
    "price_min",
)
_VALUES: tuple[bytes, ...] = (
    b"1m", b"15m", b"1s", b"1M", b"3w", b"1d", b"250ms", b"0m", b"999999999999d", b"1x",
    b"0", b"1", b"-1", b"500", b"50000", b"1e9", b"9" * 60, b"1700000000000", b"1700000060000", b"8796093022207",
    b"2025-01-12T14:00:00Z", b"2025-01-12", b"9999-12-31T23:59:59Z", b"flat", b"none", b"json", b"csv", b"arrow",
    b"newest", b"oldest", b"open", b"0.01", b"1.0", b"NaN", b"inf", b"", b"\x00", b"\xff\xfe", b"\xc3\x28",
    "٣".encode(), "😀".encode(), b"%00", b"'\"<>", b"../..", b"{}", b"[::1", b"a" * 3_000,
)  # fmt: skip
_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"Origin", b"http://[::1"), (b"Origin", b"null"), (b"Origin", b"http://a b"), (b"Origin", b"\xff\xfe"),
    (b"X-Forwarded-For", b"\xff"), (b"X-Forwarded-For", b"1.2.3.4, ,,"), (b"X-Forwarded-Host", b"\x80"),
    (b"Authorization", b"Bearer \xff\xfe"), (b"Authorization", b"Basic"), (b"Content-Length", b"0"),
    (b"Accept-Encoding", b"gzip;q=zz"), (b"Cookie", b"a=" + b"b" * 4_000), (b"Range", b"bytes=0-9999999999999"),
    (b"If-None-Match", b"*"), (b"Expect", b"200-ok"), (b"X-" + b"y" * 200, b""), (b"Content-Type", b"\xc3\x28"),
    (b"Accept", b"application/json, \xff"), (b"Connection", b"keep-alive"), (b"Upgrade", b"h2c"),
)  # fmt: skip


def request(rng: random.Random, symbol: str) -> bytes:
    """A request that is well formed, whatever it asks: it is answered, and the connection stays."""
    path = rng.choice(_PATHS)
    if path.endswith("/") and path != "/":
        path += rng.choice((symbol, symbol, symbol, "TEST:NONE", "%00", "%FF", "%2e%2e", "a/b", "{S}", "A" * 40, ""))
        path += rng.choice(("", "", "", "/", "/current", "//"))
    query = "&".join(_pair(rng) for _ in range(rng.choice((0, 0, 1, 1, 2, 3, 5))))
    method = rng.choice((b"GET",) * 9 + (b"HEAD", b"POST", b"OPTIONS", b"DELETE", b"PATCH"))
    headers = [(b"Host", b"127.0.0.1"), *rng.sample(_HEADERS, rng.choice((0, 0, 1, 2, 4)))]
    lines = [b"%s %s HTTP/1.1" % (method, (path + (f"?{query}" if query else "")).encode())]
    return b"\r\n".join([*lines, *(b"%s: %s" % pair for pair in headers), b"", b""])


def _pair(rng: random.Random) -> str:
    name, value = rng.choice(_NAMES), rng.choice(_VALUES)
    if rng.random() < 0.2:
        value = rng.randbytes(rng.randrange(12))
    return f"{name}={quote_from_bytes(value)}" if rng.random() < 0.95 else quote_from_bytes(value)


def broken_request(rng: random.Random, symbol: str) -> bytes:
    """Bytes that are a request no more: some are changed, cut out, or put twice."""
    found = bytearray(request(rng, symbol))
    for _ in range(rng.randrange(1, 6)):
        at, kind = rng.randrange(len(found)), rng.randrange(4)
        if kind == 0:
            found[at] = rng.randrange(256)
        elif kind == 1:
            del found[at : at + rng.randrange(1, 20)]
        elif kind == 2:
            found[at:at] = rng.randbytes(rng.randrange(1, 8))
        else:
            found[at:at] = found[at : at + rng.randrange(1, 40)]
        found = found or bytearray(b"G")
    return bytes(found)


_UPGRADE: tuple[tuple[bytes, bytes], ...] = (
    (b"Host", b"127.0.0.1"),
    (b"Connection", b"Upgrade"),
    (b"Upgrade", b"websocket"),
    (b"Sec-WebSocket-Version", b"13"),
    (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
)
_ODD: tuple[bytes, ...] = (
    b"",
    b"12",
    b"\xff\xfe",
    b"a, b",
    b"websocket",
    b"upgrade",
    b"==",
    b"*" * 9_000,
    b"localhost",
)
_STREAMS = ("/v1/stream", "/v1/stream?x=%FF", "/v1/stream/", "/v1/nothing", "/%00", "//", "/v1/stream#\xff")


def handshake(rng: random.Random) -> bytes:
    """The handshake of a stream, of which some is odd, missing or there twice."""
    headers = [*_UPGRADE, *rng.sample(_HEADERS, rng.choice((0, 1, 3)))]
    for _ in range(rng.choice((0, 1, 1, 2))):
        at = rng.randrange(len(headers))
        name, value = headers[at]
        headers[at : at + 1] = rng.choice(([(name, rng.choice(_ODD))], [], [(name, value)] * 2, [(name, value)] * 150))
    lines = [f"GET {rng.choice(_STREAMS)} HTTP/1.1".encode("latin-1"), *(b"%s: %s" % pair for pair in headers)]
    return b"\r\n".join([*lines, b"", b""])


def message(rng: random.Random, symbol: str) -> bytes | str:
    """A message of a stream: text, or bytes for a binary one."""
    kind = rng.randrange(10)
    if kind == 0:
        return rng.randbytes(rng.randrange(64))
    if kind == 1:
        return "".join(chr(rng.choice((0, 9, 34, 92, 123, 200, 0x4E2D, 0x1F600))) for _ in range(rng.randrange(40)))
    if kind == 2:
        depth = rng.choice((1, 100, 254, 255, 260, 1_000, 5_000))
        name = rng.choice(("action", "symbol", "timeframe", "limit", "cursor", "id", "x"))
        return f'{{"action":"subscribe","{name}":{"[" * depth + "]" * depth}}}'
    if kind == 3:
        return '{"action":"subscribe",' + '"a":1,' * rng.randrange(3_000) + '"b":2}'
    found: dict[str, Any] = {
        "action": rng.choice(("subscribe", "subscribe", "unsubscribe", "list", "ping", "auth", _value(rng))),
        "symbol": rng.choice((symbol, "TEST:NONE", _value(rng))),
        "timeframe": rng.choice(("1m", "1s", "1d", _value(rng))),
        "limit": rng.choice((1, 500, _value(rng))),
        "cursor": rng.choice(("1-a", "0-", "99999999999999999999-x", _value(rng))),
        "token": _value(rng),
        "id": rng.choice((1, "x", _value(rng))),
    }
    text = orjson.dumps({name: found[name] for name in found if rng.random() < 0.6}).decode()
    return text if rng.random() < 0.8 else text[: rng.randrange(len(text) + 1)]


def _value(rng: random.Random) -> Any:
    return rng.choice(
        (None, True, 0, -1, 2**63, 2**64 - 1, 1e308, 0.5, "", "\x00", "😀", "a" * 5_000, [], [1], {}, {"a": {}}, "1m")
    )


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, flags: int = 0, masked: bool = True) -> bytes:
    """A frame as a client sends it."""
    size, bit = len(payload), 0x80 if masked else 0
    head = bytes([(0x80 if fin else 0) | flags | opcode])
    if size < 126:
        head += bytes([bit | size])
    elif size < 1 << 16:
        head += bytes([bit | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([bit | 127]) + size.to_bytes(8, "big")
    # A mask of zeros changes nothing.
    return head + (bytes(4) if masked else b"") + payload


@dataclass(frozen=True, slots=True)
class Attack:
    """Frames, and the code that the connection is closed with; None: it is not."""

    name: str
    frames: tuple[bytes, ...]
    code: int | None


def attacks() -> list[Attack]:
    hello, megabyte, part = b'{"action":"list"}', b"x" * (1 << 20), frame(0, b" ", fin=False)
    return [
        _attack("a reserved bit", 1002, frame(TEXT, hello, flags=0x40)),
        _attack("an opcode that is none", 1002, frame(3, hello)),
        _attack("a control opcode that is none", 1002, frame(11)),
        _attack("a frame without a mask", 1002, frame(TEXT, hello, masked=False)),
        _attack("a ping of more than 125 bytes", 1002, frame(PING, b"x" * 126)),
        _attack("a ping in parts", 1002, frame(PING, b"x", fin=False)),
        _attack("a part of nothing", 1002, frame(0, b"x")),
        _attack("a message within another", 1002, frame(TEXT, b"x", fin=False), frame(TEXT, hello)),
        _attack("a close of one byte", 1002, frame(CLOSE, b"\x03")),
        _attack("a close with a code that is none", 1002, frame(CLOSE, (999).to_bytes(2, "big"))),
        _attack("a close whose reason is no UTF-8", 1007, frame(CLOSE, b"\x03\xe8\xff\xfe")),
        _attack("a close within a message", 1002, frame(TEXT, b"x", fin=False), frame(CLOSE, b"\x03\xe8")),
        _attack("text that is no UTF-8", 1007, frame(TEXT, b"\xff\xfe\xc3\x28")),
        _attack("text in parts that is no UTF-8", 1007, frame(TEXT, b"\xf0\x9f", fin=False), frame(0, b"\x98")),
        _attack("more than a megabyte", 1009, frame(TEXT, megabyte + b"x")),
        _attack("a head that claims 2**62 bytes", 1009, b"\x81\xff" + (1 << 62).to_bytes(8, "big") + bytes(4)),
        _attack("more than a megabyte in parts", 1009, frame(TEXT, megabyte, fin=False), frame(0, b"x")),
        _attack("parts without an end", 1008, frame(TEXT, b"", fin=False), *[frame(0, fin=False)] * 20_000),
        _attack("pings without an end", 1008, *[frame(PING, b"x" * 20)] * 20_000),
        _attack("pongs that nobody asked for", 1008, *[frame(PONG)] * 20_000),
        _attack("messages without an end, in one piece", 1008, frame(TEXT, hello) * 20_000),
        _attack("too much, but not a megabyte", None, frame(TEXT, b"x" * 100_000)),
        _attack("a message in a hundred parts", None, frame(TEXT, b" ", fin=False), *[part] * 98, frame(0, hello)),
    ]  # fmt: skip


def _attack(name: str, code: int | None, *frames: bytes) -> Attack:
    return Attack(name, frames, code)
