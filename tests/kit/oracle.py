"""What must be true at the end of any disturbed run, against one undisturbed pass over the same trades."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby
from operator import eq
from typing import NamedTuple

import orjson

from common.market.builder.builder import Builder, Checkpoint, pack_minute
from common.market.builder.id_coverage import IdCoverage
from common.market.instrument import Instrument
from common.market.trade import Trade, Trades
from tests.kit.delta_oracle import packed_is_as

# Names of the checks, as the negative controls report them.
CANDLES, FOOTPRINTS, CHECKPOINT = "candles", "footprints", "checkpoint"
SEQUENCE, TOKENS, TWICE, MISSING, FOREIGN = "sequence", "tokens", "trades twice", "trades missing", "trades foreign"


class Step(NamedTuple):
    """One commit, as the trade stream tells it."""

    seq: int
    token: str
    trades: Trades


@dataclass(slots=True)
class Outcome:
    """All that is left of a run: minutes by open_ms, packed; the checkpoint (open minute, coverage, refused)."""

    candles: dict[int, bytes]
    footprints: dict[int, bytes]
    checkpoint: Checkpoint | None
    steps: Sequence[Step]


def single_pass(
    instrument: Instrument, sources: int, grace_ms: int, trades: Trades, now_ms: int, complete_ms: int
) -> Outcome:
    """Apply all trades as one batch, in memory. `now_ms`, `complete_ms`: as for a term (workers.symbol.term)."""
    builder = Builder.new(instrument, sources, grace_ms)
    changes = builder.apply(builder.accept(trades, now_ms), complete_ms, {})
    minutes = {open_ms: pack_minute(minute) for open_ms, minute in (changes.closed | changes.amended).items()}
    return Outcome(
        {open_ms: candle for open_ms, (candle, _) in minutes.items()},
        {open_ms: footprint for open_ms, (_, footprint) in minutes.items()},
        builder.checkpoint(),
        [Step(1, "oracle", changes.trades)],
    )


def differences(found: Outcome, expected: Outcome) -> dict[str, str]:
    """Name each check that fails, with a sentence. Empty: equal to the last byte, each trade once, one lineage."""
    sentences = chain(
        _minutes(CANDLES, found.candles, expected.candles, packed_is_as),
        _minutes(FOOTPRINTS, found.footprints, expected.footprints, eq),
        _checkpoints(found.checkpoint, expected.checkpoint),
        _sequence(found.steps),
        _tokens(found.steps),
        _trades(_rows(found.steps), _rows(expected.steps)),
    )
    return dict(sentences)


def lineage(steps: Sequence[Step], expected: Collection[Trade]) -> dict[str, str]:
    """The same of the commits alone, where their order is nobody's to tell: each trade once, one lineage."""
    sentences = chain(_sequence(steps), _tokens(steps), _counts(Counter(_rows(steps)), Counter(expected)))
    return dict(sentences)


def _minutes(
    name: str,
    found: dict[int, bytes],
    expected: dict[int, bytes],
    are_equal: Callable[[bytes | None, bytes | None], bool],
) -> Iterator[tuple[str, str]]:
    opens = found | expected
    wrong = sorted(open_ms for open_ms in opens if not are_equal(found.get(open_ms), expected.get(open_ms)))
    if wrong:
        yield name, f"{len(wrong)} of {len(expected)} differ, the first opens at {wrong[0]}"


def _checkpoints(found: Checkpoint | None, expected: Checkpoint | None) -> Iterator[tuple[str, str]]:
    growing = [checkpoint.candle if checkpoint else None for checkpoint in (found, expected)]
    if _whole(found) != _whole(expected) or not packed_is_as(*growing):
        yield CHECKPOINT, f"found {found}, expected {expected}"


def _whole(checkpoint: Checkpoint | None) -> Checkpoint | None:
    """With all of coverage as one text: how it was cut into chunks tells of the batches that trades came in.

    And without the growing candle, which is compared by itself.
    """
    if checkpoint is None:
        return None
    coverage = checkpoint.coverage
    if checkpoint.chunks:
        coverage = orjson.dumps(IdCoverage.load(orjson.loads(coverage), checkpoint.chunks).dump())
    return replace(checkpoint, candle=b"", coverage=coverage, chunks={}, is_chunked=False)


def _sequence(steps: Sequence[Step]) -> Iterator[tuple[str, str]]:
    """Each commit stands on the one before: 1, 2, 3, ..."""
    for expected, step in enumerate(steps, 1):
        if step.seq != expected:
            yield SEQUENCE, f"commit {step.seq} where {expected} was expected"
            return


def _tokens(steps: Sequence[Step]) -> Iterator[tuple[str, str]]:
    """A writer that has been followed by another one never writes again."""
    terms = [token for token, _ in groupby(step.token for step in steps)]
    again = [token for token, count in Counter(terms).items() if count > 1]
    if again:
        yield TOKENS, f"{len(again)} tokens interleave with others, the first is {again[0]}"


def _trades(found: list[Trade], expected: list[Trade]) -> Iterator[tuple[str, str]]:
    if found == expected:
        return
    found_counts, expected_counts = Counter(found), Counter(expected)
    yield from _counts(found_counts, expected_counts)
    if found_counts == expected_counts:
        yield SEQUENCE, "the same trades in another order"


def _counts(found_counts: Counter[Trade], expected_counts: Counter[Trade]) -> Iterator[tuple[str, str]]:
    wrong = {
        TWICE: found_counts - Counter(found_counts.keys()),
        MISSING: expected_counts - found_counts,
        FOREIGN: Counter(found_counts.keys() - expected_counts.keys()),
    }
    for name, rows in wrong.items():
        if rows:
            yield name, f"{rows.total()}, the first is {min(rows)}"


def _rows(steps: Sequence[Step]) -> list[Trade]:
    return [row for step in steps for row in step.trades.rows()]
