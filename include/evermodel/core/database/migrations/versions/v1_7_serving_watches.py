"""What the watch on a new champion's requests has seen."""

import sqlalchemy as sa
from alembic import op

from evermodel.core.database.tables import JSON_TEXT, NAME

revision = "1.7"
down_revision = "1.6"


def upgrade() -> None:
    """Make the table of watches."""
    op.create_table(
        "evermodel_serving_watch",
        sa.Column("model", NAME, primary_key=True),
        sa.Column("content", JSON_TEXT, nullable=False),
    )
