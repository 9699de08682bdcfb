"""The model of the simulation and the Lua scripts are the same: command by command, on both servers."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from redis.asyncio import Redis

from common.errors import FleetError
from common.market.builder.builder import Checkpoint
from common.market.instrument import Instrument
from common.series import FOOTPRINTS, MINUTE_SERIES
from common.store.client import commit_client
from common.store.commit import Commit, StreamBounds
from common.store.format import CHUNKED_COVERAGE
from common.store.instrument import DataInstrument
from common.store.keys import SymbolKeys
from common.store.lease import NOTHING_SEEN, LeaseObservation
from common.store.symbol import SymbolStore
from tests.kit.store.both import fake
from tests.kit.store.model import DirectStore, StoreModel
from tests.kit.store.steps import MINUTE_MS, SYMBOL, everything, step
from tests.scale import scaled

KEYS = SymbolKeys(SYMBOL)
# Few trades are kept, so that runs come to the bound; all events are: Redis trims those roughly.
BOUNDS = StreamBounds(trades=7, events=10_000)

TOKENS = st.sampled_from([letter * 32 for letter in "abc"])
DATA = [DataInstrument.begun(Instrument(SYMBOL, decimals, 3)) for decimals in (2, 4)]
# Of two days.
OPENS = st.sampled_from([0, 1, 2, 1440, 1441, 1442]).map(lambda at: at * MINUTE_MS)
FLOORS = st.one_of(st.none(), OPENS)
BYTES = st.binary(max_size=4)
HEALTH = st.dictionaries(st.sampled_from(["mode", "source"]), st.sampled_from(["LIVE", "x"]))
GAP_IDS = st.sampled_from(["1-2", "5-9", "20-20"])
# Mostly where the store stands; else behind or ahead of it.
OFFSETS = st.sampled_from([0, 0, 0, 0, 0, -1, 1, 2])


class Machine(RuleBasedStateMachine):
    """Every command goes to both; answers, refusals and all that is stored must be equal."""

    connect: Callable[[], Redis]

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.model = StoreModel(BOUNDS)
        self.sighting = NOTHING_SEEN
        self.next_id = 1
        # Once coverage is stored by chunks, it is for good.
        self.is_chunked = False

    @initialize()
    def start(self) -> None:
        self.client = self.connect()
        self.store = SymbolStore(self.client, SYMBOL, BOUNDS)
        self.loop.run(_done(self.client.flushall()))

    def teardown(self) -> None:
        self.loop.run(self.client.aclose())
        self.loop.close()

    @rule(token=TOKENS, looks_away=st.booleans())
    def claim(self, token: str, looks_away: bool) -> None:
        seen = NOTHING_SEEN if looks_away else self.sighting
        found = self.both(lambda store: store.claim(token, seen, "holder"))
        if isinstance(found, LeaseObservation):
            self.sighting = found

    @rule(token=TOKENS, health=HEALTH)
    def release(self, token: str, health: dict[str, str]) -> None:
        self.both(lambda store: store.release(token, health))

    @rule(token=TOKENS, offset=OFFSETS, health=HEALTH)
    def beat(self, token: str, offset: int, health: dict[str, str]) -> None:
        self.both(lambda store: store.beat(self.token(token, offset), self.seq(offset), health))

    @rule(
        token=TOKENS,
        offset=OFFSETS,
        count=st.integers(0, 5),
        minutes=st.dictionaries(OPENS, st.tuples(BYTES, BYTES), max_size=3),
        floors=st.tuples(FLOORS, FLOORS),
        events=st.lists(st.integers(0, 9).map(b'{"type":"%d"}'.__mod__), max_size=2),
        health=HEALTH,
        gaps=st.dictionaries(GAP_IDS, BYTES, max_size=2),
        forgotten=st.lists(GAP_IDS, max_size=2),
        text_ids=st.lists(st.sampled_from("abcde"), max_size=3),
        note=st.sampled_from([None, "", "x"]),
        checkpoint=st.builds(Checkpoint, st.integers(0, 1 << 43), BYTES, BYTES, BYTES, BYTES),
        chunks=st.dictionaries(st.integers(0, 5), BYTES, max_size=3),
        is_chunked=st.booleans(),
        data=st.sampled_from([None, None, *DATA]),
    )
    def commit(self, token: str, offset: int, count: int, floors: tuple[int | None, int | None], **fields: Any) -> None:
        self.is_chunked = fields.pop("is_chunked") or self.is_chunked
        chunks = fields.pop("chunks")
        if self.is_chunked:
            fields["checkpoint"] = replace(fields["checkpoint"], chunks=chunks, is_chunked=True)
            fields["format"] = CHUNKED_COVERAGE
        ids = range(self.next_id, self.next_id + count)
        self.next_id += count
        # Members of a sorted set are unique: those of different minutes differ, as packed candles do.
        fields["minutes"] = {
            open_ms: (b"%d:" % open_ms + candle, footprint and b"%d:" % open_ms + footprint)
            for open_ms, (candle, footprint) in fields["minutes"].items()
        }
        made: Commit = step(
            self.token(token, offset),
            self.seq(offset),
            *ids,
            floors_ms={name: ms for name, ms in zip(MINUTE_SERIES, floors, strict=True) if ms is not None},
            **fields,
        )
        self.both(lambda store: store.commit(made))

    @rule(count=st.integers(1, 10))
    def recent_trades(self, count: int) -> None:
        self.both(lambda store: store.recent_trades(count))

    @rule()
    def health(self) -> None:
        self.both(_told_health)

    @invariant()
    def stores_are_equal(self) -> None:
        found, expected = self.loop.run(everything(self.client)), shown(self.model)
        state = found.get(KEYS.state, {})
        # What readers alone want to know is not in the model.
        found[KEYS.state] = {name: value for name, value in state.items() if name in STATE_FIELDS}
        found.get(KEYS.health, {}).pop(b"since_ms", None)
        found[KEYS.events] = _by_holders(found.get(KEYS.events, []))
        assert {key: value for key, value in found.items() if value} == expected

    def both(self, command: "Callable[[SymbolStore | DirectStore], Awaitable[Any]]") -> Any:
        model = self.loop.run(_answer(command(DirectStore(self.model))))
        redis = self.loop.run(_answer(command(self.store)))
        assert redis == model
        return redis

    def seq(self, offset: int) -> int:
        return max(0, self.model.tables.seq + offset)

    def token(self, token: str, offset: int) -> str:
        """The holder's own, as long as the offset is none: else hardly a command would be carried out."""
        return (self.model.tables.token or token) if offset == 0 else token


