"""`/v1/symbols`, `/v1/health`, `/healthz`, `/readyz`, `/metrics`, and what every answer carries."""

import asyncio
import re
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from common.market.instrument import Instrument
from common.market.timeframes.timeframe import DAY_MS, day_of
from common.release import RELEASE
from common.store.budget import BudgetStore
from common.store.demand import Demand
from common.store.health import Tally
from common.store.jobs import QUEUED, RUNNING, failure
from common.store.keys import FAILURES, SymbolKeys
from common.store.minute_archive import MinuteArchive
from common.store.presence import WORKER, present, processes
from feed.queries.health import FAILURES_TOLD
from tests.kit.books import example_chunk, put_chunks
from tests.kit.served import Served, hear, say, served
from tests.kit.waiting import wait_until_async
from tests.kit.writer import INSTRUMENT, START_MS, Writer
from workers.symbol.commit import Retention

S = INSTRUMENT.symbol


async def test_symbols_lists_all_that_are_registered(feed: Served, writer: Writer, client: Redis) -> None:
    await writer.commit(writer.trade())
    await Writer(client, Instrument("SIMULATED:X", 1, 0)).register(kind="simulator")
    simulated, mine = (await feed.json("/v1/symbols"))["symbols"]
    nothing = dict.fromkeys(("candlesFrom", "footprintsFrom", "tradesFrom", "depthFrom"))
    assert simulated == {
        "symbol": "SIMULATED:X",
        "kind": "other",
        "venue": "SIMULATED",
        "name": "X",
        "base": None,
        "quote": None,
        "priceDecimals": 1,
        "sizeDecimals": 0,
        "priceStep": 0.1,
        "sizeStep": 1,
        "calendar": "24x7",
        "zone": "UTC",
        "hours": "regular",
        "ids": "unique",
        "source": "simulator",
        "onDemand": False,
        "simulated": True,
        "mode": "UNASSIGNED",
        **nothing,
    }
    told = ("symbol", "source", "mode", "ids", "priceStep", "sizeStep", "simulated", "tradesFrom")
    assert [mine[name] for name in told] == [S, "inbox", "LIVE", "contiguous", 0.01, 0.001, False, START_MS]


async def test_symbols_say_what_is_traded_where_and_in_which_steps(feed: Served, client: Redis) -> None:
    listed = {"venue": "KRAKEN", "name": "XBT/EUR", "price_step_ticks": 5, "size_step_lots": 100}
    await Writer(client, Instrument("KRAKEN:XBT-EUR", 1, 4)).register(kind="venue", demand="on_demand", **listed)
    bac = Instrument("NYSE:BAC", 2, 0, calendar="XNYS")
    # Worked out before anybody waits for it.
    assert bac.sessions
    await Writer(client, bac).register(kind="inbox")
    pair, share = (await feed.json("/v1/symbols"))["symbols"]
    told = ("venue", "name", "base", "quote", "priceStep", "sizeStep", "calendar", "zone", "onDemand")
    assert [pair[name] for name in told] == ["KRAKEN", "XBT/EUR", "XBT", "EUR", 0.5, 0.01, "24x7", "UTC", True]
    assert [share[name] for name in told[:4]] == ["NYSE", "BAC", None, None]
    assert (share["calendar"], share["zone"]) == ("XNYS", "America/New_York")


async def test_symbols_say_how_far_back_they_reach(feed: Served, writer: Writer, client: Redis) -> None:
    """The same before days are sealed, and once older ones have been dropped."""

    async def reach() -> list[int | None]:
        (found,) = (await feed.json("/v1/symbols"))["symbols"]
        return [found[name] for name in ("candlesFrom", "footprintsFrom", "tradesFrom", "depthFrom")]

    assert await reach() == [None] * 4
    first_ms = day_of(START_MS) + DAY_MS
    for day in range(4):
        await writer.commit(writer.trade(first_ms + day * DAY_MS), writer.trade(first_ms + day * DAY_MS + 60_000))
    await put_chunks(writer, example_chunk())
    depth_ms = int((await client.zrange(SymbolKeys(S).depth, 0, 0, withscores=True))[0][1])
    assert await reach() == [first_ms, first_ms, first_ms, depth_ms]
    await writer.roll_up()
    assert await reach() == [first_ms, first_ms, first_ms, depth_ms]
    writer.retention = Retention(candle_days=2, footprint_days=1)
    await writer.commit(writer.trade(first_ms + 4 * DAY_MS), writer.trade(first_ms + 4 * DAY_MS + 60_000))
    candles_ms, footprints_ms, trades_ms, _ = await reach()
    state = await client.hmget(SymbolKeys(S).state, ["candle_floor_ms", "footprint_floor_ms"])
    assert [candles_ms, footprints_ms] == [int(floor or 0) for floor in state] and candles_ms != footprints_ms
    assert trades_ms == first_ms


