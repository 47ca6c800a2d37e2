"""What is one for all workers of a gateway."""
