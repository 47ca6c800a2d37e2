"""Short-lived tokens by which a gateway learns who somebody is on the platform."""
