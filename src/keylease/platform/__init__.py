"""The keyless half: API, policy, audit log, records. It could be stolen whole without a key in it.

The domain folders are siblings. They meet through identifiers, through the outbox in ``db/``, or
are joined in ``server/``.
"""
