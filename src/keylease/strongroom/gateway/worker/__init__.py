"""Serves connections from what it holds, and asks the coordinator for the rest."""
