"""Alembic's environment: migrates the connection that `schema.upgrade` holds, inside its transaction."""

from alembic import context

from evermodel.core.database.schema import VERSION_TABLE
from evermodel.core.database.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
