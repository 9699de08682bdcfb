"""What the garbage collector need not look at."""

import gc


def keep_loaded() -> None:
    """Take what has been loaded so far for kept. To be called once a process has loaded all it works with.

    Modules hold tens of thousands of objects that never go: a full collection that looks at them stops a worker for
    some 10 ms.
    """
    gc.collect()
    gc.freeze()
