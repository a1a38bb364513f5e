"""Marks: the points, commas and dashes between digits, and numbers as they are written."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_CURRENT = {"sqlite": "coalesce(ledger.current, 0)", "postgresql": "ledger.current"}
_AMOUNT = {
    "sqlite": "CASE WHEN {0} GLOB '[0-9]*' AND {0} NOT GLOB '*[^0-9.]*' THEN CAST({0} AS NUMERIC) END",
    "postgresql": "CASE WHEN {0} ~ '^[0-9]+([.][0-9]+)?$' THEN CAST({0} AS NUMERIC) END",
}
_AS_IT_IS = {"no_parameters": True}


def _make_view(written: str = "") -> None:
    dialect = op.get_bind().dialect.name
    query = f"""SELECT numbers.text AS number, {_AMOUNT[dialect].format("numbers.text")} AS amount,
  numbers.confidence AS confidence, documents.id AS document_id,
  (SELECT paths.path FROM paths WHERE paths.document_id = documents.id
    ORDER BY paths.seen_at DESC, paths.path LIMIT 1) AS document,
  ledger.page_id AS page_id, pages.page_index + 1 AS page,
  numbers.line + 1 AS line, numbers.position AS position,
  numbers.x0 AS x0, numbers.y0 AS y0, numbers.x1 AS x1, numbers.y1 AS y1,
  ledger.kind AS kind, ledger.run_id AS run_id{written}
FROM numbers
JOIN ledger ON ledger.id = numbers.ledger_id
JOIN pages ON pages.id = ledger.page_id
JOIN documents ON documents.id = pages.document_id
WHERE {_CURRENT[dialect]} AND documents.replaced_at IS NULL"""
    # where it is there still it is replaced, so that who may read it still may
    create = "CREATE VIEW" if dialect == "sqlite" else "CREATE OR REPLACE VIEW"
    # as it is: no colon or percent sign in it is a parameter
    op.get_bind().exec_driver_sql(f"{create} v_numbers AS\n{query}", execution_options=_AS_IT_IS)


def upgrade() -> None:
    """Let digits have marks behind them; of those that were read before none are known."""
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP VIEW v_numbers")
    op.add_column("detections", sa.Column("mark", sa.String(1)))
    op.add_column("numbers", sa.Column("written", sa.Text()))
    _make_view(", numbers.written AS written")


def downgrade() -> None:
    """Take them away again."""
    op.execute("DROP VIEW v_numbers")
    op.drop_column("numbers", "written")
    op.drop_column("detections", "mark")
    _make_view()
