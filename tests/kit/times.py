"""Times as people write them."""

from datetime import UTC, datetime


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000
