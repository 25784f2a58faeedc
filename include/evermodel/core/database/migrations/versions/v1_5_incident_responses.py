"""What people answered to open incidents."""

import sqlalchemy as sa
from alembic import op

from evermodel.core.database.tables import JSON_TEXT, NAME

revision = "1.5"
down_revision = "1.4"


def upgrade() -> None:
    """Make the table of responses."""
    op.create_table(
        "evermodel_incident_response",
        sa.Column("model", NAME, primary_key=True),
        sa.Column("incident", NAME, primary_key=True),
        sa.Column("content", JSON_TEXT, nullable=False),
    )
