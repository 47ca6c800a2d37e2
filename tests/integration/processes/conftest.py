"""Fixtures of the process tests."""

from tests.support.users import shared_python

__all__ = ["shared_python"]
