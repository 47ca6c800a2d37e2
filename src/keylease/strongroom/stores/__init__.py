"""Where keys live: one file per store."""