async def test_the_features_are_the_routes_and_the_channels(feed: Served) -> None:
    found = await feed.json("/v1/features")
    features = found["features"]
    assert found["version"] == RELEASE and features == sorted(set(features))
    asked = {"candles", "candles/current", "features", "api/multi-timeframe/ohlcv", "stream/candles", "stream/book"}
    assert asked <= set(features) and "stream" not in features
    # Each is asked for by its name.
    for name in features:
        if not name.startswith(("stream/", "api/")):
            head, *rest = name.split("/")
            paths = ("/".join(["/v1", name]), "/".join(["/v1", head, "TEST:NONE", *rest]))
            codes = [(await feed.get(path)).json().get("error", {}).get("code") for path in paths]
            assert set(codes) != {"not_found"}, name


async def test_health_is_of_the_whole_fleet_and_of_one_symbol(feed: Served, writer: Writer, client: Redis) -> None:
    first = writer.trade()
    await writer.commit(first, first)
    answer = await feed.json("/v1/health")
    found = answer["symbols"][S]
    assert (answer["status"], found["mode"], found["refused"], found["seq"]) == ("ok", "LIVE", {"duplicate": 1}, 1)
    fit = {"persistence": "always", "eviction": "noeviction", "writable": True, "troubles": []}
    assert answer["store"].pop("version").startswith("Valkey ")
    assert answer["store"] == fit
    assert answer["archive"] == {"on": False, "where": None, "mode": None, "reason": None}
    history = {"candlesFrom": None, "sealedTo": None, "dirtyDays": 0, "outOfSession": 0, "archive": None}
    assert (await feed.json(f"/v1/health/{S}")) | {"lastUpdateMsAgo": 0} == {
        "symbol": S,
        **found,
        "lastUpdateMsAgo": 0,
        "history": history,
    }
    await writer.store.release(writer.token)
    answer = await feed.json("/v1/health")
    assert (answer["status"], answer["symbols"][S]["mode"]) == ("degraded", "UNASSIGNED")


async def test_a_quiet_inbox_is_no_fault_and_a_quiet_venue_is_one(feed: Served, client: Redis) -> None:
    for symbol, kind, status in (("MY:Q", "inbox", "ok"), ("V:Q", "venue", "degraded")):
        quiet = Writer(client, Instrument(symbol, 2, 2, calendar="24x7"))
        await quiet.register(kind=kind)
        await quiet.claim()
        answer = await feed.json("/v1/health")
        assert (answer["status"], answer["symbols"][symbol]["mode"]) == (status, "STALE")
    assert [found["reason"] for found in answer["symbols"].values()] == ["quiet", None]


async def test_health_and_metrics_tell_of_minutes_found_wrong(feed: Served, writer: Writer) -> None:
    await writer.commit(writer.trade())
    found = await feed.json(f"/v1/health/{S}")
    names = ("mismatches", "mismatchT", "faults", "faultT")
    assert [found[name] for name in names] == [0, None, 0, None]
    assert f'fleet_candle_mismatches{{symbol="{S}"}} 0.0' in (await feed.get("/metrics")).text
    assert "fleet_health_reason{" not in (await feed.get("/metrics")).text
    wrong = {"mode": "DEGRADED", "reason": "mismatch", **Tally(3, START_MS, 2, START_MS - 60_000).dump()}
    await writer.commit(writer.trade(), health=wrong)
    found = await feed.json(f"/v1/health/{S}")
    assert [found[name] for name in names] == [3, START_MS, 2, START_MS - 60_000]
    assert found["reason"] == "mismatch"
    assert f'fleet_health_reason{{reason="mismatch",symbol="{S}"}} 1.0' in (await feed.get("/metrics")).text
    assert (await feed.json("/v1/health"))["status"] == "degraded"
    lines = (await feed.get("/metrics")).text.splitlines()
    assert f'fleet_candle_mismatches{{symbol="{S}"}} 3.0' in lines
    assert f'fleet_candle_faults{{symbol="{S}"}} 2.0' in lines


