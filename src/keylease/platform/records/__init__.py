"""Call records of gateways: taken once, counted, kept for a while."""
