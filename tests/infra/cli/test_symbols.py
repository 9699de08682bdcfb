"""`fleet symbols` and `fleet replay`, as a user runs them: on a real store, by exit code and by what is printed."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
import redis

from common.market.instrument import Instrument
from common.store.registry import Market, open_store
from infra.paths import ROOT
from tests.kit.processes.command import Done, Fleet
from tests.kit.waiting import wait_until
from workers.venues.registry import VENUES


@pytest.fixture(scope="module")
def exchange_port() -> Iterator[int]:
    """The port of a running local exchange."""
    line = [sys.executable, "-m", "infra.exchange", "--port", "0", "--history-hours", "0"]
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield int(process.stdout.readline().rpartition(":")[2])
        finally:
            process.kill()


@pytest.fixture
def local(fleet: Fleet, exchange_port: int) -> Fleet:
    """A fleet whose data folder has the local exchange."""
    (fleet.data / "exchange").mkdir(parents=True)
    (fleet.data / "exchange" / "port").write_text(str(exchange_port))
    return fleet


def recording(path: Path, count: int, step_ms: int = 1_000) -> Path:
    lines = (
        f"{1_700_000_000_000 + step_ms * i},{100 + i % 7}.25,0.5,{('buy', 'sell')[i % 2]},{i}" for i in range(count)
    )
    path.write_text("ts_ms,price,size,side,id\n" + "\n".join(lines) + "\n", "utf-8")
    return path


def replayed(fleet: Fleet, path: Path, *more: str) -> Done:
    return fleet("replay", str(path), "--symbol", "TEST:X", "--price-decimals", "2", "--size-decimals", "4", *more)


def test_a_symbol_is_added_listed_and_removed(fleet: Fleet) -> None:
    assert fleet("symbols", "list").out == "no symbols yet: fleet symbols add\n"
    assert fleet("symbols", "add", "MY:BTCUSD", "--size-decimals", "3").out == "MY:BTCUSD added\n"
    listed = fleet("symbols", "list").out
    assert re.search(r"MY:BTCUSD.+inbox.+2.+3.+unique", listed)
    assert fleet("symbols", "remove", "MY:BTCUSD").out == "MY:BTCUSD removed\n"
    assert "no symbols yet" in fleet("symbols", "list").out


def test_a_symbol_of_simulated_is_a_simulated_market_without_being_told(fleet: Fleet) -> None:
    """It had an inbox: a market that said it was simulated, and took what anybody pushed."""
    assert fleet("symbols", "add", "SIMULATED:XRPUSD", "MY:X", "--price-decimals", "4", "--price", "0.52").code == 0
    source = fleet.market("SIMULATED:XRPUSD")["source"]
    assert (source["kind"], source["price"], fleet.market("MY:X")["source"]["kind"]) == ("simulator", "0.52", "inbox")
    assert fleet("symbols", "add", "SIMULATED:BTCUSD", "--stream", "mine").code == 0
    assert fleet.market("SIMULATED:BTCUSD")["source"]["kind"] == "inbox"


def test_a_stream_of_another_collector_is_read_and_not_cut(fleet: Fleet) -> None:
    assert fleet("symbols", "add", "COINBASE:BTC-USD", "--stream", "trades-COINBASE-BTC-USD", "--contiguous").code == 0
    with redis.Redis.from_url(fleet.url) as client:
        market = orjson.loads(client.hget("symbols", "COINBASE:BTC-USD"))
    assert market["source"] == {"kind": "inbox", "trim": False, "stream": "trades-COINBASE-BTC-USD"}
    assert market["ids"] == "contiguous"


@pytest.mark.process
def test_a_symbol_of_a_venue_is_as_its_venue_lists_it(local: Fleet, exchange_port: int) -> None:
    added = local("symbols", "add", "LOCAL:BTCUSDT", "LOCAL:ETHUSDT")
    assert (added.code, added.out) == (0, "LOCAL:BTCUSDT added\nLOCAL:ETHUSDT added\n")
    assert local.market("LOCAL:BTCUSDT") == {
        "price_decimals": 2,
        "size_decimals": 8,
        "ids": "contiguous",
        "calendar": "24x7",
        "zone": "UTC",
        "hours": "regular",
        "kind": "crypto",
        "source": {
            "kind": "venue",
            "venue": "LOCAL",
            "name": "BTCUSDT",
            "price_step_ticks": 1,
            "size_step_lots": 1_000,
            "demand": "always",
            "simulated": True,
            "rest_url": f"http://127.0.0.1:{exchange_port}",
            "socket_url": f"ws://127.0.0.1:{exchange_port}",
        },
    }
    assert local.market("LOCAL:ETHUSDT")["source"]["size_step_lots"] == 10_000


@pytest.mark.process
def test_a_symbol_may_be_streamed_on_demand(local: Fleet) -> None:
    assert local("symbols", "add", "LOCAL:BTCUSDT", "--on-demand").code == 0
    assert local.market("LOCAL:BTCUSDT")["source"]["demand"] == "on_demand"


def test_a_symbol_of_a_venue_may_have_an_inbox(fleet: Fleet) -> None:
    assert fleet("symbols", "add", "BINANCE:BTCUSDT", "--source", "inbox", "--price-decimals", "3").code == 0
    assert fleet.market("BINANCE:BTCUSDT")["source"] == {"kind": "inbox", "trim": True}
    assert fleet.market("BINANCE:BTCUSDT")["price_decimals"] == 3


def test_a_symbol_has_the_calendar_zone_and_hours_it_was_added_with(fleet: Fleet) -> None:
    assert fleet("symbols", "add", "NASDAQ:GOOG", "--calendar", "XNAS", "--hours", "extended").code == 0
    assert fleet("symbols", "add", "MY:BTC", "--zone", "Europe/Berlin").code == 0
    market = fleet.market("NASDAQ:GOOG")
    assert (market["calendar"], market["zone"], market["hours"]) == ("XNAS", "UTC", "extended")
    listed = fleet("symbols", "list").out
    assert "XNAS extended" in listed and "24x7 Europe/Berlin" in listed
    refused = fleet("symbols", "add", "NYSE:BAC", "--calendar", "XNYC")
    assert refused.code != 0 and "calendar 'XNYC' is not known: did you mean XNYS" in refused.err
    assert "NYSE:BAC" not in fleet.symbols()


def test_a_symbol_has_the_kind_it_was_added_with_and_may_be_given_another(fleet: Fleet) -> None:
    assert fleet("symbols", "add", "NSE:NIFTY50", "NSE:INFY", "--calendar", "XNSE", "--kind", "index").code == 0
    assert fleet("symbols", "add", "MY:X").code == 0
    changed = fleet("symbols", "change", "NSE:INFY", "--kind", "equity")
    assert (changed.code, changed.out) == (0, "NSE:INFY: kind index -> equity\n")
    assert [fleet.market(f"NSE:{name}")["kind"] for name in ("NIFTY50", "INFY")] == ["index", "equity"]
    assert re.findall(r"^(\S+) +(\S+) ", fleet("symbols", "list").out, re.MULTILINE)[1:] == [
        ("MY:X", "other"),
        ("NSE:INFY", "equity"),
        ("NSE:NIFTY50", "index"),
    ]
    refused = fleet("symbols", "add", "MY:Y", "--kind", "bond")
    assert refused.code == 2 and "'bond'" in refused.err and "equity" in refused.err


@pytest.mark.process
def test_of_several_symbols_all_are_added_or_none(local: Fleet) -> None:
    refused = local("symbols", "add", "LOCAL:BTCUSDT", "MY:BTCUSD", "LOCAL:NOPEUSDT")
    assert refused.code == 2
    assert refused.err.startswith("fleet: symbol LOCAL:NOPEUSDT is refused by LOCAL: exchangeInfo answered 400")
    assert refused.err.count("\n") == 1
    assert local.symbols() == set()
    assert local("symbols", "add", "LOCAL:BTCUSDT").code == 0
    again = local("symbols", "add", "MY:BTCUSD", "LOCAL:BTCUSDT")
    assert (again.code, again.err) == (2, "fleet: symbol LOCAL:BTCUSDT is there already: fleet symbols list\n")
    assert local.symbols() == {"LOCAL:BTCUSDT"}


@pytest.mark.parametrize("symbol", ["BINANCE:BTCUSDT", "BINANCE_USDM:BTCUSDT", "COINBASE:BTC-USD", "KRAKEN:XBT-USD"])
def test_a_venue_out_of_reach_is_one_sentence_and_exit_code_1(fleet: Fleet, symbol: str) -> None:
    result = fleet("symbols", "add", symbol)
    venue = symbol.partition(":")[0]
    assert result.code == 1
    assert result.err.startswith(f"fleet: symbol {symbol} can't be added, for {venue} is out of reach: ")
    assert result.err.count("\n") == 1
    assert fleet.symbols() == set()


def test_without_a_local_exchange_its_symbols_can_not_be_added(fleet: Fleet) -> None:
    result = fleet("symbols", "add", "LOCAL:BTCUSDT")
    sentence = f"no local exchange belongs to {fleet.data}: fleet up --venue local starts one"
    assert (result.code, result.err) == (1, f"fleet: {sentence}\n")


@pytest.mark.process
def test_what_is_replayed_or_imported_and_done_wants_no_worker(fleet: Fleet, tmp_path: Path) -> None:
    assert replayed(fleet, recording(tmp_path / "t.csv", 100)).code == 0
    shown = fleet("doctor").out
    assert "OK    leases       0 of 0 symbols have a live worker; 1 need none" in shown
    assert "OK    leftovers    none" in shown


@pytest.mark.process
@pytest.mark.parametrize("command", [("replay",), ("import", "trades"), ("import", "candles")])
def test_what_fails_before_it_has_written_anything_leaves_no_symbol(
    fleet: Fleet, tmp_path: Path, command: tuple[str, ...]
) -> None:
    bad = tmp_path / "bad.csv"
    header = "t,o,h,l,c,volume" if "candles" in command else "ts_ms,price,size,side,id"
    bad.write_text(f"{header}\n1700000000000,?,0.5,buy,1,1\n", "utf-8")
    result = fleet(*command, str(bad), "--symbol", "TEST:X", "--price-decimals", "2", "--size-decimals", "4")
    assert result.code != 0 and "bad.csv" in result.err
    with redis.Redis.from_url(fleet.url) as client:
        assert (client.keys("{TEST:X}*"), client.hkeys("symbols")) == ([], [])


@pytest.mark.process
def test_what_fails_later_keeps_the_symbol_and_what_was_written(fleet: Fleet, tmp_path: Path) -> None:
    assert replayed(fleet, recording(tmp_path / "t.csv", 100)).code == 0
    bad = tmp_path / "bad.csv"
    bad.write_text("ts_ms,price,size,side,id\n1700000000000,?,0.5,buy,1\n", "utf-8")
    assert replayed(fleet, bad, "--ids", "contiguous").code != 0
    assert "TEST:X" in fleet("symbols", "list").out


def test_doctor_names_what_a_killed_import_left(fleet: Fleet) -> None:
    market = Market(Instrument("TEST:X", 2, 4, "contiguous"), {"kind": "replay"})

    async def add() -> None:
        async with open_store(fleet.url) as registry:
            await registry.add_symbol(market)

    asyncio.run(add())
    assert "fleet symbols remove TEST:X --purge" in fleet("doctor").out


@pytest.mark.process
def test_removing_with_purge_deletes_the_data(fleet: Fleet, tmp_path: Path) -> None:
    assert replayed(fleet, recording(tmp_path / "t.csv", 100)).code == 0
    assert fleet("symbols", "remove", "TEST:X", "--purge").out == "TEST:X removed with its data\n"
    with redis.Redis.from_url(fleet.url) as client:
        assert client.keys("{TEST:X}*") == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("add", "my:btc"), "symbol 'my:btc' is not 1 to 32 characters of A-Z, 0-9 and :_.-"),
        (("add", "X", "--source", "simulator"), "symbol 'X' of a simulated market must begin with SIMULATED:"),
        (("add", "SIMULATED:X", "--source", "simulator", "--price", "x"), "'x' is not a decimal number"),
        (("add", "SIMULATED:X", "--source", "simulator", "--price", "0"), "--price is '0', expected a price above 0"),
        (
            ("add", "MY:X", "--source", "venue"),
            "symbol 'MY:X' is of no venue, expected VENUE:NAME with one of " + ", ".join(VENUES),
        ),
        (
            ("add", "BINANCE:BTCUSDT", "--price-decimals", "2"),
            "--price-decimals does not go with BINANCE:BTCUSDT of a venue: leave it out, or give --source inbox",
        ),
        (("add", "X", "--on-demand"), "--on-demand does not go with X, which is not streamed from a venue"),
        (("add", "BINANCE:btcusdt"), "symbol 'BINANCE:btcusdt' is not 1 to 32 characters of A-Z, 0-9 and :_.-"),
        (("remove", "X"), "symbol X is not there: fleet symbols list"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_exit_code_2(
    fleet: Fleet, arguments: tuple[str, ...], sentence: str
) -> None:
    result = fleet("symbols", *arguments)
    assert (result.code, result.err) == (2, f"fleet: {sentence}\n")


def test_a_symbol_cannot_be_added_twice(fleet: Fleet) -> None:
    assert fleet("symbols", "add", "X").code == 0
    assert fleet("symbols", "add", "X").err == "fleet: symbol X is there already: fleet symbols list\n"


@pytest.mark.process
def test_a_replay_says_what_it_did_and_a_second_one_that_there_was_nothing_new(fleet: Fleet, tmp_path: Path) -> None:
    path = recording(tmp_path / "t.csv", 1_000)
    first = replayed(fleet, path)
    assert (first.code, first.out) == (
        0,
        "TEST:X: 1,000 trades applied in 1 commits, 16 minutes closed, 0 amended (contiguous ids)\n",
    )
    second = replayed(fleet, path)
    assert second.code == 0 and "nothing was new: this recording has been applied before" in second.out


@pytest.mark.process
def test_a_replay_into_a_folder_starts_a_store_and_leaves_the_data(tmp_path: Path) -> None:
    path = recording(tmp_path / "t.csv", 200)
    environ = {name: value for name, value in os.environ.items() if name != "REDIS_URL"}
    command = [sys.executable, "-m", "infra.cli", "replay", str(path), "--data", str(tmp_path / "data")]
    command += ["--symbol", "TEST:X", "--price-decimals", "2", "--size-decimals", "4"]
    first, second = (subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True) for _ in range(2))
    assert first.returncode == 0 and "200 trades applied" in first.stdout
    assert second.returncode == 0 and "nothing was new" in second.stdout


@pytest.mark.process
def test_ids_with_many_holes_are_taken_as_unique(fleet: Fleet, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("ts_ms,price,size,side,id\n" + "".join(f"{i},1,1,buy,{i * 3}\n" for i in range(50)), "utf-8")
    assert "(unique ids)" in replayed(fleet, path).out


@pytest.mark.process
def test_a_bad_line_is_named_and_counted_with_skip_bad(fleet: Fleet, tmp_path: Path) -> None:
    path = recording(tmp_path / "t.csv", 10)
    with path.open("a", encoding="utf-8") as file:
        file.write("1700000100000,1.005,1,buy,10\n")
    result = replayed(fleet, path)
    expected = "number '1.005' has more than 2 decimals, expected a number of at most 2 decimals"
    way_out = "--price-decimals 3 has room for it, and TEST:X was not added"
    assert (result.code, result.err) == (2, f"fleet: {path} line 12: price: {expected}; {way_out}\n")
    assert fleet.symbols() == set()
    skipped = replayed(fleet, path, "--skip-bad")
    assert skipped.code == 0 and "refused so far: 1 bad_line" in skipped.out
    # Of a symbol that is there, it may be changed or go; decimals that it has not are told, and not as Python has them.
    again = fleet("import", "trades", str(path), "--symbol", "TEST:X", "--ids", "contiguous")
    ways_out = (
        "`fleet symbols change TEST:X --price-decimals 3` makes room for it, "
        "`fleet symbols remove TEST:X --purge` deletes the symbol with its data"
    )
    assert again.code == 2 and again.err.endswith(
        f"price '1.005', {expected.partition(', ')[2]}, not below 0; {ways_out}\n"
    )
    other = fleet("import", "trades", str(path), "--symbol", "TEST:X", "--price-decimals", "5")
    assert other.err == (
        "fleet: symbol TEST:X exists with price_decimals 2, not 5: give --price-decimals 2, or `fleet symbols change "
        "TEST:X --price-decimals 5` changes it, or `fleet symbols remove TEST:X --purge` deletes it with its data\n"
    )


@pytest.mark.process
@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--speed", "fast"), "--speed is 'fast', expected max or a number above 0 such as 1 or 10"),
        (("--speed", "0"), "--speed is '0', expected max or a number above 0 such as 1 or 10"),
    ],
)
def test_a_speed_that_is_none_is_refused(fleet: Fleet, tmp_path: Path, more: tuple[str, ...], sentence: str) -> None:
    result = replayed(fleet, recording(tmp_path / "t.csv", 5), *more)
    assert (result.code, result.err) == (2, f"fleet: {sentence}\n")


@pytest.mark.process
def test_ctrl_c_stops_a_replay_where_it_can_go_on(fleet: Fleet, tmp_path: Path) -> None:
    path = recording(tmp_path / "t.csv", 2_000, step_ms=50)
    arguments = ("replay", str(path), "--symbol", "TEST:X", "--price-decimals", "2", "--size-decimals", "4")
    child = fleet.start(*arguments, "--speed", "10")
    with redis.Redis.from_url(fleet.url) as client:
        wait_until(lambda: int(client.hget("{TEST:X}:state", "seq") or 0) > 2, timeout_s=20)
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=10)
    assert child.returncode == 1 and "stopped before the end: run the same command again to go on" in out
    rest = fleet(*arguments)
    assert rest.code == 0
    applied = sum(int(re.findall(r"([\d,]+) trades applied", text)[0].replace(",", "")) for text in (out, rest.out))
    assert applied == 2_000
