"""OpenTelemetry, set up to send spans to the platform, and a decorator that makes spans.

Everything here works without ``keylease[tracing]``, too: then nothing is recorded.
"""
