"""Let serving's login of PostgreSQL write serving's reports, read looked-up features, and no more; may be run again."""

from __future__ import annotations

from sqlalchemy import text

from evermodel.core.database.schema import VERSION_TABLE, open_database
from evermodel.core.database.tables import online_parts, online_values, served_versions, serving_reports
from evermodel.core.settings import Settings

LOGIN = "serving"


def main() -> None:
    """Make the tables if they are missing, and grant the rights."""
    database = open_database(Settings.from_environment().database_url)
    with database.writing() as connection:
        for table in (serving_reports, served_versions):
            connection.execute(text(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table.name} TO {LOGIN}"))
        for read in (VERSION_TABLE, online_parts.name, online_values.name):
            connection.execute(text(f"GRANT SELECT ON {read} TO {LOGIN}"))
    print(f"the login {LOGIN} may read and write serving's reports, and read looked-up features")


if __name__ == "__main__":
    main()
