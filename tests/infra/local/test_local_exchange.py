"""Where the local exchange of a data folder is, and how it is run."""

import shlex
import socket
from pathlib import Path

import pytest

from common.errors import BadInput, OperatorError
from infra.local import local_exchange
from infra.local.local_exchange import HOST, LocalExchange


def test_a_port_once_chosen_stays(tmp_path: Path) -> None:
    assert local_exchange.found(tmp_path) is None
    exchange = local_exchange.placed(tmp_path)
    assert local_exchange.placed(tmp_path) == local_exchange.found(tmp_path) == exchange
    assert exchange.rest_url == f"http://127.0.0.1:{exchange.port}"
    assert exchange.socket_url == f"ws://127.0.0.1:{exchange.port}"


def test_a_second_folder_gets_another_port_where_the_usual_one_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(local_exchange, "USUAL_PORT", port)
        assert local_exchange.placed(tmp_path).port != port


@pytest.mark.parametrize("text", ["", "x", "0", "65536", "-1", "8790 8791"])
def test_a_spoilt_port_is_named(tmp_path: Path, text: str) -> None:
    exchange = local_exchange.placed(tmp_path)
    (exchange.folder / "port").write_text(text)
    with pytest.raises(OperatorError, match="expected the port of the local exchange"):
        local_exchange.found(tmp_path)


def test_the_command_survives_a_shell(tmp_path: Path) -> None:
    exchange = LocalExchange(tmp_path / "a folder's" / "exchange", 8790)
    words = shlex.split(exchange.command(["BTCUSDT", "ETHUSDT"]))
    assert words[:3] == ["python", "-m", "infra.exchange"]
    assert words[words.index("--symbols") + 1] == "BTCUSDT,ETHUSDT"
    assert words[words.index("--journal") + 1] == str(exchange.folder / "journal")


def test_what_it_cannot_trade_is_said_before_it_runs(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="symbol 'X' is not a base and a quote"):
        LocalExchange(tmp_path, 8790).command(["X"])


async def test_one_that_does_not_come_up_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_exchange, "START_TIMEOUT_S", 0.1)
    with pytest.raises(OperatorError, match="the local exchange did not come up at http://127.0.0.1:1 within"):
        await LocalExchange(tmp_path, 1).wait()


async def test_one_that_listens_is_up(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as server:
        await LocalExchange(tmp_path, server.getsockname()[1]).wait()
