"""The packed message of channel `{S}:commits`: all that one commit changed, for the feed's live bars.

Exactly one message a commit, so a reader that sees `seq` jump has missed one and reads the stream. JSON would cost
the integers: the feed merges minutes into any timeframe and must not parse decimals back.
"""

import struct
from dataclasses import dataclass

from common.market.candle import Candle
from common.market.coding import codec

# version, closed, amended, flags (_OPEN, _RESHAPED), seq, watermark_ms, token, bytes of coverage; then the packed
# candles, coverage (JSON), and the packed trades.
_HEAD = struct.Struct("<IIIIqq32sI")
# Coverage is all of it, as in a state of format 1; or its newest span, as in one of format 2. Or that, and the candles
# are CANDLE_WITH_DELTA, as where one of them has the range of its running delta.
VERSIONS = WHOLE, NEWEST, _WITH_DELTA = 1, 2, 3
_OPEN, _RESHAPED = 1, 2


@dataclass(frozen=True, slots=True)
class CommitMessage:
    """`trades` is still packed: most readers don't need it.

    `amended`: of minutes that the archive alone has, what their late trades alone make.
    """

    seq: int
    token: str
    watermark_ms: int
    closed: list[Candle]
    amended: list[Candle]
    open: Candle | None
    # All of coverage, or its newest span, by the version.
    coverage_json: bytes
    trades: bytes
    version: int = WHOLE
    # Whether more of coverage changed than the end of its newest span; what is whole does not say.
    is_reshaped: bool = False

    def pack(self) -> bytes:
        return self.head() + self.trades

    def head(self) -> bytes:
        """All but the trades. In a commit these follow by themselves: its script has them already (commit.lua)."""
        growing = [self.open] if self.open else []
        candles = [*self.closed, *self.amended, *growing]
        members, version = list(map(codec.pack_candle, candles)), self.version
        if any(candle.delta for candle in candles):
            members, version = list(map(codec.widened_candle, members)), _WITH_DELTA
        head = _HEAD.pack(
            version,
            len(self.closed),
            len(self.amended),
            _OPEN * bool(growing) | _RESHAPED * self.is_reshaped,
            self.seq,
            self.watermark_ms,
            self.token.encode(),
            len(self.coverage_json),
        )
        return b"".join([head, *members, self.coverage_json])

    @classmethod
    def unpack(cls, packed: bytes) -> "CommitMessage":
        version, closed, amended, flags, seq, watermark_ms, token, coverage = _HEAD.unpack_from(packed)
        if version not in VERSIONS:
            raise ValueError(f"commit message of version {version}, expected one of {VERSIONS}")
        has_delta, growing = version == _WITH_DELTA, flags & _OPEN
        size = (codec.CANDLE_WITH_DELTA if has_delta else codec.CANDLE).size
        end = _HEAD.size + size * (closed + amended + growing)
        candles = [codec.unpack_candle(packed[at : at + size]) for at in range(_HEAD.size, end, size)]
        return cls(
            seq,
            token.decode(),
            watermark_ms,
            candles[:closed],
            candles[closed : closed + amended],
            candles[-1] if growing else None,
            packed[end : end + coverage],
            packed[end + coverage :],
            NEWEST if has_delta else version,
            bool(flags & _RESHAPED),
        )
