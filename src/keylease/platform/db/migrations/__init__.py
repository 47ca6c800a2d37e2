"""The history of the schema, as Alembic runs it. Migrations import nothing of ours."""
