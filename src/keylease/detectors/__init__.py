"""What a secret looks like: patterns, checksums, entropy, context. Pure functions, no I/O."""
