"""A served feed that reads what a writer has written."""

from tests.kit.served import feed

__all__ = ["feed"]
