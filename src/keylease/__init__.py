"""Keylease: an AI engineering platform that never holds a provider key."""

__version__ = "0.1.0"
