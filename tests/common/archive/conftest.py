"""The archives that these tests are of."""

from tests.kit.archive.s3 import archive, s3, s3_server

__all__ = ["archive", "s3", "s3_server"]
