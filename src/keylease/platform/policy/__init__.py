"""Policy: credentials, routes, grants, budgets and trust rules, and the bundle made of them."""
