"""Query parameters as the venue reads them, and its words for those it can't read."""

import re
from collections import Counter
from collections.abc import Sequence

import orjson

# Times beyond this are microseconds: as milliseconds they would lie in the year 5138.
_FIRST_MICROSECOND = 10**14
_WHOLE = re.compile(r"[0-9]{1,20}", re.ASCII)
_SYMBOL = re.compile(r"[A-Z0-9\-_.]{1,20}", re.ASCII)
_ZONE = re.compile(r"([+-]?)([0-9]{1,2})(?::([0-9]{2}))?", re.ASCII)
_MINUTE_MS = 60_000
_WEST_MS, _EAST_MS = -12 * 60 * _MINUTE_MS, 14 * 60 * _MINUTE_MS
MAX_LONG = (1 << 63) - 1


class Rejected(Exception):
    """A request the venue can't follow: its code, its words and the HTTP status."""

    def __init__(self, code: int, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.code = code
        self.status = status

    def body(self) -> bytes:
        return orjson.dumps({"code": self.code, "msg": str(self)})


BAD_SYMBOL = (-1121, "Invalid symbol.")
BAD_COMBINATION = (-1128, "Combination of optional parameters invalid.")


class Params:
    """`known`: the parameters of the route; any other one is refused."""

    def __init__(self, sent: Sequence[tuple[str, str]], known: Sequence[str]) -> None:
        self._values = dict(sent)
        if len(sent) > len(known):
            raise Rejected(-1101, f"Too many parameters; expected '{len(known)}' and received '{len(sent)}'.")
        if max(Counter(name for name, _ in sent).values(), default=1) > 1:
            raise Rejected(-1101, "Duplicate values for a parameter detected.")
        read = sum(name in known for name in self._values)
        if read < len(self._values):
            sent_count = len(self._values)
            raise Rejected(
                -1104,
                f"Not all sent parameters were read; read '{read}' parameter(s) but was sent '{sent_count}'.",
            )
        for name, value in sent:
            if not value:
                raise Rejected(-1105, f"Parameter '{name}' was empty.")

    def has(self, name: str) -> bool:
        return name in self._values

    def text(self, name: str) -> str | None:
        return self._values.get(name)

    def mandatory(self, name: str) -> str:
        if name not in self._values:
            raise Rejected(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
        return self._values[name]

    def symbol(self) -> str:
        return checked_symbol("symbol", self.mandatory("symbol"))

    def symbols(self) -> list[str] | None:
        """`symbols` is a JSON list of names, each once."""
        text = self._values.get("symbols")
        if text is None:
            return None
        try:
            names = orjson.loads(text)
        except orjson.JSONDecodeError:
            names = None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise Rejected(
                -1100,
                "Illegal characters found in parameter 'symbols'; legal range is "
                r"""'^\[("[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}"){0,}){0,1}\]$'.""",
            )
        if len(set(names)) < len(names):
            raise Rejected(-1151, "Symbol is present multiple times in the list.")
        return [checked_symbol("symbols", name) for name in names]

    def whole(self, name: str) -> int | None:
        text = self._values.get(name)
        if text is None:
            return None
        if not _WHOLE.fullmatch(text):
            raise Rejected(-1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'.")
        if int(text) > MAX_LONG:
            raise Rejected(-1108, f"Parameter '{name}' overflowed.")
        return int(text)

    def limit(self, default: int, max_limit: int) -> int:
        """How many rows; more than the route gives is cut."""
        found = self.whole("limit")
        if found == 0:
            raise Rejected(-1130, "Data sent for parameter 'limit' is not valid.")
        return min(default if found is None else found, max_limit)

    def start_ms(self, name: str = "startTime") -> int | None:
        """Milliseconds or microseconds; a start inside a millisecond is after it."""
        found = self.whole(name)
        return -(-found // 1_000) if found is not None and found >= _FIRST_MICROSECOND else found

    def end_ms(self, name: str = "endTime") -> int | None:
        found = self.whole(name)
        return found // 1_000 if found is not None and found >= _FIRST_MICROSECOND else found

    def zone_offset_ms(self) -> int:
        """`timeZone`: `-1:00`, `05:45`, `8`."""
        match = _ZONE.fullmatch(self._values.get("timeZone", "0"))
        offset_ms = (int(match[2]) * 60 + int(match[3] or 0)) * _MINUTE_MS if match else _EAST_MS + 1
        if match and match[1] == "-":
            offset_ms = -offset_ms
        if not _WEST_MS <= offset_ms <= _EAST_MS or (match and int(match[3] or 0) > 59):
            raise Rejected(-1130, "Data sent for parameter 'timeZone' is not valid.")
        return offset_ms


def checked_symbol(name: str, text: str) -> str:
    if not _SYMBOL.fullmatch(text):
        raise Rejected(
            -1100, f"Illegal characters found in parameter '{name}'; legal range is '^[A-Z0-9-_.]{{1,20}}$'."
        )
    return text
