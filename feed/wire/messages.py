"""Messages of a stream: values until one is sent, and then written once for all who are sent it."""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import orjson

from common.frames import decode
from common.frames.trades import trades_json
from common.market.instrument import Instrument
from feed.bars.live import Update
from feed.wire.answers import told_levels, written_bar
from feed.wire.errors import ErrorAnswer
from feed.wire.row_bars import RowBar

RequestId = str | int | None


class Sent(Protocol):
    """Whatever may be sent to a client. `frame`: what follows the text as a binary message."""

    @property
    def text(self) -> str: ...

    @property
    def frame(self) -> bytes | None: ...


@dataclass(frozen=True, slots=True)
class Reply:
    """What a client is told in answer to a message of its own: errors, pong, list, unsubscribed."""

    kind: str
    request_id: RequestId = None
    content: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def error(cls, failure: ErrorAnswer, request_id: RequestId = None, **content: object) -> "Reply":
        return cls("error", request_id, {"code": failure.code, "message": failure.message, **content})

    @property
    def frame(self) -> bytes | None:
        return None

    @property
    def text(self) -> str:
        return orjson.dumps({"type": self.kind, **self.content, **echoed(self.request_id)}).decode()


@dataclass(eq=False, slots=True)
class StreamMessage(ABC):
    """About a series, which `names` says as JSON, and true of commit `seq`.

    `about`: what newer news of the same takes the place of: a bar, by its open; gaps; health.
    """

    names: str
    seq: int
    about: Hashable
    _text: str = field(default="", init=False)

    @property
    def text(self) -> str:
        if not self._text:
            self._text = self._written()
        return self._text

    @property
    def frame(self) -> bytes | None:
        return None

    def known_final(self, watermark_ms: int) -> "StreamMessage":
        """The same for a client that has known that watermark."""
        return self

    def after(self, older: "StreamMessage | None") -> "StreamMessage":
        """The same for a client that has not been sent an older one about the same."""
        return self

    def from_commit(self, seq: int, token: str) -> "StreamMessage":
        """The same for a client that was opened at that commit."""
        return self

    @abstractmethod
    def _written(self) -> str:
        """As it is sent."""


@dataclass(eq=False, slots=True)
class News(StreamMessage):
    """What follows an opening. A client that has it stands at `cursor`."""

    cursor: str

    def from_commit(self, seq: int, token: str) -> "News":
        """A series may have been behind what its client was opened at. The client's cursor never goes back: it would be
        told once more what it has."""
        return self if int(self.cursor.partition("-")[0]) >= seq else replace(self, cursor=f"{seq}-{token}")


@dataclass(eq=False, slots=True)
class Notice(News):
    """`gap`, `health`, `lag` or `resumed`."""

    content: Mapping[str, object] = field(default_factory=dict)

    def _written(self) -> str:
        return f'{{"type":"{self.about}",{self.names},"seq":{self.seq},"cursor":"{self.cursor}"{_more(self.content)}}}'


@dataclass(eq=False, slots=True)
class BarMessage(News):
    """A bar that is new, has grown or ended (`candle`), or was final before (`amend`)."""

    update: Update
    instrument: Instrument
    _amended: "BarMessage | None" = field(default=None, init=False)

    def known_final(self, watermark_ms: int) -> StreamMessage:
        """A bar that was final then is amended now, even if the series it comes from is behind and calls it new."""
        if self.update.amended or self.update.end_ms > watermark_ms:
            return self
        if self._amended is None:
            self._amended = replace(self, update=self.update._replace(amended=True))
        return self._amended

    def _written(self) -> str:
        kind, bar = "amend" if self.update.amended else "candle", written_bar(self.update.bar, self.instrument)
        return f'{{"type":"{kind}",{self.names},"seq":{self.seq},"cursor":"{self.cursor}","bar":{bar}}}'


@dataclass(eq=False, slots=True)
class TradesMessage(News):
    """All trades of one commit, packed, in the order in which they were applied. `about`: that commit."""

    trades: bytes
    instrument: Instrument

    def _written(self) -> str:
        trades = trades_json(decode.trades([self.trades]), self.instrument).decode()
        return f'{{"type":"trades",{self.names},"seq":{self.seq},"cursor":"{self.cursor}","trades":{trades}}}'


@dataclass(eq=False, slots=True)
class RowsMessage(News):
    """A bar, and those of its rows that changed. `kind`: of its channel."""

    kind: str
    bar: RowBar

    def after(self, older: StreamMessage | None) -> StreamMessage:
        if not isinstance(older, RowsMessage):
            return self
        return replace(self, bar=self.bar.over(older.bar))

    def _written(self) -> str:
        bar = self.bar.json.decode()
        return f'{{"type":"{self.kind}",{self.names},"seq":{self.seq},"cursor":"{self.cursor}","bar":{bar}}}'


@dataclass(eq=False, slots=True)
class BookMessage(News):
    """Levels of a book that changed, in ticks and lots; none is left of those of 0 lots. `fields`: of the book."""

    fields: Mapping[str, object]
    bids: Mapping[int, int]
    asks: Mapping[int, int]
    instrument: Instrument

    def after(self, older: StreamMessage | None) -> StreamMessage:
        if not isinstance(older, BookMessage):
            return self
        return replace(self, bids={**older.bids, **self.bids}, asks={**older.asks, **self.asks})

    def _written(self) -> str:
        sides = {"bids": self.bids, "asks": self.asks}
        levels = {side: told_levels(list(found.items()), self.instrument) for side, found in sides.items()}
        fields = _more({**self.fields, **levels})
        return f'{{"type":"book",{self.names},"seq":{self.seq},"cursor":"{self.cursor}"{fields}}}'


class Told(Protocol):
    """What a snapshot says: an answer, without what names it."""

    def members(self) -> Iterable[bytes]:
        """Members of a JSON object, each with a comma before it."""


@dataclass(eq=False, slots=True)
class Snapshot(StreamMessage):
    """What a subscription begins with. `is_reset`: it replaces what the client holds."""

    answer: Told
    is_reset: bool
    request_id: RequestId
    _frame: bytes | None = None

    @property
    def frame(self) -> bytes | None:
        return self._frame

    def _written(self) -> str:
        reset = {"reset": True} if self.is_reset else {}
        body = b"".join(self.answer.members()).decode()
        return f'{{"type":"snapshot",{self.names},"seq":{self.seq}{_more(reset | echoed(self.request_id))}{body}}}'


def echoed(request_id: RequestId) -> dict[str, object]:
    """The id of what a client asked, as it is told with the answer."""
    return {} if request_id is None else {"id": request_id}


def _more(content: Mapping[str, object]) -> str:
    """Further members of an object."""
    return "".join(f',"{name}":{orjson.dumps(value).decode()}' for name, value in content.items())
