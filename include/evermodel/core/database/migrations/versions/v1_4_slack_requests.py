"""The requests of Slack's buttons that were accepted in the last minutes."""

import sqlalchemy as sa
from alembic import op

revision = "1.4"
down_revision = "1.3"


def upgrade() -> None:
    """Make the table of accepted requests."""
    op.create_table(
        "evermodel_slack_request",
        sa.Column("signature_sha256", sa.String(64), primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
    )
