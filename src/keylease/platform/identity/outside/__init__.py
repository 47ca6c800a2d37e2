"""Sign-in through issuers outside: OpenID Connect, and whom it may stand for here."""
