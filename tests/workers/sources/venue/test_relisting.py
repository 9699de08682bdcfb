"""A venue that lists a market finer than the symbol is: noticed, asked, changed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from common.errors import BadInput
from common.market.builder.validity import TOO_FINE
from common.market.instrument import Instrument
from tests.kit.clocks import FakeClock
from tests.kit.waiting import wait_until_async
from workers.change.request import Request
from workers.sources.venue.relisting import ASK_CAP_MS, FORGET_MS, MAX_HELD_MS, QUIET_MS, Relisting, finer
from workers.venues.shared.base import Listing, Refused, VenueUnavailable
from workers.venues.shared.fields import BAD_JSON, TOO_GREAT

OURS = Listing("BTCUSDT", Instrument("BINANCE:BTCUSDT", 2, 3, "contiguous"), 1, 10)
FINE = Refused(TOO_FINE, "9.991 has more than 2 decimals")


def listed(price_decimals: int, size_decimals: int, price_step: int = 1, size_step: int = 1) -> Listing:
    instrument = replace(OURS.instrument, price_decimals=price_decimals, size_decimals=size_decimals)
    return Listing("BTCUSDT", instrument, price_step, size_step)


@dataclass
class Told:
    """What the venue lists, and what was asked of it and changed."""

    listing: Listing = OURS
    error: Exception | None = None
    asked: list[int] = field(default_factory=list)
    changed: list[Request] = field(default_factory=list)
    clock: FakeClock = field(default_factory=FakeClock)
    news: int = 0

    async def ask(self) -> Listing:
        await asyncio.sleep(0)
        self.asked.append(self.clock.monotonic_ms())
        if self.error:
            raise self.error
        return self.listing

    async def change(self, request: Request) -> None:
        self.changed.append(request)

    def heard(self) -> None:
        self.news += 1

    async def answered(self, times: int) -> None:
        await wait_until_async(lambda: self.news >= times)


@asynccontextmanager
async def watching(told: Told) -> AsyncIterator[Relisting]:
    relisting = Relisting(OURS, told.ask, told.change, told.clock, told.heard)
    task = asyncio.create_task(relisting.run())
    yield relisting
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def state(relisting: Relisting) -> tuple[bool, bool]:
    return relisting.is_open, relisting.holds


async def test_the_first_price_that_is_too_fine_has_the_venue_asked_and_the_symbol_changed() -> None:
    told = Told(listed(4, 3, price_step=5, size_step=10))
    async with watching(told) as relisting:
        assert state(relisting) == (False, False)
        relisting.note(FINE)
        assert state(relisting) == (True, True)
        await told.answered(1)
    assert told.changed == [Request(price_decimals=4, size_decimals=3, steps=(5, 10))]


async def test_what_the_venue_lists_as_before_changes_nothing_and_is_told_until_it_is_quiet() -> None:
    """Asked ever more rarely, and only while such trades come."""
    told = Told()
    async with watching(told) as relisting:
        for times in range(1, 12):
            relisting.note(FINE)
            await told.answered(times)
        waits = [after - before for before, after in zip(told.asked, told.asked[1:], strict=False)]
        assert waits == sorted(waits) and waits[0] == 1_000 and waits[-1] == ASK_CAP_MS
        relisting.note(FINE)
        assert relisting.is_open
        await told.answered(12)
        told.clock.advance(QUIET_MS)
        assert state(relisting) == (False, False) and not told.changed
        await asyncio.sleep(0)
        assert len(told.asked) == 12


async def test_backfill_is_not_held_for_ever_by_what_a_venue_prints_finer_than_it_lists() -> None:
    told = Told()
    async with watching(told) as relisting:
        relisting.note(FINE)
        told.clock.advance(MAX_HELD_MS)
        relisting.note(FINE)
        assert state(relisting) == (True, False)
        # A day later it is another matter.
        told.clock.advance(FORGET_MS)
        relisting.note(FINE)
        assert state(relisting) == (True, True)


async def test_other_refusals_are_no_reason_and_a_level_of_the_book_is_one_to_ask_alone() -> None:
    told = Told()
    async with watching(told) as relisting:
        relisting.note(Refused(BAD_JSON, ""))
        relisting.note(Refused(TOO_GREAT, ""))
        await asyncio.sleep(0)
        assert told.asked == []
        level = FINE._replace(of_book=True)
        relisting.note(level)
        await told.answered(1)
        assert state(relisting) == (False, False)
        told.clock.advance(ASK_CAP_MS)
        relisting.note(level)
        await asyncio.sleep(0)
        assert len(told.asked) == 1


async def test_a_venue_that_does_not_answer_and_a_change_that_can_t_be_are_tried_again() -> None:
    told = Told(listed(3, 3), VenueUnavailable("not now"))
    async with watching(told) as relisting:
        relisting.note(FINE)
        await told.answered(2)
        told.error = BadInput("symbol X can't be changed: price 1 is too great for 3 decimals")
        await told.answered(4)
        assert relisting.is_open and not told.changed
        told.error = None
        await wait_until_async(lambda: told.changed)


def test_only_what_is_finer_is_changed_and_steps_are_of_the_new_scale() -> None:
    assert finer(OURS, OURS) is None
    assert finer(OURS, listed(1, 3)) is None
    assert finer(OURS, listed(0, 0)) is None
    # Coarser prices and finer sizes: the prices stay.
    assert finer(OURS, listed(1, 5, 5, 7)) == Request(price_decimals=2, size_decimals=5, steps=(50, 7))
    assert finer(OURS, listed(3, 0)) == Request(price_decimals=3, size_decimals=3, steps=(1, 1_000))
