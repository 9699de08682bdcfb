"""The `fleet` command on the test's store."""

from tests.kit.processes.command import fleet

__all__ = ["fleet"]
