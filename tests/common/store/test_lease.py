"""Claim by observation."""

from hypothesis import given
from hypothesis import strategies as st

from common.store.lease import NOTHING_SEEN, LeaseObservation, Observer, new_token
from tests.kit.strategies import LAW

TTL_MS = 1_000
SEEN = LeaseObservation("a" * 32, "7")


def test_nothing_is_stale_that_was_not_seen() -> None:
    assert Observer(TTL_MS).stale("A", 10**9) == NOTHING_SEEN


def test_a_holder_is_stale_once_it_has_stood_still_for_a_whole_lease() -> None:
    observer = Observer(TTL_MS)
    for now_ms in (0, 400, 999):
        observer.note("A", SEEN, now_ms)
        assert observer.stale("A", now_ms) == NOTHING_SEEN
    assert observer.stale("A", 1_000) == SEEN


def test_every_sign_of_life_starts_the_wait_anew() -> None:
    observer = Observer(TTL_MS)
    observer.note("A", SEEN, 0)
    observer.note("A", LeaseObservation(SEEN.token, "8"), 900)
    assert observer.stale("A", 1_899) == NOTHING_SEEN
    assert observer.stale("A", 1_900) == LeaseObservation(SEEN.token, "8")


def test_another_token_starts_the_wait_anew() -> None:
    observer = Observer(TTL_MS)
    observer.note("A", SEEN, 0)
    observer.note("A", LeaseObservation("b" * 32, SEEN.beats), 900)
    assert observer.stale("A", 1_800) == NOTHING_SEEN


def test_symbols_are_watched_one_by_one() -> None:
    observer = Observer(TTL_MS)
    observer.note("A", SEEN, 0)
    observer.note("B", SEEN, 500)
    assert (observer.stale("A", 1_000), observer.stale("B", 1_000)) == (SEEN, NOTHING_SEEN)


def test_what_is_due_is_what_was_never_seen_or_stands_still_since_a_lease() -> None:
    observer = Observer(TTL_MS)
    assert observer.is_due("A", 0) and observer.due_in_ms(0) == TTL_MS
    observer.note("A", SEEN, 100)
    observer.note("B", SEEN, 300)
    assert (observer.due_in_ms(300), observer.is_due("A", 1_099), observer.is_due("A", 1_100)) == (800, False, True)
    observer.note("A", LeaseObservation(SEEN.token, "8"), 1_200)
    assert observer.due_in_ms(1_200) == 100
    # Nobody wants it any more: it is not waited for.
    observer.forget_all_but(["A"])
    assert observer.due_in_ms(1_200) == TTL_MS


def test_a_symbol_that_is_forgotten_is_watched_from_the_beginning() -> None:
    observer = Observer(TTL_MS)
    observer.note("A", SEEN, 0)
    observer.forget("A")
    observer.forget("A")
    assert observer.stale("A", 5_000) == NOTHING_SEEN


@LAW
@given(st.lists(st.tuples(st.integers(0, 3 * TTL_MS), st.integers(0, 2))))
def test_what_is_stale_was_seen_the_same_a_lease_ago_and_ever_since(looks: list[tuple[int, int]]) -> None:
    """However long the observer itself was paused between its looks."""
    observer, now_ms = Observer(TTL_MS), 0
    # When each run of equal sightings began.
    runs: list[tuple[int, LeaseObservation]] = []
    for wait_ms, beats in looks:
        now_ms += wait_ms
        stale = observer.stale("A", now_ms)
        if stale != NOTHING_SEEN:
            since_ms, seen = runs[-1]
            assert stale == seen and now_ms - since_ms >= TTL_MS
        sighting = LeaseObservation("a" * 32, str(beats))
        observer.note("A", sighting, now_ms)
        if not runs or runs[-1][1] != sighting:
            runs.append((now_ms, sighting))


def test_tokens_are_unique_and_fit_the_packed_message() -> None:
    tokens = {new_token() for _ in range(1_000)}
    assert len(tokens) == 1_000
    assert {len(token) for token in tokens} == {32}
