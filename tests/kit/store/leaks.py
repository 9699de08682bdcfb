"""What keys.py says there is, so that a test may see that there is nothing else."""

import re

import redis

from common.store import keys

_ROW = re.compile(r"^\| (\S+) +\| (hash|stream|string|zset) +\|", re.MULTILINE)


def documented() -> dict[str, str]:
    """Key name, with {S} for the symbol and {VENUE} for a venue, to type."""
    return {name: kind for name, kind in _ROW.findall(keys.__doc__ or "")}


def leaks(url: str) -> list[str]:
    """Keys in the store that are not in the table, or of another type than it says."""
    known = documented()
    with redis.Redis.from_url(url, decode_responses=True) as client:
        found = {key: client.type(key) for key in client.scan_iter()}
    return sorted(f"{key} ({kind})" for key, kind in found.items() if kind not in _kinds(known, key))


def _kinds(known: dict[str, str], key: str) -> list[str]:
    return [
        kind
        for name, kind in known.items()
        if re.fullmatch(re.sub(r"\\{(S|VENUE)\\}", r"\\{[^{}]+\\}", re.escape(name)), key)
    ]
