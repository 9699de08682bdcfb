"""The functions that the queue may call, and nothing else: what a job names is looked up here.

Each is safe to run twice and side by side: the store takes a result only if what it was made of is still there.
Polars is loaded by those that need it, in the forked process: its threads don't survive a fork.
"""

from workers.rollup.rq_worker import Functions


def functions(store_url: str) -> Functions:
    """By the names that jobs use."""
    return {}
