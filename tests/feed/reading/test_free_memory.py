import platform
import subprocess
import sys

import pytest

from infra.paths import ROOT

pytestmark = pytest.mark.process

# What an answer takes is taken and let go of, over and over; the page faults of the last rounds are printed.
ROUNDS = """
import resource, sys
from feed.reading.free_memory import keep_free_memory
if sys.argv[1] == "keep":
    keep_free_memory()
def round():
    return [b"x" * (1 << 20) for _ in range(48)]
for _ in range(2):
    round()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    round()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(*arguments: str) -> int:
    done = subprocess.run([sys.executable, "-c", ROUNDS, *arguments], cwd=ROOT, check=True, capture_output=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another malloc does as it likes")
def test_free_memory_is_not_asked_for_again() -> None:
    """5 rounds of 48 MiB are 61,440 pages of 4 kB."""
    assert _faults("keep") < 1_000 < 20_000 < _faults("default")
