"""Kinds of pages: what a sorter or a person said, and runs that begin with sorting."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Let a page have a kind, and a run begin in another state than waiting."""
    op.add_column(
        "runs", sa.Column("first_state", sa.String(length=8), server_default="waiting", nullable=False)
    )
    sortable = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.add_column("ledger", sa.Column("kind", sortable))
    op.add_column("ledger", sa.Column("kind_confidence", sa.Float()))
    op.create_index(
        "ix_ledger_kind",
        "ledger",
        ["kind", "current", "state", "n_digits", "n_numbers"],
        sqlite_where=sa.text("kind IS NOT NULL"),
        postgresql_where=sa.text("kind IS NOT NULL"),
    )


def downgrade() -> None:
    """Take both away again."""
    op.drop_index("ix_ledger_kind", table_name="ledger")
    op.drop_column("ledger", "kind_confidence")
    op.drop_column("ledger", "kind")
    op.drop_column("runs", "first_state")
