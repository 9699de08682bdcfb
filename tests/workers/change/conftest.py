"""A feed whose answers a change must not touch."""

from tests.kit.served import feed

__all__ = ["feed"]
