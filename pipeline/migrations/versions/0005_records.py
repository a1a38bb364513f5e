"""Records: frames of pages, forms, rows of registers with their fields, and what people corrected."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_SORTABLE = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "forms",
        sa.Column("id", _ID, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("name", _SORTABLE, nullable=False),
        sa.Column("form", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("added_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_forms"),
        sa.UniqueConstraint("sha256", name="uq_forms_sha256"),
    )
    op.create_table(
        "frames",
        sa.Column("ledger_id", _ID, nullable=False),
        sa.Column("corners", sa.Text(), nullable=False),
        sa.Column("rules", sa.Text(), nullable=False),
        sa.Column("printed", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["ledger_id"], ["ledger.id"], name="fk_frames_ledger_id"),
        sa.PrimaryKeyConstraint("ledger_id", name="pk_frames"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "records",
        sa.Column("ledger_id", _ID, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("form_id", _ID, nullable=False),
        sa.Column("start", sa.Float(), nullable=False),
        sa.Column("end", sa.Float(), nullable=False),
        sa.Column("confidence", sa.Float(), nullable=False),
        sa.Column("flagged", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["ledger_id"], ["ledger.id"], name="fk_records_ledger_id"),
        sa.ForeignKeyConstraint(["form_id"], ["forms.id"], name="fk_records_form_id"),
        sa.PrimaryKeyConstraint("ledger_id", "position", name="pk_records"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_records_form_id", "records", ["form_id"])
    op.create_index("ix_records_confidence", "records", ["confidence"])
    op.create_index(
        "ix_records_flagged",
        "records",
        ["ledger_id"],
        sqlite_where=sa.text("flagged"),
        postgresql_where=sa.text("flagged"),
    )
    op.create_table(
        "fields",
        sa.Column("ledger_id", _ID, nullable=False),
        sa.Column("record", sa.Integer(), nullable=False),
        sa.Column("name", _SORTABLE, nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("text", _SORTABLE, nullable=False),
        sa.Column("value", _SORTABLE, nullable=False),
        sa.Column("sort_key", _SORTABLE, nullable=False),
        sa.Column("confidence", sa.Float(), nullable=False),
        sa.Column("made_by", sa.String(length=8), nullable=False),
        sa.Column("replaced", sa.Text()),
        sa.Column("flag", sa.Text()),
        sa.Column("x0", sa.Float()),
        sa.Column("y0", sa.Float()),
        sa.Column("x1", sa.Float()),
        sa.Column("y1", sa.Float()),
        sa.Column("numbers", sa.Text(), nullable=False),
        sa.Column("members", sa.Text(), nullable=False),
        sa.Column("alternatives", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["ledger_id", "record"],
            ["records.ledger_id", "records.position"],
            name="fk_fields_ledger_id_record",
        ),
        sa.PrimaryKeyConstraint("ledger_id", "record", "name", name="pk_fields"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_fields_name_text", "fields", ["name", "text"])
    op.create_index("ix_fields_name_sort_key", "fields", ["name", "sort_key"])
    op.create_table(
        "corrections",
        sa.Column("id", _ID, nullable=False),
        sa.Column("page_id", _ID, nullable=False),
        sa.Column("field", _SORTABLE, nullable=False),
        sa.Column("place", sa.Float(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("was", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("made_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["page_id"], ["pages.id"], name="fk_corrections_page_id"),
        sa.PrimaryKeyConstraint("id", name="pk_corrections"),
    )
    op.create_index("ix_corrections_page_id", "corrections", ["page_id"])


def downgrade() -> None:
    """Take them away again."""
    for table in ("corrections", "fields", "records", "frames", "forms"):
        op.drop_table(table)
