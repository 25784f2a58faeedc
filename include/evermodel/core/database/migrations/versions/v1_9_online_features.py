"""Features that the serving app looks up."""

import sqlalchemy as sa
from alembic import op

from evermodel.core.database.tables import NUMBER

revision = "1.9"
down_revision = "1.8"


def upgrade() -> None:
    """Make the tables of parts and values."""
    op.create_table(
        "evermodel_online_part",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("place_sha256", sa.String(64), nullable=False, index=True),
        sa.Column("expires", sa.Double, nullable=False),
        sa.Column("complete", sa.Boolean, nullable=False),
    )
    op.create_table(
        "evermodel_online_value",
        sa.Column("part", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("key_sha256", sa.String(64), primary_key=True),
        sa.Column("content", sa.Text, nullable=False),
    )
