"""Which form the records of a page are made by, whoever reads it."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_SORTABLE = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the table; pages that have records keep their form."""
    op.create_table(
        "page_forms",
        sa.Column("page_id", _ID, nullable=False),
        sa.Column("kind", _SORTABLE, nullable=False),
        sa.Column("form_id", _ID, nullable=False),
        sa.ForeignKeyConstraint(["page_id"], ["pages.id"], name="fk_page_forms_page_id"),
        sa.ForeignKeyConstraint(["form_id"], ["forms.id"], name="fk_page_forms_form_id"),
        sa.PrimaryKeyConstraint("page_id", "kind", name="pk_page_forms"),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO page_forms (page_id, kind, form_id)"
        " SELECT ledger.page_id, '', max(records.form_id) FROM records"
        " JOIN ledger ON ledger.id = records.ledger_id WHERE ledger.current GROUP BY ledger.page_id"
    )


def downgrade() -> None:
    """Take it away again."""
    op.drop_table("page_forms")
