"""Identical questions at the same time."""

import asyncio

from feed.reading.single_flight import SingleFlight


async def test_questions_at_the_same_time_are_answered_once_and_a_later_one_anew() -> None:
    flights: SingleFlight[int] = SingleFlight()
    asked: list[None] = []

    async def answer() -> int:
        asked.append(None)
        await asyncio.sleep(0)
        return len(asked)

    assert await asyncio.gather(*(flights.run("one", answer) for _ in range(5))) == [1] * 5
    assert await flights.run("one", answer) == 2


async def test_who_asks_until_the_answer_is_new_holds_up_nobody() -> None:
    """As a client does whose snapshot is older than what it has heard. Between the end of an answer and what follows of
    it one once got that answer at once, again and again: for ever, for nothing else ran meanwhile."""
    flights: SingleFlight[int] = SingleFlight()
    ended, commits = asyncio.Event(), 0

    async def answer() -> int:
        ended.set()
        return commits

    async def ask_until_new() -> int:
        await ended.wait()
        for rounds in range(1_000):
            if await flights.run("one", answer):
                return rounds
        return 1_000

    asking = asyncio.create_task(ask_until_new())
    await asyncio.sleep(0)
    assert await flights.run("one", answer) == 0
    commits = 1
    assert await asking < 100
