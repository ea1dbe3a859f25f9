"""SQLite database: engine, tables and schema migrations."""
