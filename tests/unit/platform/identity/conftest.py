"""A platform to sign in to."""

from tests.support.sign_in_kit import house

__all__ = ["house"]
