"""The platform's database: engine, transactions, pages, migrations, and the outbox for audit."""
