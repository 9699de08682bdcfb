"""A peer that is not here."""

from importlib import import_module
from types import ModuleType

from common.errors import FleetError


class Absent(FleetError):
    """It cannot be measured; the message says what it takes."""


def peer(module: str) -> ModuleType:
    """Import what comes with the extra `peers`. Raises Absent."""
    try:
        return import_module(module)
    except ImportError:
        raise Absent("not installed: pip install -e '.[peers]'") from None
