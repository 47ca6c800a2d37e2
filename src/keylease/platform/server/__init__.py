"""The platform's HTTP edge: the application, its routes, and where the domains are joined."""
