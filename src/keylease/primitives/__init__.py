"""Small mechanisms that several zones need. No zone's knowledge lives here."""
