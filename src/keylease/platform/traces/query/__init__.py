"""Asking the trace store: the filter language, lists and aggregates, SQL of users."""
