"""What was overtaken is attempted again, so often and no more."""

import pytest

from common.errors import Overtaken, StoreUnavailable, Superseded
from common.retry import retry_when_overtaken


class Attempts:
    """Fails so often, with this error."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.failures, self.error, self.count = failures, error, 0

    async def __call__(self) -> int:
        self.count += 1
        if self.count <= self.failures:
            raise self.error
        return self.count


async def test_the_first_attempt_that_is_not_overtaken_counts() -> None:
    assert await retry_when_overtaken(Attempts(2, Overtaken("a day was sealed again")), "A:B", attempts=3) == 3


async def test_one_that_is_overtaken_every_time_is_told_and_not_attempted_again() -> None:
    attempt = Attempts(9, Overtaken("a day was sealed again"))
    with pytest.raises(StoreUnavailable, match="^A:B changed under every attempt to archive its trades$") as raised:
        await retry_when_overtaken(attempt, "A:B", "archive its trades", attempts=3)
    assert attempt.count == 3
    # Or one retry within another would multiply.
    assert not isinstance(raised.value, Overtaken)


@pytest.mark.parametrize("error", [Superseded("replaced"), StoreUnavailable("no answer"), ValueError("a mistake")])
async def test_any_other_error_ends_it(error: Exception) -> None:
    attempt = Attempts(1, error)
    with pytest.raises(type(error), match=str(error)):
        await retry_when_overtaken(attempt, "A:B")
    assert attempt.count == 1


async def test_it_may_be_told_what_else_overtakes() -> None:
    assert await retry_when_overtaken(Attempts(1, Superseded("replaced")), "A:B", by=(Superseded,)) == 2