async def test_metrics_tell_how_many_workers_there_should_be_and_are(
    redis_url: str, writer: Writer, client: Redis
) -> None:
    for number in range(3):
        await Writer(client, Instrument(f"X:{number}", 1, 0)).register(kind="inbox")
    await Writer(client, Instrument("FILE", 1, 0)).register(kind="replay")
    await Writer(client, Instrument("V:A", 1, 0)).register(kind="venue", demand="on_demand")

    async def told(feed: Served) -> dict[str, float]:
        lines = (await feed.get("/metrics")).text.splitlines()
        names = ("fleet_workers_wanted", "fleet_workers_alive", "fleet_symbols_unassigned")
        return {name: float(value) for name, _, value in (line.partition(" ") for line in lines) if name in names}

    async with served(redis_url, symbols_per_worker=2, spares=1) as feed:
        # The writer holds its symbol; nobody asks for V:A.
        unserved = {"fleet_workers_wanted": 3.0, "fleet_workers_alive": 0.0, "fleet_symbols_unassigned": 3.0}
        assert await told(feed) == unserved
        await Demand(client).ask(["V:A"])
        assert await told(feed) == unserved | {"fleet_workers_wanted": 4.0, "fleet_symbols_unassigned": 4.0}
        async with present(client, WORKER, 2):
            await wait_until_async(lambda: _count_workers(client))
            assert (await told(feed))["fleet_workers_alive"] == 1.0


async def _count_workers(client: Redis) -> int:
    return sum(process.kind == WORKER for process in await processes(client))


async def test_failed_jobs_are_in_health_with_their_reason_and_in_the_metrics(
    feed: Served, writer: Writer, client: Redis
) -> None:
    await writer.commit(writer.trade())
    empty = {"queued": 0, "running": 0, "workers": 0, "failures": 0, "failed": []}
    assert (await feed.json("/v1/health"))["queue"] == empty
    for number in range(FAILURES_TOLD + 1):
        found = failure(f"roll_A_{number}", "OSError: disk full", number, 10)
        await client.hset(FAILURES, found.job, found.dump())
    await client.rpush(QUEUED, "roll_B_0")
    await client.zadd(RUNNING, {"roll_C_0:execution": 1})
    answer = await feed.json("/v1/health")
    told = answer["queue"]["failed"]
    last = {"job": "roll_A_20", "reason": "OSError: disk full", "at": 20, "times": 1, "retryAt": 30}
    assert (answer["status"], len(told), told[0]) == ("degraded", FAILURES_TOLD, last)
    assert answer["queue"] | {"failed": []} == empty | {"queued": 1, "running": 1, "failures": 21}
    lines = (await feed.get("/metrics")).text.splitlines()
    assert 'fleet_jobs{state="failed"} 21.0' in lines and "fleet_rollup_workers 0.0" in lines


async def test_what_is_kept_and_what_is_to_be_done_for_it_is_in_health_and_metrics(
    redis_url: str, writer: Writer, client: Redis, tmp_path: Path
) -> None:
    today_ms = day_of(START_MS)

    async def told() -> tuple[dict[str, Any], list[str]]:
        lines = (await feed.get("/metrics")).text.splitlines()
        return (await feed.json(f"/v1/health/{S}"))["history"], [
            line for line in lines if line.startswith("fleet_days")
        ]

    async with served(redis_url, archive_url=str(tmp_path)) as feed:
        there = {"on": True, "where": str(tmp_path)}
        assert (await feed.json("/v1/health"))["archive"] == {**there, "mode": "LIVE", "reason": None}
        for number in range(3):
            await writer.commit(writer.trade(START_MS + number * DAY_MS))
        found, lines = await told()
        nothing: dict[str, Any] = {"candlesTo": None, "footprintsTo": None, "pending": 0, "late": 0, "lateLost": 0}
        nothing |= {"tradesTo": None, "tradesPending": 3, "tradesLost": [], "toRescale": 0, "damaged": 0, "faults": []}
        assert found == {
            "candlesFrom": today_ms,
            "sealedTo": None,
            "dirtyDays": 2,
            "outOfSession": 0,
            "archive": nothing,
        }
        assert lines == [f'fleet_days_due{{symbol="{S}"}} 2.0', f'fleet_days_unarchived{{symbol="{S}"}} 0.0']
        await writer.roll_up()
        found, lines = await told()
        end_ms = today_ms + 2 * DAY_MS
        assert found | {"archive": None} == {
            "candlesFrom": today_ms,
            "sealedTo": end_ms,
            "dirtyDays": 0,
            "outOfSession": 0,
            "archive": None,
        }
        assert lines == [f'fleet_days_due{{symbol="{S}"}} 0.0', f'fleet_days_unarchived{{symbol="{S}"}} 4.0']
        store = MinuteArchive(client, S)
        token, scores = await store.unarchived("candles")
        await store.archived("candles", token, scores)
        assert (await told())[0]["archive"] == nothing | {"candlesTo": end_ms, "pending": 2}


async def test_a_queue_that_is_away_degrades_health_and_nothing_else(redis_url: str, writer: Writer) -> None:
    await writer.commit(writer.trade())
    async with served(redis_url, queue_redis_url="redis://127.0.0.1:1/0") as feed:
        answer = await feed.json("/v1/health")
        assert (answer["status"], answer["queue"], answer["symbols"][S]["mode"]) == ("degraded", None, "LIVE")
        assert "fleet_jobs" not in (await feed.get("/metrics")).text


