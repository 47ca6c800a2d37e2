"""Frozen, versioned shapes that cross a zone border."""
