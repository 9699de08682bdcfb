"""Tests of what speaks Redis by itself run on both servers; an archive is one of common.archive's own tests."""

from tests.kit.archive.s3 import archive, s3, s3_server
from tests.kit.store.clients import client

__all__ = ["archive", "client", "s3", "s3_server"]
