"""What a browser says of itself, as coarsely as a person needs to recognise it."""

from __future__ import annotations

from typing import Final

_BROWSERS: Final = (
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
"""In this order: Edge and Opera say Chrome too, and Chrome says Safari."""
_SYSTEMS: Final = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)
_LONGEST_NAME: Final = 60


def described(user_agent: str) -> str:
    """Browser and system by name; no version, and nothing of the text itself."""
    browser = next((name for mark, name in _BROWSERS if mark in user_agent), "A browser")
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), "")
    return f"{browser} on {system}" if system else browser


def machine_name(text: str) -> str:
    """A name that a machine gives itself, made harmless for pages and terminals."""
    return "".join(c if c.isprintable() else "?" for c in text)[:_LONGEST_NAME].strip()
