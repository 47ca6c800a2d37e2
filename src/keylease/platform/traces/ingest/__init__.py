"""How spans come in: decoded under limits, masked, logged, and handed to the store."""
