"""Leases, and the promotion that each model began last."""

import sqlalchemy as sa
from alembic import op

from evermodel.core.database.tables import JSON_TEXT, NAME

revision = "1.0"
down_revision = None


def upgrade() -> None:
    """Make the first tables."""
    op.create_table(
        "evermodel_lease",
        sa.Column("name", NAME, primary_key=True),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("owner", sa.String(255), nullable=False),
        sa.Column("expires", sa.Double, nullable=False),
    )
    op.create_table(
        "evermodel_promotion",
        sa.Column("model", NAME, primary_key=True),
        sa.Column("born", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("finished", sa.Boolean, nullable=False),
        sa.Column("record", JSON_TEXT, nullable=False),
    )
