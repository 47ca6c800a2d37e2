"""Asks providers whether found keys work, and whose they are. Only when a person told a scan to.

``asking`` decides when and how often; ``checks`` has a file for each family of providers;
``commands`` is the process that a scanner hands its keys to.
"""
