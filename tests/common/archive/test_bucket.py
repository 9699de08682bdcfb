"""A bucket whose store fails, hangs, is away, lacks the bucket, or keeps what a killed writer left."""

import time
from collections.abc import Callable

import pytest

from common.archive import bucket
from common.archive.archive import Archive
from common.archive.objects import RetryPolicy
from common.archive.series import CANDLE_ROWS
from common.errors import ArchiveUnavailable, OperatorError
from tests.kit.archive.rows import BTC, FEBRUARY_MS, MARCH_MS, february, write
from tests.kit.archive.s3 import HASTY, PROBE, S3, names
from tests.kit.ports import reserved_port

OBJECT = CANDLE_ROWS.path(BTC.symbol, FEBRUARY_MS)


def calls(archive: Archive) -> list[Callable[[], object]]:
    return [
        lambda: write(archive, CANDLE_ROWS, BTC, FEBRUARY_MS, february(seed=1)),
        lambda: archive.read_period(CANDLE_ROWS, BTC, FEBRUARY_MS),
        lambda: archive.periods(CANDLE_ROWS, BTC.symbol),
        lambda: archive.clear(CANDLE_ROWS, BTC, FEBRUARY_MS),
    ]


def check_unavailable(archive: Archive, cause: str) -> None:
    for call in calls(archive):
        with pytest.raises(ArchiveUnavailable, match=cause) as caught:
            call()
        assert str(caught.value).startswith("archive s3://") and "\n" not in str(caught.value)
        assert "xml" not in str(caught.value) and "secret" not in str(caught.value)


def test_a_store_that_fails(s3: S3) -> None:
    archive = Archive(s3.bucket())
    write(archive, CANDLE_ROWS, BTC, FEBRUARY_MS, february())
    s3.failing |= {"GET", "PUT", "POST", "DELETE"}
    check_unavailable(archive, "503")
    s3.heal()
    assert february().equals(archive.read(CANDLE_ROWS, BTC, FEBRUARY_MS, MARCH_MS))
    assert names(s3.raw()) == [OBJECT, PROBE]
    write(archive, CANDLE_ROWS, BTC, FEBRUARY_MS, february(seed=1))


def test_a_store_that_fails_once_is_asked_again(s3: S3) -> None:
    archive = Archive(s3.bucket())
    for seed in range(2):
        s3.asked.clear()
        s3.fail_next = 1
        write(archive, CANDLE_ROWS, BTC, FEBRUARY_MS, february(seed))
        # What was there is read; the probe, of the very first writer three times; the object; and that is read back.
        puts = ["PUT"] * (4 - 3 * seed)
        assert [request.split()[0] for request in s3.asked] == ["GET", "GET", *puts, "GET"]


def test_a_store_that_hangs(s3: S3) -> None:
    archive = Archive(s3.bucket(patience=RetryPolicy(request_s=0.2, retries=1)))
    write(archive, CANDLE_ROWS, BTC, FEBRUARY_MS, february())
    s3.stuck |= {"GET", "PUT"}
    started_s = time.monotonic()
    for call in calls(archive)[:3]:
        with pytest.raises(ArchiveUnavailable, match="archive s3://market"):
            call()
    assert time.monotonic() - started_s < 10
    s3.heal()
    # What was stuck may still be done: an object is whole, whichever it is.
    assert archive.verify(CANDLE_ROWS, BTC, FEBRUARY_MS) is not None


def test_a_store_that_is_away(s3: S3) -> None:
    with reserved_port() as port:
        away = bucket.Bucket("market", "", f"http://127.0.0.1:{port}", HASTY)
        check_unavailable(Archive(away), "Error performing")


def test_a_bucket_that_is_not_there(s3: S3) -> None:
    # An empty answer would pass for a history without trades.
    archive = Archive(s3.bucket("another"))
    for call in calls(archive)[:3]:
        with pytest.raises(ArchiveUnavailable, match=r"\(NoSuchBucket\)$"):
            call()


def test_a_failed_put_leaves_the_old_rows(s3: S3) -> None:
    archive = Archive(s3.bucket())
    write(archive, CANDLE_ROWS, BTC, FEBRUARY_MS, february())
    s3.failing_put = OBJECT
    with pytest.raises(ArchiveUnavailable, match="503"):
        write(archive, CANDLE_ROWS, BTC, FEBRUARY_MS, february(seed=1))
    s3.heal()
    assert february().equals(archive.read(CANDLE_ROWS, BTC, FEBRUARY_MS, MARCH_MS))
    assert names(s3.raw()) == [OBJECT, PROBE]


@pytest.mark.parametrize("seeds", [[], [0]], ids=["new", "replaced"])
def test_a_store_that_ignores_conditions_is_refused(s3: S3, seeds: list[int]) -> None:
    archive = Archive(s3.bucket())
    for seed in seeds:
        write(archive, CANDLE_ROWS, BTC, FEBRUARY_MS, february(seed))
    s3.ignores_conditions = True
    with pytest.raises(OperatorError, match="ignores If-Match or If-None-Match"):
        write(Archive(s3.bucket()), CANDLE_ROWS, BTC, FEBRUARY_MS, february(seed=1))
    left = [archive.read_period(CANDLE_ROWS, BTC, period_ms) for period_ms in archive.periods(CANDLE_ROWS, BTC.symbol)]
    assert [frame.equals(february(seed)) for frame, seed in zip(left, seeds, strict=True) if frame is not None] == [
        True for _ in seeds
    ]


def test_an_archive_may_be_the_whole_bucket(s3: S3) -> None:
    archive = Archive.open("s3://market", s3.endpoint)
    write(archive, CANDLE_ROWS, BTC, FEBRUARY_MS, february())
    assert archive.periods(CANDLE_ROWS, BTC.symbol) == [FEBRUARY_MS]
    assert names(s3.raw("")) == [OBJECT, PROBE]


def test_half_of_the_keys_stops_the_start(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(OperatorError, match=r"^archive s3://market/fleet: .*Missing AccessKeyId$"):
        Archive.open("s3://market/fleet", s3.endpoint)
