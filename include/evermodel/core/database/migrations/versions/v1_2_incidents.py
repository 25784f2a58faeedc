"""The incidents of each model, written together with their messages."""

import sqlalchemy as sa
from alembic import op

from evermodel.core.database.tables import JSON_TEXT, NAME

revision = "1.2"
down_revision = "1.1"


def upgrade() -> None:
    """Make the table of incidents."""
    op.create_table(
        "evermodel_incidents",
        sa.Column("model", NAME, primary_key=True),
        sa.Column("origin", sa.String(16), primary_key=True),
        sa.Column("content", JSON_TEXT, nullable=False),
    )
