"""Sessions: what a browser or a command line holds after a sign-in."""