async def test_the_process_is_alive_and_ready(feed: Served) -> None:
    for path in ("/healthz", "/readyz"):
        assert (await feed.get(path)).status_code == 200


async def test_metrics_count_requests_messages_and_symbols(feed: Served, writer: Writer) -> None:
    trade = writer.trade()
    await writer.commit(trade, trade)
    await feed.get(f"/v1/candles/{S}")
    await feed.get("/v1/candles/TEST:NONE")
    await feed.get("/made/up/path")
    async with feed.connect() as socket:
        await say(socket, action="subscribe", symbol=S, timeframe="1m")
        await hear(socket, "snapshot")
        text = (await feed.get("/metrics")).text
    for line in (
        'feed_requests_total{route="/v1/candles/{symbol}",status="200"} 1.0',
        'feed_requests_total{route="/v1/candles/{symbol}",status="404"} 1.0',
        'feed_requests_total{route="none",status="404"} 1.0',
        "feed_ws_clients 1.0",
        "feed_ws_subscriptions 1.0",
        "feed_ws_messages_sent_total 1.0",
        f'fleet_seq{{symbol="{S}"}} 1.0',
        f'fleet_trades_refused{{reason="duplicate",symbol="{S}"}} 1.0',
        f'fleet_health{{mode="LIVE",symbol="{S}"}} 1.0',
    ):
        assert line in text.splitlines(), line
    assert "/made/up/path" not in text
    text = (await feed.get("/metrics")).text
    assert "feed_ws_clients 0.0" in text and "feed_ws_subscriptions 0.0" in text


async def test_a_removed_symbol_is_gone_from_the_metrics(feed: Served, writer: Writer, client: Redis) -> None:
    await writer.commit(writer.trade())
    assert f'symbol="{S}"' in (await feed.get("/metrics")).text
    await client.delete("symbols")
    assert f'symbol="{S}"' not in (await feed.get("/metrics")).text


async def test_every_answer_carries_the_security_headers_and_none_for_other_origins(
    feed: Served, writer: Writer
) -> None:
    for path in ("/healthz", f"/v1/candles/{S}", "/v1/nothing", "/v1/symbols?x=1"):
        headers = (await feed.http.get(path, headers={"origin": "https://evil.example.org"})).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert not any(name.startswith("access-control") for name in headers)
        assert "server" not in headers


async def test_a_failure_nobody_foresaw_is_a_500_without_its_text(feed: Served, writer: Writer) -> None:
    # A registry entry that is no market is not the client's fault.
    await feed.services.client.hset("symbols", "TEST:BROKEN", "{}")
    response = await feed.get("/v1/candles/TEST:BROKEN")
    assert response.status_code == 500
    assert response.json() == {"error": {"code": "internal", "message": "the feed failed to answer, its log says why"}}
    assert response.headers["x-content-type-options"] == "nosniff"
    async with feed.connect() as socket:
        await say(socket, action="subscribe", symbol="TEST:BROKEN", timeframe="1m")
        assert (await hear(socket))["code"] == "internal"


async def test_identical_questions_in_flight_are_answered_once(feed: Served, writer: Writer) -> None:
    await writer.commit(writer.trade(START_MS))
    await feed.get(f"/v1/candles/{S}")
    before = (await feed.services.client.info("commandstats"))["cmdstat_exec"]["calls"]
    responses = await asyncio.gather(*(feed.get(f"/v1/candles/{S}") for _ in range(20)))
    assert len({response.content for response in responses}) <= 20
    after = (await feed.services.client.info("commandstats"))["cmdstat_exec"]["calls"]
    assert after - before < 20


async def test_metrics_tell_what_a_venue_has_refused(feed: Served, writer: Writer, client: Redis) -> None:
    await client.delete("symbols")
    await writer.register(kind="venue", venue="LOCAL")
    store = BudgetStore(client, "LOCAL", [])
    what = {"endpoint": "depth", "market": "BTCUSDT", "retry_after_ms": 5_000, "cooldown_ms": 5_200}
    await store.cool_down(60_000, "depth", what)
    text = (await feed.get("/metrics")).text
    assert 'fleet_venue_throttles{endpoint="depth",venue="LOCAL"} 1.0' in text
    assert 'fleet_venue_retry_after_ms{endpoint="depth",market="BTCUSDT",venue="LOCAL"} 5000.0' in text
    assert 'fleet_venue_cooldown_applied_ms{endpoint="depth",market="BTCUSDT",venue="LOCAL"} 5200.0' in text
    (left,) = re.findall(r'fleet_venue_cooldown_ms{venue="LOCAL"} (\S+)', text)
    assert 50_000 < float(left) <= 60_000
