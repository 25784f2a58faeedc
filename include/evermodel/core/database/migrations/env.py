"""Alembic's environment: migrates the connection that `schema.upgrade` holds, inside its transaction, or writes SQL for a dialect."""

from alembic import context

from evermodel.core.database.schema import VERSION_TABLE
from evermodel.core.database.tables import metadata

context.configure(
    connection=context.config.attributes.get("connection"),
    dialect_name=context.config.attributes.get("dialect"),
    literal_binds=context.is_offline_mode(),
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
