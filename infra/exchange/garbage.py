"""Frames that are no message, beyond doubt: a careful parser takes none of them for a trade or a level."""

import random
from collections.abc import Callable

import orjson
from websockets.frames import Frame, Opcode

from infra.exchange.faults import Form
from infra.exchange.streams import text_frame

# Values no price, size, id or time may have.
_WRONG: tuple[object, ...] = (
    *(None, True, [], {}, -1, 1 << 70, [["1", "2"]]),
    *("", "NaN", "1e400", "-1", "0x10", "1,5", "1.2.3", "\u0663"),
)


def garbage_frame(form: Form, text: str, size_bytes: int, rng: random.Random) -> bytes:
    """Bytes for the socket, made of the message's own text where the form is of one."""
    return _FORMS[form](text, size_bytes, rng)


def _truncated(text: str, _: int, rng: random.Random) -> bytes:
    return text_frame(text[: rng.randrange(1, len(text))])


def _mutated(text: str, _: int, rng: random.Random) -> bytes:
    """A good message but for one field that is missing or has a value it can't have."""
    message = orjson.loads(text)
    data = message["data"] if "stream" in message else message
    name = rng.choice([name for name in data if name in _NEEDED])
    if rng.random() < 0.3:
        del data[name]
        return text_frame(orjson.dumps(message).decode())
    # The writer knows no number beyond 64 bits: a value goes in as text, where this mark is.
    data[name] = "\0"
    value = rng.choice([value for value in _WRONG if _is_wrong(name, value)])
    return text_frame(orjson.dumps(message).decode().replace(r'"\u0000"', _json(value)))


# Without any of these a message of whatever stream is of no use; the rest may be absent.
_NEEDED = frozenset(("t", "p", "q", "T", "m", "U", "u", "a", "b", "A", "B", "lastUpdateId", "bids", "asks", "k"))
_LISTS = frozenset(("a", "b", "bids", "asks"))


def _is_wrong(name: str, value: object) -> bool:
    """`m` is the one field that may be true, and only levels may be a list."""
    if name == "m":
        return value is not True
    return name not in _LISTS or not isinstance(value, list)


def _json(value: object) -> str:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else orjson.dumps(value).decode()


def _binary(_: str, __: int, rng: random.Random) -> bytes:
    return Frame(Opcode.BINARY, rng.randbytes(rng.randrange(1, 512))).serialize(mask=False)


def _huge(_: str, size_bytes: int, rng: random.Random) -> bytes:
    return text_frame(f'{{"stream":"!junk","data":{{"x":"{"0" * size_bytes}"}}}}')


def _bad_utf8(text: str, _: int, rng: random.Random) -> bytes:
    """A text frame must be UTF-8: a client has to close the connection."""
    at = rng.randrange(len(text))
    return Frame(Opcode.TEXT, text[:at].encode() + b"\xff\xfe" + text[at:].encode()).serialize(mask=False)


def _nested(_: str, __: int, rng: random.Random) -> bytes:
    return text_frame("[" * 5_000 + "]" * 5_000)


def _empty(_: str, __: int, rng: random.Random) -> bytes:
    return text_frame(rng.choice(("", " ", "null", "{}", "[]", "0", '""')))


def _bad_frame(_: str, __: int, rng: random.Random) -> bytes:
    """Opcode 3 is reserved: a client has to close the connection."""
    return b"\x83\x04junk"


_FORMS: dict[Form, Callable[[str, int, random.Random], bytes]] = {
    "truncated": _truncated,
    "mutated": _mutated,
    "binary": _binary,
    "huge": _huge,
    "bad_utf8": _bad_utf8,
    "nested": _nested,
    "empty": _empty,
    "bad_frame": _bad_frame,
}
