"""The database: its connections, tables, schema version with migrations, and leases with fencing tokens.

Imports the rest of `core`; SQLAlchemy is imported by these modules alone, and Alembic only to change the schema.
"""

__all__ = ["clock", "database", "lease", "process", "schema", "tables"]
