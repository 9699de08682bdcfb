"""Memory that is free, kept for the next answer.

By default malloc gives most of what an answer took back to the kernel, and is handed it again for the next one: a page
of 4 kB at a time, each of them cleared. For bars of a year that is a third of the time.
"""

import ctypes

# What may lie free at the end of the heap.
KEPT_BYTES = 64 << 20
# Blocks from that size on are handed out and given back one by one: the largest that glibc allows.
LARGE_BYTES = 32 << 20
# A heap per thread would be as many times as much memory to begin with. Our threads seldom ask for any.
HEAPS = 1
# The numbers of these three in glibc's malloc.h.
_OPTIONS = {-1: KEPT_BYTES, -3: LARGE_BYTES, -8: HEAPS}


def keep_free_memory() -> None:
    """Tell malloc so, once and before there are threads. Where it is not glibc's it does as it likes."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    for option, value in _OPTIONS.items():
        if mallopt:
            mallopt(option, value)
