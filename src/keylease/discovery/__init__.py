"""Finds keys on the machine where it runs.

Protects: what leaves this machine is fingerprints, masked forms and places; a key that was found is
    held in memory while it is looked at, and is written nowhere.
Does not protect: it reads what its user may read, and says where keys lie. Its report is worth
    keeping private.
Limits: what the detectors do not know, and what lies in a form that is not read here, is not found.
"""
