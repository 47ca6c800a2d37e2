"""One file for each wire format: what it lets through, and how its errors look."""
