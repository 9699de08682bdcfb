"""A client of the store whose process is killed at its n-th command: before it is sent, or after it has arrived."""

from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection

from common.store.client import commit_client


@dataclass(slots=True)
class Life:
    """`left`: commands until the end. `arrives`: whether the last one still reaches the server."""

    left: int
    arrives: bool
    dead: bool = False


class Killed(ConnectionError):
    """Nothing the process does from now on reaches the server."""


def mortal_client(url: str, life: Life) -> Redis:
    client, other = commit_client(url), commit_client(url)
    base: Any = client.connection_pool.connection_class

    class Mortal(base):  # type: ignore[misc]
        async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
            if life.dead:
                raise Killed("dead")
            life.left -= 1
            life.dead = life.left <= 0
            if not life.dead or life.arrives:
                await super().send_packed_command(command, check_health)
            if life.dead:
                # Whoever is answered twice by the server knows that it has read all that came before.
                await other.ping()
                await other.ping()
                await other.aclose()
                raise Killed("killed")

    client.connection_pool.connection_class = type("MortalConnection", (Mortal,), {})
    assert issubclass(client.connection_pool.connection_class, AbstractConnection)
    return client
