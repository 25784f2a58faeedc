"""The reports of serving processes, and the versions that have answered."""

import sqlalchemy as sa
from alembic import op

from evermodel.core.database.tables import JSON_TEXT, NAME

revision = "1.3"
down_revision = "1.2"


def upgrade() -> None:
    """Make the tables of serving."""
    op.create_table(
        "evermodel_serving_report",
        sa.Column("model", NAME, primary_key=True),
        sa.Column("instance", NAME, primary_key=True),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("seen", sa.Double, nullable=False),
        sa.Column("answered", sa.Boolean, nullable=False),
        sa.Column("content", JSON_TEXT, nullable=False),
    )
    op.create_table(
        "evermodel_served_version",
        sa.Column("model", NAME, primary_key=True),
        sa.Column("version", NAME, primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
    )
