"""A cache bounded by the bytes that its values take: the least recently used go first."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ByteLru(Generic[K, V]):
    """`size_of`: the bytes of a value, asked once, when it is put. `min_count`: so many stay, whatever they take."""

    def __init__(self, max_bytes: int, size_of: Callable[[V], int], *, min_count: int = 0) -> None:
        self._max_bytes, self._size_of, self._min_count = max_bytes, size_of, min_count
        # Value and size, the least recently used first.
        self._found: OrderedDict[K, tuple[V, int]] = OrderedDict()
        # Of all values.
        self.bytes = 0

    def __contains__(self, key: K) -> bool:
        """Not a use."""
        return key in self._found

    def get(self, key: K) -> V | None:
        found = self._found.get(key)
        if found is None:
            return None
        self._found.move_to_end(key)
        return found[0]

    def put(self, key: K, value: V) -> list[V]:
        """Put the value in the place of the key's. Return those that had to go for it, it may be one of them."""
        if key in self._found:
            self.bytes -= self._found.pop(key)[1]
        size = self._size_of(value)
        self._found[key] = value, size
        self.bytes += size
        gone = []
        while self.bytes > self._max_bytes and len(self._found) > self._min_count:
            _, (oldest, size) = self._found.popitem(last=False)
            self.bytes -= size
            gone.append(oldest)
        return gone
