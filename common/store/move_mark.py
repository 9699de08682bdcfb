"""The mark of a store that another is being moved to: until it is whole, nothing else works on it.

{}:moving    hash    from (for people), mover (a token of the process that moves)

Every write of a move is made only while the mark names its own token. So one that was thought dead, and goes on, can't
write to a store that another move has completed.
"""

from collections.abc import Iterable
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import WatchError

from common.errors import BadInput, OperatorError
from common.store.bulk import Command
from common.store.client import translated
from common.store.keys import MOVING
from common.store.lease import new_token

_OVERTAKEN = "another fleet move has taken over, or the target was cleared: run it again once no other runs"


async def refuse_half_moved(client: Redis) -> None:
    """Raise OperatorError if the store is the target of a move that has not ended."""
    with translated("look for the mark of a move"):
        source: Any = await client.hget(MOVING, "from")
    if source is not None:
        where = source.decode()
        raise OperatorError(f"the store is half moved from {where}: run the same fleet move again, it goes on")


async def take(target: Redis, source: str) -> tuple[str, bool]:
    """Mark an empty store, or take over a move that has not ended; return our token, and whether it was one.

    Raises BadInput where there is something else.
    """
    token = new_token()
    with translated("mark of a move"):
        async with target.pipeline(transaction=True) as pipe:
            await pipe.watch(MOVING)
            begun: Any = await pipe.hget(MOVING, "from")
            if begun is None and (keys := await pipe.dbsize()):
                raise BadInput(f"the target has {keys:,} keys, expected an empty store")
            if begun is not None and begun.decode() != source:
                raise BadInput(f"the target is half moved from {begun.decode()}, and this would be from {source}")
            pipe.multi()  # type: ignore[no-untyped-call]
            pipe.hset(MOVING, mapping={"from": source, "mover": token})
            await _execute(pipe)
    return token, begun is not None


async def write(target: Redis, token: str, commands: Iterable[Command]) -> None:
    """All of the commands, if the move is ours; else OperatorError, and none."""
    with translated("write of a move"):
        async with target.pipeline(transaction=True) as pipe:
            await pipe.watch(MOVING)
            mover: Any = await pipe.hget(MOVING, "mover")
            if mover is None or mover.decode() != token:
                raise OperatorError(_OVERTAKEN)
            pipe.multi()  # type: ignore[no-untyped-call]
            for command in commands:
                pipe.execute_command(*command)
            await _execute(pipe)


async def drop(target: Redis, token: str) -> None:
    """The store is whole."""
    await write(target, token, [("DEL", MOVING)])


async def _execute(pipe: Any) -> None:
    try:
        await pipe.execute()
    except WatchError:
        raise OperatorError(_OVERTAKEN) from None
