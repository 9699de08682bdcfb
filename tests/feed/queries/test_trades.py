"""`GET /v1/trades/{symbol}`: time and sales."""

import csv
import io
import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from redis.asyncio import Redis

from common.market.candle import SIMULATED
from common.market.coding import codec
from common.market.instrument import Instrument
from common.market.trade import Trade
from common.store.keys import SymbolKeys
from common.store.parts import TradeEntry
from common.store.reads import SymbolReader
from tests.kit.served import Served
from tests.kit.trades_oracle import newest, told_trades
from tests.kit.writer import INSTRUMENT, START_MS, Writer, random_step, some_trades
from tests.scale import scaled
from workers.recordings.text import csv_chunks

S = INSTRUMENT.symbol
PATH = f"/v1/trades/{S}"


async def kept(client: Redis, symbol: str = S) -> list[Trade]:
    """All trades in the stream."""
    entries: Any = await client.xrange(SymbolKeys(symbol).trades)
    return [trade for _, fields in entries for trade in codec.unpack_trades(fields[b"trades"]).rows()]


class Reads:
    """Counts the entries that are read back, and lets something happen between two pages."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, first_page: int) -> None:
        self.entries = 0
        self.pages = 0
        self.between: Any = None
        read = SymbolReader.entries_back

        async def counted(
            reader: SymbolReader, from_seq: int, count: int
        ) -> tuple[list[TradeEntry], TradeEntry | None]:
            if self.pages and self.between:
                between, self.between = self.between, None
                await between()
            found = await read(reader, from_seq, count)
            self.pages += 1
            self.entries += len(found[0])
            return found

        monkeypatch.setattr(SymbolReader, "entries_back", counted)
        monkeypatch.setattr("feed.queries.trades.FIRST_PAGE", first_page)


async def one_each(writer: Writer, count: int, every_ms: int = 100) -> list[Trade]:
    """Commits of one trade each, in order of time."""
    trades = []
    for _ in range(count):
        writer.now_ms += every_ms
        trades.append(writer.trade())
        await writer.commit(trades[-1])
    return trades


async def test_the_answer_has_trades_completeness_cursor_and_health(feed: Served, writer: Writer) -> None:
    await writer.commit(writer.trade(ticks=10_050, lots=1, side=1), writer.trade(side=2))
    answer = await feed.json(PATH)
    assert list(answer) == ["symbol", "trades", "complete", "cursor", "health"]
    assert answer["trades"] == [
        {"t": START_MS, "id": 1, "p": 100.5, "q": 0.001, "side": "sell"},
        {"t": START_MS, "id": 2, "p": 100, "q": 0.005, "side": "unknown"},
    ]
    assert (answer["symbol"], answer["complete"], answer["cursor"]) == (S, True, writer.cursor)
    assert answer["health"]["mode"] == "LIVE"


async def test_the_newest_of_the_range_are_answered_ascending_or_on_demand_the_oldest(
    feed: Served, writer: Writer
) -> None:
    trades = await one_each(writer, 8)
    times = [trade.ts_ms for trade in trades]
    for asked, expected in (
        ({"limit": 3}, trades[5:]),
        ({"start": times[2], "end": times[6]}, trades[2:6]),
        ({"start": times[2] + 1, "end": times[6] + 1}, trades[3:7]),
        ({"start": times[2], "limit": 2}, trades[6:]),
        ({"end": times[6], "limit": 2}, trades[4:6]),
        ({"start": times[7] + 1}, []),
        ({"start": times[2], "end": times[2]}, []),
        ({"limit": 3, "take": "oldest"}, trades[:3]),
        ({"start": times[2], "limit": 2, "take": "oldest"}, trades[2:4]),
        ({"start": times[6], "limit": 5, "take": "oldest"}, trades[6:]),
    ):
        assert (await feed.json(PATH, **asked))["trades"] == told_trades(expected), asked


async def test_a_late_trade_stands_where_its_time_says(feed: Served, writer: Writer) -> None:
    trades = await one_each(writer, 100)
    late = writer.trade(trades[50].ts_ms + 1)
    await writer.commit(late)
    everything = [*trades, late]
    for asked in ({}, {"limit": 50}, {"limit": 51}, {"start": late.ts_ms, "limit": 60}):
        limit, start_ms = asked.get("limit", 500), asked.get("start", 0)
        found = (await feed.json(PATH, **asked))["trades"]
        assert found == newest(everything, start_ms, limit=limit), asked
    assert told_trades([late])[0] in (await feed.json(PATH, limit=50))["trades"]
    assert told_trades([late])[0] not in (await feed.json(PATH, limit=49))["trades"]


@pytest.mark.parametrize("seed", range(scaled(10)))
async def test_answers_are_those_of_all_that_is_kept_and_never_say_complete_of_less_than_there_was(
    feed: Served, client: Redis, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng = random.Random(seed)
    Reads(monkeypatch, first_page=rng.choice((2, 3, 64)))
    instrument = Instrument("TEST:A", 2, 3, rng.choice(("contiguous", "unique")))
    writer = Writer(client, instrument, trades_kept=rng.choice((20, 200, 100_000)))
    await writer.register()
    await writer.claim()
    completes = []
    for _ in range(25):
        await random_step(writer, rng)
        if rng.random() < 0.1:
            await writer.claim()
        start_ms = rng.choice((None, START_MS, rng.randint(START_MS, writer.now_ms + 1), writer.now_ms))
        end_ms = rng.choice((None, rng.randint(start_ms or START_MS, writer.now_ms + 2)))
        limit = rng.choice((1, 5, 40, 10_000))
        window = {name: ms for name, ms in (("start", start_ms), ("end", end_ms)) if ms is not None}
        answer = await feed.json(f"/v1/trades/{instrument.symbol}", limit=limit, **window)
        bounds = (start_ms or 0, 1 << 60 if end_ms is None else end_ms, limit)
        assert answer["trades"] == newest(await kept(client, instrument.symbol), *bounds)
        assert answer["cursor"] == writer.cursor
        if answer["complete"]:
            assert answer["trades"] == newest([one.trade for one in writer.applied], *bounds)
        completes.append(answer["complete"])
    assert any(completes)


async def test_no_more_of_the_stream_is_read_than_is_needed(
    feed: Served, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    trades = await one_each(writer, 200)
    for asked, most in (
        ({"limit": 1}, 8),
        ({"limit": 5}, 8),
        ({"limit": 20}, 8 + 16),
        ({"start": trades[-4].ts_ms, "limit": 500}, 8),
        ({"start": trades[-1].ts_ms + 1}, 0),
        # The way to an old range leads through all that is newer.
        ({"end": trades[-50].ts_ms, "limit": 5}, 8 + 16 + 32 + 64),
    ):
        reads = Reads(monkeypatch, first_page=8)
        limit, start_ms, end_ms = asked.get("limit", 500), asked.get("start", 0), asked.get("end", 1 << 60)
        assert (await feed.json(PATH, **asked))["trades"] == newest(trades, start_ms, end_ms, limit)
        assert reads.entries <= most, asked


async def test_complete_says_whether_what_is_kept_reaches_back_to_the_start(feed: Served, client: Redis) -> None:
    writer = Writer(client, trades_kept=50)
    await writer.register()
    await writer.claim()
    trades = await one_each(writer, 50)
    assert (await feed.json(PATH))["complete"]
    assert (await feed.json(PATH, start=trades[0].ts_ms))["complete"]
    # Nothing is known of before.
    assert not (await feed.json(PATH, start=trades[0].ts_ms - 1))["complete"]
    trades += await one_each(writer, 10)
    answer = await feed.json(PATH)
    assert answer["trades"] == told_trades(trades[10:]) and not answer["complete"]
    assert not (await feed.json(PATH, start=trades[9].ts_ms, limit=3))["complete"]
    # Those that were cut could be late ones of the time of the oldest that is left, but no newer ones.
    assert not (await feed.json(PATH, start=trades[10].ts_ms))["complete"]
    assert (await feed.json(PATH, start=trades[10].ts_ms + 1))["complete"]
    # Without a start: of what is answered.
    assert (await feed.json(PATH, limit=49))["complete"]
    assert not (await feed.json(PATH, limit=50))["complete"]
    assert (await feed.json(PATH, start=trades[-1].ts_ms + 1))["complete"]
    # Of the oldest: up to the last one answered.
    oldest = {"take": "oldest", "limit": 3}
    assert not (await feed.json(PATH, start=trades[10].ts_ms, **oldest))["complete"]
    assert (await feed.json(PATH, start=trades[10].ts_ms + 1, **oldest))["complete"]


async def test_a_gap_in_the_range_is_not_complete(feed: Served, writer: Writer) -> None:
    before = await one_each(writer, 3)
    writer.trade()
    after = await one_each(writer, 3)
    assert not (await feed.json(PATH))["complete"]
    assert not (await feed.json(PATH, limit=4))["complete"]
    assert (await feed.json(PATH, limit=2))["complete"]
    assert (await feed.json(PATH, start=before[0].ts_ms, end=before[-1].ts_ms))["complete"]
    assert (await feed.json(PATH, start=after[1].ts_ms))["complete"]


async def test_all_forms_say_the_same(feed: Served, writer: Writer) -> None:
    rng = random.Random(1)
    for _ in range(10):
        await writer.commit(*some_trades(writer, rng, 20))
    answer = (await feed.json(PATH, limit=70))["trades"]
    rows = [(str(one["t"]), str(one["p"]), str(one["q"]), one["side"], str(one["id"])) for one in answer]
    table = await feed.get(PATH, limit=70, format="csv")
    assert table.headers["content-type"].startswith("text/csv")
    header, *lines = csv.reader(io.StringIO(table.text))
    assert header == ["ts_ms", "price", "size", "side", "id"]
    assert list(map(plain, lines)) == list(map(plain, rows))
    arrow = await feed.get(PATH, limit=70, format="arrow")
    assert arrow.headers["content-type"] == "application/vnd.apache.arrow.stream"
    columns = pa.ipc.open_stream(arrow.content).read_all()
    assert columns.column_names == header
    assert [plain(tuple(map(str, row.values()))) for row in columns.to_pylist()] == list(map(plain, rows))
    assert len(rows) == 70


def plain(row: Any) -> tuple[Any, ...]:
    ts_ms, price, size, side, trade_id = row
    return int(ts_ms), Decimal(price), Decimal(size), side, int(trade_id)


async def test_the_csv_is_what_a_replay_reads(feed: Served, writer: Writer, tmp_path: Path) -> None:
    trades = some_trades(writer, random.Random(2), 50)
    await writer.commit(*trades)
    path = tmp_path / "trades.csv"
    path.write_bytes((await feed.get(PATH, format="csv")).content)
    read = [trade for chunk in csv_chunks(path, INSTRUMENT, False, 0) for trade in chunk.trades.rows()]
    assert read == sorted(trades)


async def test_a_store_that_goes_back_in_time_under_the_reading_gives_no_mixture(
    feed: Served, writer: Writer, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await one_each(writer, 5)
    saved = await writer.save()
    await one_each(writer, 20)
    reads = Reads(monkeypatch, first_page=4)

    async def rewind() -> None:
        await writer.rewind(saved)
        writer.now_ms += 60_000
        await one_each(writer, 30)

    reads.between = rewind
    answer = await feed.json(PATH)
    assert answer["trades"] == newest(await kept(client)) and answer["cursor"] == writer.cursor
    assert answer["trades"] == newest([one.trade for one in writer.applied])


async def test_a_stream_cut_under_the_reading_is_answered_without_what_was_cut(
    feed: Served, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer(client, trades_kept=30)
    await writer.register()
    await writer.claim()
    trades = await one_each(writer, 30)
    cursor, reads = writer.cursor, Reads(monkeypatch, first_page=4)

    async def go_on() -> None:
        await one_each(writer, 40)

    reads.between = go_on
    answer = await feed.json(PATH, start=trades[0].ts_ms)
    # Three of the first page; the fourth is read again, and is gone.
    assert answer["trades"] == told_trades(trades[27:])
    assert answer["cursor"] == cursor and not answer["complete"]


async def test_commits_under_the_reading_do_not_show(
    feed: Served, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    trades = await one_each(writer, 30)
    cursor, reads = writer.cursor, Reads(monkeypatch, first_page=4)

    async def go_on() -> None:
        await one_each(writer, 40)
        await writer.commit(writer.trade(trades[3].ts_ms))

    reads.between = go_on
    answer = await feed.json(PATH)
    assert (answer["trades"], answer["cursor"]) == (told_trades(trades), cursor)
    assert reads.pages > 1


async def test_a_symbol_without_a_commit_has_no_trades(feed: Served, writer: Writer) -> None:
    answer = await feed.json(PATH)
    assert (answer["trades"], answer["cursor"]) == ([], "0-")
    assert (await feed.get(PATH, format="csv")).text == "ts_ms,price,size,side,id\n"
    assert (await feed.get(PATH, format="arrow")).status_code == 200


async def test_simulated_trades_say_so(feed: Served, client: Redis) -> None:
    writer = Writer(client, sources=SIMULATED)
    await writer.register(kind="simulator")
    await writer.claim()
    await writer.commit(writer.trade())
    assert (await feed.json(PATH))["simulated"] is True
