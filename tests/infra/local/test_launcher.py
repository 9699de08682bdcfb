"""`fleet up` as a process of its own, with a Procfile of tiny processes and the real store."""

import asyncio
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
import redis

from common.errors import OperatorError
from common.market.instrument import Instrument
from common.settings import Settings
from common.store.registry import Market, open_store
from infra.local import embedded, launcher
from infra.paths import ROOT
from tests.kit.processes.launched import fleet, port, project, ready_line, said_before, stop
from tests.kit.waiting import wait_until

pytestmark = pytest.mark.process

__all__ = ["port", "project"]


def source(url: str, symbol: str) -> Any:
    with redis.Redis.from_url(url) as client:
        return orjson.loads(client.hget("symbols", symbol))["source"]


async def add(url: str, symbol: str) -> None:
    async with open_store(url) as registry:
        await registry.add_symbol(Market(Instrument(symbol, 2, 2), {"kind": "inbox"}))


def exchange_time_ms(rest_url: str) -> int:
    return int(httpx2.get(f"{rest_url}/api/v3/time").json()["serverTime"])


def children(pid: int) -> list[int]:
    """All processes below it."""
    found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [each for child in found for each in (child, *children(child))]


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


def count(url: str, key: str) -> int:
    with redis.Redis.from_url(url) as client:
        return int(client.get(key) or 0)


def test_up_runs_everything_and_ctrl_c_stops_it_in_order_with_nothing_lost(project: Path, port: int) -> None:
    arguments = ("up", "--port", str(port), "--data", str(project / "data"))
    with fleet(project, *arguments) as process:
        assert ready_line(process) == (
            f"Fleet ready: http://127.0.0.1:{port}"
            "  symbols: SIMULATED:BTCUSD, SIMULATED:ETHUSD, SIMULATED:SOLUSD"
            f"  data: {project}/data"
        )
        url = embedded.locate(project / "data")
        assert url
        wait_until(lambda: count(url, "started") == 3)
        asked_s = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=5) == 0
        assert time.monotonic() - asked_s < 5
        assert embedded.locate(project / "data") is None

    # The store went last: the workers' last words are in it, and the next run goes on from there.
    with fleet(project, *arguments) as process:
        ready_line(process)
        wait_until(lambda: count(url, "started") == 6)
        assert count(url, "stopped") == 3
        process.terminate()
        assert process.wait(timeout=5) == 0


def test_a_store_that_dies_is_started_again(project: Path, port: int) -> None:
    with fleet(project, "up", "--port", str(port), "--data", str(project / "data")) as process:
        ready_line(process)
        url = embedded.locate(project / "data")
        assert url
        with redis.Redis.from_url(url) as client:
            client.set("kept", 1)
            os.kill(int(client.info("server")["process_id"]), signal.SIGKILL)
        wait_until(lambda: embedded.locate(project / "data"))
        assert count(url, "kept") == 1
        process.terminate()
        assert process.wait(timeout=5) == 0


def test_a_first_run_makes_a_past_and_the_next_one_none(project: Path, port: int) -> None:
    arguments = ("up", "--port", str(port), "--data", str(project / "data"), "--symbols", "XRPUSD")
    environ = {"FLEET_SIMULATED_DAYS": "1", "PYTHONPATH": str(ROOT)}
    for is_first in (True, False):
        with fleet(project, *arguments, **environ) as process:
            said = said_before(process, "Fleet ready")
            assert any("SIMULATED:XRPUSD: " in line and "trades of 2 days" in line for line in said) == is_first
            url = embedded.locate(project / "data")
            assert url and source(url, "SIMULATED:XRPUSD")["kind"] == "simulator"
            process.terminate()
            assert process.wait(timeout=5) == 0


def test_redis_url_is_used_instead_of_a_store_of_our_own(project: Path, port: int, redis_url: str) -> None:
    arguments = ("up", "--port", str(port), "--data", str(project / "data"), "--symbols", "XRPUSD")
    with fleet(project, *arguments, REDIS_URL=redis_url) as process:
        line = ready_line(process)
        assert "symbols: SIMULATED:XRPUSD " in line
        assert redis_url in line
        assert embedded.locate(project / "data") is None
        process.terminate()
        assert process.wait(timeout=5) == 0
    with redis.Redis.from_url(redis_url) as client:
        assert client.ping()


def test_a_symbol_added_while_running_gets_a_worker(project: Path, port: int, redis_url: str) -> None:
    arguments = ("up", "--port", str(port), "--data", str(project / "data"), "--symbols", "none")
    with fleet(project, *arguments, REDIS_URL=redis_url) as process:
        assert "no symbols yet" in ready_line(process)
        assert count(redis_url, "started") == 0
        asyncio.run(add(redis_url, "X"))
        wait_until(lambda: count(redis_url, "started") == 1)
        process.terminate()
        assert process.wait(timeout=5) == 0


