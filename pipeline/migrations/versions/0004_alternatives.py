"""Alternatives: what else a number may be, and how likely each is."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Let a number have other readings; those that were read before have none."""
    op.add_column("numbers", sa.Column("alternatives", sa.Text(), server_default="[]", nullable=False))


def downgrade() -> None:
    """Take them away again."""
    op.drop_column("numbers", "alternatives")
