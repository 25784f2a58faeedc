"""The last known state of the Models page."""

import sqlalchemy as sa
from alembic import op

from evermodel.core.database.tables import JSON_TEXT, NAME

revision = "1.8"
down_revision = "1.7"


def upgrade() -> None:
    """Make the table of the models' states."""
    op.create_table(
        "evermodel_models_page",
        sa.Column("source_sha256", sa.String(64), primary_key=True),
        sa.Column("layout", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("model", NAME, primary_key=True),
        sa.Column("seen", sa.Double, nullable=False),
        sa.Column("content", JSON_TEXT, nullable=False),
    )
