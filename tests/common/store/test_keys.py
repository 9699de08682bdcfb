"""Key names, and that nothing is stored that keys.py does not name."""

from pathlib import Path

from redis.asyncio import Redis

from common.market.instrument import Instrument
from common.store import keys
from common.store.client import commit_client
from common.store.commit import StreamBounds
from common.store.keys import SymbolKeys
from common.store.registry import Market, Registry
from common.store.symbol import SymbolStore
from tests.kit.store.leaks import kept, leaks
from tests.kit.store.steps import claim, step

KEYS = SymbolKeys("BINANCE:BTCUSDT")


def test_all_keys_of_a_symbol_share_its_hash_tag() -> None:
    assert all(key.startswith("{BINANCE:BTCUSDT}:") for key in KEYS.all_keys())


def test_the_table_names_every_key_that_a_purge_deletes() -> None:
    named = {name.replace("{S}", "{BINANCE:BTCUSDT}") for name in kept()}
    assert named == set(KEYS.all_keys())


def test_every_channel_is_in_the_table_s_text() -> None:
    channels = (KEYS.candles, KEYS.events, KEYS.trades, KEYS.commits)
    assert all(channel.replace("{BINANCE:BTCUSDT}", "{S}") in (keys.__doc__ or "") for channel in channels)


def test_scripts_make_no_key_names_of_their_own() -> None:
    """Else a cluster would break after resharding: every key comes in through KEYS."""
    folder = Path(keys.__file__).with_name("scripts")
    for path in folder.glob("*.lua"):
        code = [line.partition("--")[0] for line in path.read_text().splitlines()]
        assert not any("}:" in line for line in code), path.name


async def test_a_symbol_in_use_leaves_only_keys_that_are_named(redis_url: str) -> None:
    client = commit_client(redis_url)
    await everyday(client)
    await client.aclose()
    assert leaks(redis_url) == []


async def everyday(client: Redis) -> None:
    store = SymbolStore(client, KEYS.symbol, StreamBounds(10, 10))
    await Registry(client).add_symbol(Market(instrument(), {"kind": "inbox"}))
    await client.xadd(KEYS.inbox, {"price": "1"})
    await claim(store, "a" * 32)
    await store.commit(step("a" * 32, 0, 1, minutes={0: (b"c", b"f")}, events=[b"x"], health={"mode": "LIVE"}))


def instrument() -> Instrument:
    return Instrument(KEYS.symbol, 2, 3)


async def test_a_leak_is_seen(redis_url: str) -> None:
    client = commit_client(redis_url)
    await client.set("{BINANCE:BTCUSDT}:scratch", 1)
    await client.set("symbols", 1)
    await client.aclose()
    assert leaks(redis_url) == ["symbols (string)", "{BINANCE:BTCUSDT}:scratch (string)"]
