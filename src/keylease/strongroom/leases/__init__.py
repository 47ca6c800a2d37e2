"""Leases: issue, verify, trust rules, revocation."""
