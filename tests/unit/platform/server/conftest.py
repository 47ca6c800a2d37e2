"""What tests of the platform's edge may use."""

from tests.support.span_house import house

__all__ = ["house"]
