"""API keys of users and service accounts: made, rotated, used, revoked."""
