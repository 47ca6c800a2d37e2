"""The only code that may see a provider key."""
