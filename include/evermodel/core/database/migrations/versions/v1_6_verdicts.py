"""The verdicts on watched models."""

import sqlalchemy as sa
from alembic import op

from evermodel.core.database.tables import JSON_TEXT, NAME

revision = "1.6"
down_revision = "1.5"


def upgrade() -> None:
    """Make the table of verdicts."""
    op.create_table(
        "evermodel_verdict",
        sa.Column("model", NAME, primary_key=True),
        sa.Column("window_end", sa.String(40), primary_key=True),
        sa.Column("window_start", sa.String(40), nullable=False),
        sa.Column("version", NAME, nullable=False),
        sa.Column("severity", sa.String(20), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("window_rows", sa.BigInteger, nullable=False),
        sa.Column("content", JSON_TEXT, nullable=False),
    )
