"""Spans: taken in durably, understood, kept, and found again. See docs/design/traces.md."""
