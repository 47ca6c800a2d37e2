"""The provider catalogue, under the name by which the strongroom knows it."""

from keylease.contracts.catalogue import CATALOGUE, Provider, WireFormat

__all__ = ["CATALOGUE", "Provider", "WireFormat"]
