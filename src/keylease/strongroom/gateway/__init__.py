"""The data plane: one coordinator, and workers that serve connections."""
