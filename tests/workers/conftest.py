"""Tests of what speaks Redis by itself run on both servers."""

from tests.servers import client

__all__ = ["client"]
