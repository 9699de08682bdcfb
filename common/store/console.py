"""Commands of Redis as a person types them, and the answers as the server gives them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import redis

from common.errors import BadInput, StoreUnavailable

SUBSCRIBES = frozenset(("SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE"))

# Yields the answer of a command and its arguments; of a subscription, what is heard, without end. Raises BadInput where
# the server refuses it, StoreUnavailable where it does not answer.
Console = Callable[[Sequence[str]], Iterator[Any]]


@contextmanager
def console(url: str) -> Iterator[Console]:
    with redis.Redis.from_url(url, protocol=2) as client:
        # As the server says it, not as Python would like it.
        client.response_callbacks.clear()

        def answered(words: Sequence[str]) -> Iterator[Any]:
            try:
                yield from _answers(client, words)
            except redis.ResponseError as error:
                raise BadInput(str(error)) from None
            except redis.RedisError as error:
                raise StoreUnavailable(f"the store does not answer: {error}") from None

        yield answered


def _answers(client: Any, words: Sequence[str]) -> Iterator[Any]:
    if words[0].upper() not in SUBSCRIBES:
        yield client.execute_command(*words)
        return
    with client.pubsub(ignore_subscribe_messages=True) as channel:
        getattr(channel, words[0].lower())(*words[1:])
        for heard in channel.listen():
            yield heard["data"]
