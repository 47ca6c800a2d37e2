"""Who may do what: permissions, roles, grants, and the decision with its reason."""
