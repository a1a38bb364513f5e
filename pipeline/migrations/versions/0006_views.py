"""Views for people's own SQL: what stands in current runs, by names and columns that stay.

`pipeline/views.py` says what each column means.  A script after this one that changes a table below must take
the views away before and make them again: on both databases they hold on to its columns.
"""

from alembic import op

revision = "0006"
down_revision = "0005"

# SQLite takes current runs for rare and would begin with them, if it could use their index
_CURRENT = {"sqlite": "coalesce(ledger.current, 0)", "postgresql": "ledger.current"}
_TIME = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%S', {0}, 'unixepoch')",
    "postgresql": "to_char(to_timestamp({0}) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')",
}
# a cast of anything else is 0 on SQLite, and an error on PostgreSQL
_AMOUNT = {
    "sqlite": "CASE WHEN {0} GLOB '[0-9]*' AND {0} NOT GLOB '*[^0-9.]*' THEN CAST({0} AS NUMERIC) END",
    "postgresql": "CASE WHEN {0} ~ '^[0-9]+([.][0-9]+)?$' THEN CAST({0} AS NUMERIC) END",
}
_PATH = """(SELECT paths.path FROM paths WHERE paths.document_id = documents.id
    ORDER BY paths.seen_at DESC, paths.path LIMIT 1)"""
_AS_IT_IS = {"no_parameters": True}
_RECORD = "CAST(records.ledger_id AS TEXT) || '.' || CAST(records.position + 1 AS TEXT)"


def _statements(dialect: str) -> dict[str, str]:
    time, amount = _TIME[dialect].format, _AMOUNT[dialect].format
    where = f"""documents.id AS document_id, {_PATH} AS document,
  ledger.page_id AS page_id, pages.page_index + 1 AS page"""
    to_pages = f"""JOIN pages ON pages.id = ledger.page_id
JOIN documents ON documents.id = pages.document_id
WHERE {_CURRENT[dialect]} AND documents.replaced_at IS NULL"""
    return {
        "v_documents": f"""SELECT documents.id AS document_id, {_PATH} AS document,
  documents.sha256 AS sha256, documents.format AS format, documents.size_bytes AS size_bytes,
  documents.n_pages AS n_pages, {time("documents.added_at")} AS added_at, documents.reason AS reason
FROM documents
WHERE documents.replaced_at IS NULL""",
        "v_pages": f"""SELECT {where},
  pages.member AS member, pages.width AS width, pages.height AS height, ledger.turned AS turned,
  ledger.kind AS kind, ledger.kind_confidence AS kind_confidence, ledger.state AS state,
  ledger.reason AS reason, ledger.n_digits AS n_digits, ledger.n_numbers AS n_numbers,
  {time("ledger.finished_at")} AS finished_at, ledger.run_id AS run_id
FROM ledger
{to_pages}""",
        "v_numbers": f"""SELECT numbers.text AS number, {amount("numbers.text")} AS amount,
  numbers.confidence AS confidence, {where}, numbers.line + 1 AS line, numbers.position AS position,
  numbers.x0 AS x0, numbers.y0 AS y0, numbers.x1 AS x1, numbers.y1 AS y1,
  ledger.kind AS kind, ledger.run_id AS run_id
FROM numbers
JOIN ledger ON ledger.id = numbers.ledger_id
{to_pages}""",
        "v_records": f"""SELECT {_RECORD} AS record, {where}, records.position + 1 AS row,
  forms.name AS form, ledger.kind AS kind, records.confidence AS confidence, records.flagged AS flagged,
  ledger.run_id AS run_id
FROM records
JOIN forms ON forms.id = records.form_id
JOIN ledger ON ledger.id = records.ledger_id
{to_pages}""",
        "v_fields": f"""SELECT {_RECORD} AS record, {where}, records.position + 1 AS row,
  forms.name AS form, fields.name AS field, fields.text AS text, fields.value AS value,
  {amount("fields.value")} AS amount, fields.confidence AS confidence, fields.made_by AS made_by,
  fields.replaced AS replaced, fields.flag AS flag,
  fields.x0 AS x0, fields.y0 AS y0, fields.x1 AS x1, fields.y1 AS y1,
  ledger.kind AS kind, ledger.run_id AS run_id
FROM fields
JOIN records ON records.ledger_id = fields.ledger_id AND records.position = fields.record
JOIN forms ON forms.id = records.form_id
JOIN ledger ON ledger.id = fields.ledger_id
{to_pages}""",
        "v_corrections": f"""SELECT corrections.id AS correction_id, documents.id AS document_id,
  {_PATH} AS document, corrections.page_id AS page_id, pages.page_index + 1 AS page,
  corrections.field AS field, corrections.text AS text, corrections.was AS was, corrections.who AS who,
  {time("corrections.made_at")} AS made_at, corrections.place AS place
FROM corrections
JOIN pages ON pages.id = corrections.page_id
JOIN documents ON documents.id = pages.document_id
WHERE documents.replaced_at IS NULL""",
    }


def upgrade() -> None:
    """Make the views."""
    for name, query in _statements(op.get_bind().dialect.name).items():
        # as it is: no colon or percent sign in it is a parameter
        op.get_bind().exec_driver_sql(f"CREATE VIEW {name} AS\n{query}", execution_options=_AS_IT_IS)


def downgrade() -> None:
    """Take them away again."""
    for name in _statements(op.get_bind().dialect.name):
        op.execute(f"DROP VIEW {name}")
