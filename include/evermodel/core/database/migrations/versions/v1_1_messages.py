"""The queue of messages: destinations, messages, and receipts."""

import sqlalchemy as sa
from alembic import op

from evermodel.core.database.tables import IMAGE, JSON_TEXT, NAME, NUMBER

revision = "1.1"
down_revision = "1.0"


def upgrade() -> None:
    """Make the tables of the queue."""
    op.create_table(
        "evermodel_destination",
        sa.Column("name", NAME, primary_key=True),
        sa.Column("content", JSON_TEXT, nullable=False),
        sa.Column("paused_until", sa.String(40), nullable=False),
    )
    op.create_table(
        "evermodel_message",
        sa.Column("number", NUMBER, primary_key=True, autoincrement=True),
        sa.Column("destination", NAME, nullable=False, index=True),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("content", JSON_TEXT, nullable=False),
        sa.Column("image", IMAGE),
    )
    op.create_table(
        "evermodel_receipt",
        sa.Column("destination", NAME, primary_key=True),
        sa.Column("key_sha256", sa.String(64), primary_key=True),
        sa.Column("content", JSON_TEXT, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )
