"""What keys.py says there is, so that a test may see that there is nothing else."""

import re

import redis

from common.store import keys

_ROW = re.compile(r"^\| (\S+) +\| (hash|stream|string|zset) +\|.*\| (.*?) *\|$", re.MULTILINE)
# Placeholders of the table, and what stands in their place.
_PLACE = re.compile(r"\\\{(?:S|VENUE)\\\}|<tf>")


def documented() -> dict[str, str]:
    """Key name, with {S} for the symbol, {VENUE} for a venue and <tf> for a timeframe, to type."""
    return {name: kind for name, kind, _ in _ROW.findall(keys.__doc__ or "")}


def kept() -> set[str]:
    """Those of a symbol that do not go by their TTL."""
    found = _ROW.findall(keys.__doc__ or "")
    return {name for name, _, bound in found if name.startswith("{S}") and not bound.startswith("TTL")}


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
        if re.fullmatch(_PLACE.sub(lambda place: r"\w+" if place[0] == "<tf>" else r"\{[^{}]+\}", re.escape(name)), key)
    ]
