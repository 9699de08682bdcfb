"""What `fleet up` looks at before it starts anything: a sentence for each thing that will hurt sooner or later.

What stops the start at once (a port that is taken, a store that may not be used) is said where it is found.
"""

import os
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from common.redact import redacted_url
from common.settings import Settings
from infra.paths import ROOT, data_folder

MB = 1 << 20
# A busy symbol writes some 100 MB a day, and the store needs as much again when it writes its file anew.
MIN_DISK_MB = 1_000
# What a fleet of three symbols takes with its store: the feed is the largest.
MIN_MEMORY_MB = 500
# Of one process: connections, the archive's files and the libraries.
MIN_FILES = 1_024


def warnings(settings: Settings) -> Iterator[str]:
    if trouble := archive_trouble(settings):
        yield f"the archive is DEGRADED: {trouble}, and nothing is archived until it can be"
    yield from _disk(data_folder(settings.data_dir))
    yield from _memory(Path("/proc/meminfo"))
    yield from _files()
    yield from _clock(time.time())


def archive_trouble(settings: Settings) -> str:
    """Why it can't be written, "" where it can. A folder is tried. A bucket is far away: the first job finds out."""
    if settings.archive_url is None or "://" in settings.archive_url:
        return ""
    folder = Path(settings.archive_url)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return f"{redacted_url(settings.archive_url)} can't be written ({error.strerror})"
    return ""


def _disk(folder: Path) -> Iterator[str]:
    # The folder itself may be yet to be made.
    there = next(each for each in (folder, *folder.parents) if each.exists())
    free_mb = shutil.disk_usage(there).free // MB
    if free_mb < MIN_DISK_MB:
        yield f"{free_mb:,} MB are free for {folder}, expected {MIN_DISK_MB:,}: a full disk stops every commit"


def _memory(meminfo: Path) -> Iterator[str]:
    if not meminfo.exists():
        return
    found = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    available_mb = int(found.get("MemAvailable", f"{MIN_MEMORY_MB << 10}").split()[0]) >> 10
    if available_mb < MIN_MEMORY_MB:
        yield f"{available_mb:,} MB of memory are free, expected {MIN_MEMORY_MB:,}: what takes most may be killed"


def _files() -> Iterator[str]:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < MIN_FILES:
        yield f"a process may open {hard:,} files, expected {MIN_FILES:,} (ulimit -Hn): the feed takes fewer clients"


def _clock(now_s: float) -> Iterator[str]:
    """A machine that has lost the time believes in 1970, or in when it was switched off."""
    installed_s = os.stat(ROOT / "pyproject.toml").st_mtime
    if now_s < installed_s - 86_400:
        says = datetime.fromtimestamp(now_s, UTC)
        yield f"the clock says {says:%Y-%m-%d}, which is before this was installed: candles would be of that day"
