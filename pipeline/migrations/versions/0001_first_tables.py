"""The first tables: documents, paths, pages, runs, the ledger and what was read."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
SORTABLE = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "documents",
        sa.Column("id", ID, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("format", sa.String(length=16), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("n_pages", sa.Integer(), nullable=False),
        sa.Column("added_at", sa.Float(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("freed", sa.Boolean(), nullable=False),
        sa.Column("replaced_at", sa.Float()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_documents")),
        sa.UniqueConstraint("sha256", name=op.f("uq_documents_sha256")),
    )
    op.create_index(
        op.f("ix_documents_reason"),
        "documents",
        ["reason"],
        sqlite_where=sa.text("reason IS NOT NULL"),
        postgresql_where=sa.text("reason IS NOT NULL"),
    )
    op.create_index(
        op.f("ix_documents_replaced_at"),
        "documents",
        ["replaced_at"],
        sqlite_where=sa.text("replaced_at IS NOT NULL"),
        postgresql_where=sa.text("replaced_at IS NOT NULL"),
    )
    op.create_table(
        "runs",
        sa.Column("id", ID, nullable=False),
        sa.Column("started_at", sa.Float(), nullable=False),
        sa.Column("detector_sha256", sa.String(length=64), nullable=False),
        sa.Column("classifier_sha256", sa.String(length=64), nullable=False),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
    )
    op.create_index(
        op.f("ix_runs_detector_sha256_classifier_sha256"), "runs", ["detector_sha256", "classifier_sha256"]
    )
    op.create_table(
        "pages",
        sa.Column("id", ID, nullable=False),
        sa.Column("document_id", ID, nullable=False),
        sa.Column("page_index", sa.Integer(), nullable=False),
        sa.Column("member", sa.Text()),
        sa.Column("frame", sa.Integer(), nullable=False),
        sa.Column("width", sa.Integer()),
        sa.Column("height", sa.Integer()),
        sa.ForeignKeyConstraint(["document_id"], ["documents.id"], name=op.f("fk_pages_document_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pages")),
        sa.UniqueConstraint("document_id", "page_index", name=op.f("uq_pages_document_id_page_index")),
    )
    op.create_table(
        "paths",
        sa.Column("document_id", ID, nullable=False),
        sa.Column("path", SORTABLE, nullable=False),
        sa.Column("seen_at", sa.Float(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("modified_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["document_id"], ["documents.id"], name=op.f("fk_paths_document_id")),
        sa.PrimaryKeyConstraint("document_id", "path", name=op.f("pk_paths")),
    )
    op.create_index(op.f("ix_paths_path"), "paths", ["path"])
    op.create_table(
        "ledger",
        sa.Column("id", ID, nullable=False),
        sa.Column("page_id", ID, nullable=False),
        sa.Column("run_id", ID, nullable=False),
        sa.Column("current", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("failed_in", sa.String(length=8)),
        sa.Column("reason", sa.Text()),
        sa.Column("suspect", sa.Boolean(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("queued", sa.Boolean(), nullable=False),
        sa.Column("attempt_token", sa.String(length=32)),
        sa.Column("lease_until", sa.Float(), nullable=False),
        sa.Column("blob", sa.Text()),
        sa.Column("scale", sa.Float()),
        sa.Column("turned", sa.Integer(), nullable=False),
        sa.Column("n_digits", sa.Integer(), nullable=False),
        sa.Column("n_numbers", sa.Integer(), nullable=False),
        sa.Column("finished_at", sa.Float()),
        sa.ForeignKeyConstraint(["page_id"], ["pages.id"], name=op.f("fk_ledger_page_id")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_ledger_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger")),
        sa.UniqueConstraint("page_id", "run_id", name=op.f("uq_ledger_page_id_run_id")),
    )
    op.create_index(
        op.f("ix_ledger_blob"),
        "ledger",
        ["blob"],
        sqlite_where=sa.text("blob IS NOT NULL"),
        postgresql_where=sa.text("blob IS NOT NULL"),
    )
    op.create_index("ix_ledger_counts", "ledger", ["current", "state", "n_digits", "n_numbers"])
    op.create_index(
        "ix_ledger_current",
        "ledger",
        ["page_id"],
        unique=True,
        sqlite_where=sa.text("current"),
        postgresql_where=sa.text("current"),
    )
    op.create_index("ix_ledger_due", "ledger", ["state", "suspect", "lease_until", "id"])
    op.create_index("ix_ledger_finished_at", "ledger", ["finished_at"])
    op.create_table(
        "detections",
        sa.Column("ledger_id", ID, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("x0", sa.Float(), nullable=False),
        sa.Column("y0", sa.Float(), nullable=False),
        sa.Column("x1", sa.Float(), nullable=False),
        sa.Column("y1", sa.Float(), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["ledger_id"], ["ledger.id"], name=op.f("fk_detections_ledger_id")),
        sa.PrimaryKeyConstraint("ledger_id", "position", name=op.f("pk_detections")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "numbers",
        sa.Column("ledger_id", ID, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("text", SORTABLE, nullable=False),
        sa.Column("sort_key", SORTABLE, nullable=False),
        sa.Column("confidence", sa.Float(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("x0", sa.Float(), nullable=False),
        sa.Column("y0", sa.Float(), nullable=False),
        sa.Column("x1", sa.Float(), nullable=False),
        sa.Column("y1", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["ledger_id"], ["ledger.id"], name=op.f("fk_numbers_ledger_id")),
        sa.PrimaryKeyConstraint("ledger_id", "position", name=op.f("pk_numbers")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_numbers_confidence"), "numbers", ["confidence"])
    op.create_index(op.f("ix_numbers_sort_key"), "numbers", ["sort_key"])
    op.create_index(op.f("ix_numbers_text"), "numbers", ["text"])
    op.create_table(
        "readings",
        sa.Column("ledger_id", ID, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("digit", sa.Integer()),
        sa.Column("confidence", sa.Float(), nullable=False),
        sa.Column("runners_up", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer()),
        sa.Column("place", sa.Integer()),
        sa.ForeignKeyConstraint(["ledger_id"], ["ledger.id"], name=op.f("fk_readings_ledger_id")),
        sa.PrimaryKeyConstraint("ledger_id", "position", name=op.f("pk_readings")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Drop the tables, those that refer to others first."""
    for table in ("numbers", "readings", "detections", "ledger", "runs", "pages", "paths", "documents"):
        op.drop_table(table)
