"""The trust report: who stores what secret, where, isolated how, for how long, audited how."""
