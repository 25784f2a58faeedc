"""Incidents of several models with one message."""

import sqlalchemy as sa
from alembic import op

from evermodel.core.database.tables import JSON_TEXT, NUMBER

revision = "1.10"
down_revision = "1.9"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "evermodel_shared_incident",
        sa.Column("number", NUMBER, primary_key=True, autoincrement=True),
        sa.Column("place_sha256", sa.String(64), nullable=False, index=True),
        sa.Column("content", JSON_TEXT, nullable=False),
    )
