"""Who there is: organizations, projects, environments, people, programs, groups."""
