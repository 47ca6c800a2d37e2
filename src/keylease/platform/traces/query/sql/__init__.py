"""SQL of users: read, reduced to what is on a list, scoped, generated again."""
