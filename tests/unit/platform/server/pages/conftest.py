"""A platform whose pages are looked at."""

from tests.support.sign_in_kit import house

__all__ = ["house"]