def test_a_local_exchange_is_run_and_the_next_run_goes_on_with_it(project: Path, port: int, redis_url: str) -> None:
    arguments = ("--port", str(port), "--data", str(project / "data"))
    environ = {"REDIS_URL": redis_url, "PYTHONPATH": str(ROOT)}
    with fleet(project, "up", *arguments, "--venue", "local", "btcusdt", "--symbols", "XRPUSD", **environ) as process:
        lines = said_before(process, "Fleet ready")
        assert "symbols: LOCAL:BTCUSDT, SIMULATED:XRPUSD " in lines[-1]
        first = source(redis_url, "LOCAL:BTCUSDT")
        assert lines[0] == f"LOCAL: a simulated exchange at {first['rest_url']}"
        assert f"exchange.1 | rest {first['rest_url']}" in lines
        told = httpx2.get(f"{first['rest_url']}/api/v3/trades?symbol=BTCUSDT&limit=5").json()
        before_ms = time.time() * 1_000
        # A busy exchange is behind by what it had to wait.
        assert before_ms - 1_000 < exchange_time_ms(first["rest_url"]) <= time.time() * 1_000
        wait_until(lambda: count(redis_url, "started") == 2)
        stop(process)
    with pytest.raises(httpx2.ConnectError):
        exchange_time_ms(first["rest_url"])

    # Named again or not, it is run for the symbols that are there; a new one is traded beside them.
    with fleet(project, "up", *arguments, "--venue", "local", "ETHUSDT", **environ) as process:
        assert "symbols: LOCAL:BTCUSDT, LOCAL:ETHUSDT, SIMULATED:XRPUSD " in said_before(process, "Fleet ready")[-1]
        assert source(redis_url, "LOCAL:ETHUSDT")["rest_url"] == first["rest_url"]
        stop(process)
    with fleet(project, "up", *arguments, **environ) as process:
        said_before(process, "exchange.1 | token")
        asked = f"{first['rest_url']}/api/v3/historicalTrades?symbol=BTCUSDT&limit=5&fromId={told[0]['id']}"
        assert httpx2.get(asked).json() == told
        stop(process)


def test_a_local_exchange_that_is_killed_is_started_again(project: Path, port: int, redis_url: str) -> None:
    arguments = ("--port", str(port), "--data", str(project / "data"), "--venue", "local", "BTCUSDT")
    with fleet(project, "up", *arguments, REDIS_URL=redis_url, PYTHONPATH=str(ROOT)) as process:
        said_before(process, "Fleet ready")
        (pid,) = [pid for pid in children(process.pid) if "infra.exchange" in command_line(pid)]
        os.kill(pid, signal.SIGKILL)
        said_before(process, "exchange.1 ended by SIGKILL; starting again")
        said_before(process, "exchange.1 | token")
        exchange_time_ms(source(redis_url, "LOCAL:BTCUSDT")["rest_url"])
        stop(process)


def test_a_taken_port_of_the_local_exchange_is_one_sentence(project: Path, port: int, redis_url: str) -> None:
    folder = project / "data" / "exchange"
    folder.mkdir(parents=True)
    arguments = ("--port", str(port), "--data", str(project / "data"), "--venue", "local")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        (folder / "port").write_text(str(number))
        with fleet(project, "up", *arguments, REDIS_URL=redis_url) as process:
            said, _ = process.communicate(timeout=10)
    assert process.returncode == 1
    assert said == (
        f"fleet: port {number} on 127.0.0.1 is taken: stop what listens there,"
        f" or move the local exchange by removing {folder} and its symbols\n"
    )


def test_what_the_local_exchange_cannot_trade_is_one_sentence(project: Path, port: int, redis_url: str) -> None:
    arguments = ("--port", str(port), "--data", str(project / "data"), "--venue", "local", "NOPE")
    with fleet(project, "up", *arguments, REDIS_URL=redis_url) as process:
        said, _ = process.communicate(timeout=10)
    assert process.returncode == 2
    assert said.startswith("fleet: symbol 'NOPE' is not a base and a quote of ") and said.count("\n") == 1


def test_a_venue_out_of_reach_stops_the_start_only_for_a_new_symbol(project: Path, port: int, redis_url: str) -> None:
    arguments = ("--port", str(port), "--data", str(project / "data"), "--venue", "binance", "BTCUSDT")
    environ = {"REDIS_URL": redis_url, "HTTPS_PROXY": "http://127.0.0.1:1"}
    with fleet(project, "up", *arguments, **environ) as process:
        said, _ = process.communicate(timeout=20)
    assert process.returncode == 1
    assert said.startswith("fleet: symbol BINANCE:BTCUSDT can't be added, for BINANCE is out of reach: ")
    assert said.count("\n") == 1
    with redis.Redis.from_url(redis_url) as client:
        assert client.hkeys("symbols") == []
        entry = {"kind": "venue", "venue": "BINANCE", "name": "BTCUSDT"}
        market = {"price_decimals": 2, "size_decimals": 8, "ids": "contiguous", "source": entry}
        client.hset("symbols", "BINANCE:BTCUSDT", orjson.dumps(market))
    with fleet(project, "up", *arguments, **environ) as process:
        assert "symbols: BINANCE:BTCUSDT " in ready_line(process)
        stop(process)


def test_a_taken_port_is_one_sentence_before_anything_starts(project: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with fleet(project, "up", "--port", port, "--data", str(project / "data")) as process:
            said, _ = process.communicate(timeout=10)
    assert process.returncode == 1
    assert said == (
        f"fleet: port {port} on 127.0.0.1 is taken: stop what listens there, or choose another with --port\n"
    )
    assert not (project / "data").exists()


def test_a_host_of_another_machine_is_refused() -> None:
    # 192.0.2.0/24 is reserved for documentation: no machine has it.
    with pytest.raises(OperatorError, match="can't listen on 192.0.2.1 port 8700"):
        launcher.check_port_free("192.0.2.1", 8700)


def test_children_get_their_settings_and_our_python_first() -> None:
    settings = Settings(port=9000, data_dir=Path("data"))
    environ = launcher.child_environ(settings, "unix:///s", text_logs=True)
    assert environ["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    wanted = {"REDIS_URL": "unix:///s", "PORT": "9000", "FLEET_DATA_DIR": str(ROOT / "data")}
    assert wanted.items() <= environ.items()
    assert environ["FLEET_LOG_FORMAT"] == "text"


def test_a_chosen_log_format_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_LOG_FORMAT", "json")
    environ = launcher.child_environ(Settings(), "unix:///s", text_logs=True)
    assert environ["FLEET_LOG_FORMAT"] == "json"
