"""Transparency logs: Merkle trees, their proofs, signed checkpoints, witnesses, verification.

Formats are those of other people's tools, so that a log of ours can be checked without us: RFC 6962
hashes and proofs; C2SP tlog-tiles, signed-note, tlog-checkpoint, tlog-cosignature (v1) and
tlog-proof (c2sp.org).

Protects: what was once in a log whose checkpoint somebody else has kept cannot be changed, removed,
    added to or moved without ``verifier`` finding the place.
Does not protect: what was written was not necessarily true; and what lies behind the last
    checkpoint that somebody else has kept rests on the log's word alone.
Limits: SHA-256 and Ed25519 only.
"""
