"""The audit log: entries of committed changes, sequenced into Merkle trees that others witness."""
