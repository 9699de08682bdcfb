"""`fleet push` and `fleet store`: trades by hand, and the store by hand."""

import os
import subprocess
from pathlib import Path

import pytest
import redis

from tests.kit.processes.command import Done, Fleet

pytestmark = pytest.mark.process

SYMBOL, STREAM = "MY:BTCUSD", "{MY:BTCUSD}:inbox"


@pytest.fixture
def inbox(fleet: Fleet) -> Fleet:
    assert fleet("symbols", "add", SYMBOL, "--price-decimals", "2", "--size-decimals", "8").code == 0
    return fleet


def entries(fleet: Fleet) -> list[dict[str, str]]:
    with redis.Redis.from_url(fleet.url, decode_responses=True) as client:
        return [fields for _, fields in client.xrange(STREAM)]


def piped(fleet: Fleet, text: str, *arguments: str) -> Done:
    run = fleet.command(*arguments)
    done = subprocess.run(run, input=text, env=fleet.environ, capture_output=True, text=True, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


def test_a_trade_is_pushed_as_the_inbox_wants_it(inbox: Fleet) -> None:
    done = inbox("push", SYMBOL, "64000.5", "0.25", "--side", "buy", "--id", "17", "--ts-ms", "1736690400123")
    assert (done.code, done.out) == (0, "1 trade pushed to MY:BTCUSD\n")
    assert entries(inbox) == [{"ts_ms": "1736690400123", "price": "64000.5", "size": "0.25", "side": "buy", "id": "17"}]


def test_trades_of_standard_input_up_to_one_that_cannot_be_right(inbox: Fleet) -> None:
    lines = [
        '{"price": "1", "size": "1"}',
        "",
        '{"price": 2, "size": "2", "side": "sell", "ts_ms": 5}',
        '{"price": "x"}',
    ]
    done = piped(inbox, "\n".join(lines), "push", SYMBOL)
    assert (done.code, done.out) == (2, "") and "price: 'x' is not a decimal number" in done.err
    assert [entry["price"] for entry in entries(inbox)] == ["1", "2"]
    done = piped(inbox, '{"price": "1", "size": "1"}\n' * 1_200, "push", SYMBOL)
    assert (done.code, done.out) == (0, "1,200 trades pushed to MY:BTCUSD\n")
    assert len(entries(inbox)) == 1_202


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((SYMBOL, "64000.555", "1"), "price: number '64000.555' has more than 2 decimals"),
        ((SYMBOL, "0", "1"), "price is 0, expected a number above 0"),
        ((SYMBOL, "64000"), "a price (64000) without a size"),
        (("MY:OTHER", "1", "1"), "symbol MY:OTHER is not there: fleet symbols add MY:OTHER"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_pushed(inbox: Fleet, arguments: tuple[str, ...], sentence: str) -> None:
    done = inbox("push", *arguments)
    assert (done.code, done.out) == (2, "") and sentence in done.err
    assert entries(inbox) == []


def test_a_symbol_with_another_source_takes_none(fleet: Fleet) -> None:
    assert fleet("symbols", "add", "SIMULATED:X", "--price-decimals", "2", "--size-decimals", "2").code == 0
    assert (
        "takes no pushes, its trades come from another source: simulator" in fleet("push", "SIMULATED:X", "1", "1").err
    )


def test_any_command_of_the_store_without_another_client(inbox: Fleet, tmp_path: Path) -> None:
    assert inbox("store", "url").out == f"{inbox.url}\n"
    assert inbox("store", "cli", "HKEYS", "symbols").out == f'1) "{SYMBOL}"\n'
    assert inbox("store", "cli", "EXISTS", "nothing").out == "(integer) 0\n"
    assert inbox("store", "cli", "GET", "nothing").out == "(nil)\n"
    assert inbox("store", "cli", "NONSENSE").out.startswith("(error) unknown command")
    typed = piped(inbox, "SET key 'two words'\nGET key\n", "store", "cli")
    assert typed.out == 'OK\n"two words"\n'


def test_a_channel_is_heard(inbox: Fleet) -> None:
    with inbox.start("store", "cli", "SUBSCRIBE", "channel") as process, redis.Redis.from_url(inbox.url) as client:
        while not client.publish("channel", "heard"):
            os.sched_yield()
        assert process.stdout and process.stdout.readline() == "heard\n"
        process.kill()


def test_the_client_of_the_machine_is_used_where_there_is_one(inbox: Fleet, tmp_path: Path) -> None:
    tool = tmp_path / "redis-cli"
    tool.write_text('#!/bin/sh\necho "$@"\n')
    tool.chmod(0o700)
    environment = {**inbox.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        inbox.command("store", "cli", "PING"), env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"-s {inbox.url.removeprefix('unix://')} PING\n"
