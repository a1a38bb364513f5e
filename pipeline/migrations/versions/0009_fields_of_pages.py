"""An index that says of a page whether a field of it has a value, and lets pages without be passed over."""

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Make it."""
    op.create_index("ix_fields_ledger_id_name_sort_key", "fields", ["ledger_id", "name", "sort_key"])


def downgrade() -> None:
    """Take it away."""
    op.drop_index("ix_fields_ledger_id_name_sort_key", "fields")
