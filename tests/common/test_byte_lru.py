"""What is cached stays within its bytes, and the least recently used goes first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.byte_lru import ByteLru


def cache(max_bytes: int, min_count: int = 0) -> ByteLru[str, bytes]:
    return ByteLru(max_bytes, len, min_count=min_count)


def test_the_least_recently_used_goes_first() -> None:
    found = cache(3)
    for key in "abc":
        found.put(key, key.encode())
    assert found.get("a") == b"a"
    assert found.put("d", b"d") == [b"b"]
    assert [key for key in "abcd" if key in found] == ["a", "c", "d"]
    assert found.get("b") is None


def test_to_look_whether_a_key_is_there_is_no_use() -> None:
    found = cache(2)
    found.put("a", b"a")
    found.put("b", b"b")
    assert "a" in found
    assert found.put("c", b"c") == [b"a"]


def test_a_value_takes_the_place_of_the_one_before() -> None:
    found = cache(4)
    found.put("a", b"aaa")
    assert found.put("a", b"bb") == []
    assert (found.get("a"), found.bytes) == (b"bb", 2)


@pytest.mark.parametrize(("min_count", "left"), [(0, []), (1, ["b"])])
def test_what_is_larger_than_the_whole_cache_stays_only_where_one_has_to(min_count: int, left: list[str]) -> None:
    found = cache(2, min_count)
    found.put("a", b"a")
    found.put("b", b"bbb")
    assert [key for key in "ab" if key in found] == left
    assert found.bytes == 3 * len(left)


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.binary(max_size=5))), st.integers(0, 12), st.integers(0, 2))
def test_the_bytes_are_those_of_the_values_and_within_the_bound(
    puts: list[tuple[str, bytes]], max_bytes: int, min_count: int
) -> None:
    found, there = cache(max_bytes, min_count), dict[str, bytes]()
    for key, value in puts:
        there.pop(key, None)
        there[key] = value
        gone = found.put(key, value)
        assert gone == list(there.values())[: len(gone)]
        there = dict(list(there.items())[len(gone) :])
        assert found.bytes == sum(map(len, there.values()))
        assert found.bytes <= max_bytes or len(there) <= min_count