def _by_holders(events: list[Any]) -> list[Any]:
    """Events as they were committed: without those that the store tells of by itself, and what it adds to each."""
    found = [(event_id, fields[b"event"].partition(b',"eventId":')[0]) for event_id, fields in events]
    return [(event_id, {b"event": text + b"}"}) for event_id, text in found if not text.startswith(_BY_STORE)]


_BY_STORE = (b'{"type":"health"', b'{"type":"taken"')


async def _told_health(store: "SymbolStore | DirectStore") -> dict[str, str]:
    """Without the one field that is the store's own."""
    return {name: value for name, value in (await store.health()).items() if name != "since_ms"}


STATE_FIELDS = frozenset(
    b"seq token watermark_ms kept candle footprint coverage newest_span format refused position source_note".split()
    + [b"instrument"]
)


def shown(model: StoreModel) -> dict[str, Any]:
    """The model in the shape of `everything`, empty keys left out."""
    t = model.tables
    found: dict[str, Any] = {
        KEYS.candles: [(packed, float(open_ms)) for open_ms, packed in sorted(t.candles.items())],
        KEYS.minutes(FOOTPRINTS): [(packed, float(open_ms)) for open_ms, packed in sorted(t.footprints.items())],
        KEYS.dirty: [(b"%d" % day, float(seq)) for day, seq in sorted(t.dirty.items(), key=_by_score)],
        KEYS.events: [(event_id.encode(), {b"event": event}) for event_id, event in t.events],
        KEYS.gaps: {gap_id.encode(): gap for gap_id, gap in t.gaps.items()},
        KEYS.text_ids: [
            (text.encode(), float(score)) for text, score in sorted(t.text_ids.items(), key=lambda item: item[1])
        ],
        KEYS.health: {name.encode(): value.encode() for name, value in t.health.items()},
        KEYS.trades: [
            (
                b"%d-0" % entry.seq,
                {
                    b"token": entry.token.encode(),
                    b"n": b"%d" % entry.trade_count,
                    b"watermark_ms": b"%d" % entry.watermark_ms,
                    b"trades": entry.trades,
                },
            )
            for entry in t.entries
        ],
    }
    if t.token is not None:
        found[KEYS.owner] = {
            b"token": t.token.encode(),
            b"holder": t.holder.encode(),
            b"epoch": b"%d" % t.epoch,
            b"beats": b"%d" % t.beats,
        }
    if t.checkpoint:
        c = t.checkpoint
        found[KEYS.state] = {
            b"seq": b"%d" % t.seq,
            b"token": t.writer.encode(),
            b"watermark_ms": b"%d" % c.watermark_ms,
            b"kept": b"%d" % t.kept,
            b"candle": c.candle,
            b"footprint": c.footprint,
            **_coverage(c),
            b"refused": c.refused,
            b"position": t.position.encode(),
            **({b"instrument": t.data.dump()} if t.data else {}),
        } | ({} if t.note is None else {b"source_note": t.note.encode()})
        found[KEYS.coverage] = {b"%d" % number: chunk for number, chunk in c.chunks.items()}
    return {key: value for key, value in found.items() if value}


def _coverage(checkpoint: Checkpoint) -> dict[bytes, bytes]:
    if not checkpoint.is_chunked:
        return {b"coverage": checkpoint.coverage}
    return {b"newest_span": checkpoint.coverage, b"format": b"%d" % CHUNKED_COVERAGE}


def _by_score(item: tuple[int, int]) -> tuple[int, bytes]:
    """As a sorted set orders its members."""
    day, seq = item
    return seq, b"%d" % day


async def _answer(command: Awaitable[Any]) -> Any:
    """The result, or the kind of refusal."""
    try:
        return await command
    except FleetError as error:
        return type(error)


async def _done(command: Awaitable[Any]) -> None:
    await command


@pytest.mark.parametrize("server", ["fakeredis", "real"])
def test_the_model_is_equal_to_the_scripts(server: str, redis_url: str) -> None:
    def connect_to() -> Redis:
        return commit_client(redis_url) if server == "real" else fake()

    class Connected(Machine):
        connect = staticmethod(connect_to)

    run_state_machine_as_test(
        Connected,
        settings=settings(deadline=None, max_examples=scaled(60), stateful_step_count=40),
    )
