"""The tables of the database; a change here needs a migration in `migrations/versions` and a new `schema.SCHEMA`.

Times are seconds since 1970 by the database's clock. What is stored as JSON carries its format number (`core.formats`).
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, MetaData, String, Table, Text
from sqlalchemy.dialects.mysql import MEDIUMTEXT, VARCHAR

metadata = MetaData()
# MySQL would take names that differ in upper and lower case for the same one.
NAME = String(255).with_variant(VARCHAR(255, collation="utf8mb4_bin"), "mysql", "mariadb")
JSON_TEXT = Text().with_variant(MEDIUMTEXT(), "mysql", "mariadb")

leases = Table(
    "evermodel_lease",
    metadata,
    Column("name", NAME, primary_key=True),
    Column("token", BigInteger, nullable=False),
    Column("owner", String(255), nullable=False),
    Column("expires", Double, nullable=False),
)

# A model's last promotion or rollback: begun, or finished. `born` is the registered model's time of creation in MLflow,
# which tells models of one name in two registries apart.
promotions = Table(
    "evermodel_promotion",
    metadata,
    Column("model", NAME, primary_key=True),
    Column("born", BigInteger, primary_key=True, autoincrement=False),
    Column("token", BigInteger, nullable=False),
    Column("finished", Boolean, nullable=False),
    Column("record", JSON_TEXT, nullable=False),
)
