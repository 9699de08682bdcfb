"""Messages of a stream."""

import orjson
import pytest

from feed.wire.messages import News, Notice


@pytest.mark.parametrize(("cursor", "told"), [("5-a", "6-a"), ("0-", "6-a"), ("6-a", "6-a"), ("7-b", "7-b")])
def test_news_never_take_a_client_back_behind_what_it_was_opened_at(cursor: str, told: str) -> None:
    """The series may have been behind: who resumed from there would be told its trades twice."""
    notice: News = Notice('"symbol":"A"', 7, "gap", cursor)
    assert orjson.loads(notice.from_commit(6, "a").text)["cursor"] == told
    assert notice.cursor == cursor
