"""The few pages that a person needs before anything else: signing in, devices, sessions."""
