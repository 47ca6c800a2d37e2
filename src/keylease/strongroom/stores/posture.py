"""What a start-up line and ``keylease doctor`` have to say about the stores, in words."""

from __future__ import annotations


class Posture:
    """Sentences about what is weaker than it could be, each under a key that ends it again."""

    def __init__(self) -> None:
        self._sentences: dict[str, str] = {}

    def note(self, key: str, sentence: str) -> None:
        """Say ``sentence`` until ``key`` is cleared. ``key`` and ``sentence`` hold no secret."""
        self._sentences[key] = sentence

    def clear(self, key: str) -> None:
        """The matter is over."""
        self._sentences.pop(key, None)

    def sentences(self) -> tuple[str, ...]:
        """Everything there is to say now, in the order of the keys."""
        return tuple(self._sentences[key] for key in sorted(self._sentences))
