"""Who is who, and how they show it: the directory, sign-in, sessions, API keys."""
