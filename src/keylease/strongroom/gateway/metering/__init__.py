"""Tokens, prices and recorded text, read out of what passes."""
