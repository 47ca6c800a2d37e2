"""Passwords, passkeys, second factors, one-time links, and the brakes on guessing."""
