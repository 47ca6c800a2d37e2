"""Call records and audit entries on disk, exported, counted."""
