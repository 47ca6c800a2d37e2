"""The patterns of policies, under the name by which the strongroom knows them."""

from keylease.contracts.patterns import MAXIMUM_LENGTH, any_covers, covers, is_pattern, matches

__all__ = ["MAXIMUM_LENGTH", "any_covers", "covers", "is_pattern", "matches"]
