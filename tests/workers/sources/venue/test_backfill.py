"""The desk between a backfill and its reader; the rest is tested over real sockets (test_venue.py)."""

from tests.kit.fakes import trades
from workers.sources.base import Batch
from workers.sources.venue.batch_queue import MAX_WAITING, BatchQueue


def page(size: int) -> Batch:
    return Batch(trades(*((number, number) for number in range(size))), "")


def test_a_read_takes_whole_batches_up_to_the_limit_and_at_least_one() -> None:
    desk = BatchQueue()
    for size in (3, 3, 3, 20, 1):
        desk.put(page(size))
    assert [[len(batch.trades) for batch in desk.read(7)] for _ in range(5)] == [[3, 3], [3], [20], [1], []]


def test_all_is_applied_only_with_the_read_after_the_last_batch() -> None:
    desk = BatchQueue()
    desk.put(page(1))
    desk.put(page(1))
    seen = []
    for _ in range(3):
        desk.read(1)
        seen.append(desk.applied.is_set())
    assert seen == [False, False, True]
    desk.put(page(1))
    assert not desk.applied.is_set()


def test_there_is_room_below_the_bound() -> None:
    desk = BatchQueue()
    for _ in range(MAX_WAITING + 1):
        desk.put(page(1))
    assert not desk.room.is_set()
    desk.read(1)
    assert not desk.room.is_set()
    desk.read(1)
    assert desk.room.is_set()
