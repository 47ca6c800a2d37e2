"""The device flow (RFC 8628): a command line is signed in from a browser."""
