"""What spans mean: the dialects of instrumentations, chat messages, costs."""
