"""Every secret that was seen, where, whose, used by whom - and never the secret."""
