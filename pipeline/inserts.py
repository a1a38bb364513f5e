"""The statements with which ingest inserts, built once a process: building them costs more than running them.

The parameters are named as the columns are, `of_…` in conditions.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    JSON,
    Column,
    ColumnElement,
    Table,
    and_,
    any_,
    bindparam,
    column,
    delete,
    exists,
    func,
    insert,
    literal,
    not_,
    select,
    true,
    update,
)

from pipeline.tables import documents, forms, ledger, page_forms, pages, paths, runs

DOCUMENT_OF_BYTES = select(documents.c.id, documents.c.n_pages).where(
    documents.c.sha256 == bindparam("of_sha256")
)
NEWEST_OF_PATH = (
    select(
        paths.c.document_id,
        paths.c.size_bytes,
        paths.c.modified_at,
        documents.c.n_pages,
        documents.c.reason,
        documents.c.freed,
    )
    .join(documents, documents.c.id == paths.c.document_id)
    .where(paths.c.path == bindparam("of_path"))
    .order_by(paths.c.seen_at.desc())
    .limit(1)
)
PAGES_FOUND = (
    update(documents)
    .where(documents.c.id == bindparam("of_document"))
    .values(n_pages=bindparam("n_pages"), format=bindparam("format"), reason=None, freed=False)
)
OTHERS_OF_PATH = select(paths.c.document_id).where(
    paths.c.path == bindparam("of_path"), paths.c.document_id != bindparam("of_document")
)

_elsewhere = paths.alias()
_has_pages = exists().where(pages.c.document_id == bindparam("of_document"))
_is_last = not_(
    exists().where(
        _elsewhere.c.document_id == bindparam("of_document"), _elsewhere.c.path != bindparam("of_path")
    )
)
# A document with pages never loses its last path: it is where its numbers came from.
FORGET_PATH = delete(paths).where(
    paths.c.document_id == bindparam("of_document"),
    paths.c.path == bindparam("of_path"),
    not_(and_(_has_pages, _is_last)),
)
# It is replaced where the path that it keeps names another document now …
REPLACED = (
    update(documents)
    .where(
        documents.c.id == bindparam("of_document"),
        documents.c.replaced_at.is_(None),
        exists().where(paths.c.document_id == bindparam("of_document"), paths.c.path == bindparam("of_path")),
    )
    .values(replaced_at=bindparam("replaced_at"))
)
# … and back once its bytes are found again, perhaps under another path, which is then its only one.
BACK = (
    update(documents)
    .where(documents.c.id == bindparam("of_document"), documents.c.replaced_at.is_not(None))
    .values(replaced_at=None)
)
FORGET_OTHER_PATHS = delete(paths).where(
    paths.c.document_id == bindparam("of_document"), paths.c.path != bindparam("of_path")
)
# A file that gave no page and was mended or replaced since is no failure any more.
FORGET_FAILURE = delete(documents).where(
    documents.c.id == bindparam("of_document"),
    not_(exists().where(paths.c.document_id == bindparam("of_document"))),
    not_(_has_pages),
)


@cache
def insert_document(dialect: str) -> Any:
    """Return the INSERT that gives the id of a new document, and nothing where its bytes are known."""
    return _insert(dialect, documents).on_conflict_do_nothing().returning(documents.c.id)


@cache
def insert_documents(dialect: str) -> Any:
    """Return the INSERT of many that gives ids and hashes of those that are new; `many` has its rows."""
    new = _insert_many(dialect, documents, "sha256 format size_bytes n_pages added_at reason freed")
    # named, so that PostgreSQL looks into one index for them and not into each
    new = new.on_conflict_do_nothing(index_elements=["sha256"])
    return new.returning(documents.c.id, documents.c.sha256)


@cache
def known_paths(dialect: str) -> Any:
    """Return the SELECT of those of many paths that are known."""
    return select(paths.c.path).where(_one_of(dialect, paths.c.path, "of_paths"))


@cache
def insert_new_pages(dialect: str) -> Any:
    """Return the INSERT of the pages of documents that are new; `many` has its rows."""
    return _insert_many(dialect, pages, "document_id page_index member frame")


@cache
def insert_new_paths(dialect: str) -> Any:
    """Return the INSERT of the paths of documents that are new; `many` has its rows."""
    return _insert_many(dialect, paths, "document_id path seen_at size_bytes modified_at")


@cache
def insert_new_form(dialect: str) -> Any:
    """Return the INSERT of a form, which does nothing where it is known."""
    return _insert(dialect, forms).on_conflict_do_nothing(index_elements=[forms.c.sha256])


@cache
def upsert_page_forms(dialect: str, of: Column[Any]) -> Any:
    """Return the INSERT that gives pages a form for a kind: those where this column is one of `of_ids`."""
    values = {
        "page_id": pages.c.id,
        "kind": bindparam("of_kind", type_=page_forms.c.kind.type),
        "form_id": bindparam("new_form", type_=page_forms.c.form_id.type),
    }
    chosen = select(*values.values()).where(_one_of(dialect, of, "of_ids")).order_by(pages.c.id)
    upsert = _insert(dialect, page_forms).from_select(list(values), chosen)
    return upsert.on_conflict_do_update(
        index_elements=["page_id", "kind"],
        set_={"form_id": upsert.excluded.form_id},
        where=page_forms.c.form_id != upsert.excluded.form_id,
    )


def insert_rows(dialect: str, table: Table) -> Any:
    """Return the INSERT of rows with every column of a table; `many` has its rows."""
    return _insert_many(dialect, table, " ".join(table.c.keys()))


def many(dialect: str, rows: Sequence[Mapping[str, Any]]) -> Any:
    """Return the parameters of an INSERT of many: rows, or one JSON value of all of them.

    A parameter for each value of each row takes SQLAlchemy and the driver longer than PostgreSQL needs for
    the rows.
    """
    return rows if dialect == "sqlite" else {"rows": rows}


@cache
def insert_pages(dialect: str) -> Any:
    """Return the INSERT of a document's pages that leaves those alone that are there."""
    return _insert(dialect, pages).on_conflict_do_nothing()


@cache
def upsert_path(dialect: str) -> Any:
    """Return the INSERT of a path that renews the row of a known one."""
    upsert = _insert(dialect, paths)
    fresh = {name: upsert.excluded[name] for name in ("seen_at", "size_bytes", "modified_at")}
    return upsert.on_conflict_do_update(index_elements=["document_id", "path"], set_=fresh)


@cache
def insert_ledger_rows(dialect: str, *, only_new: bool) -> Any:
    """Return the INSERT of a row for each page of a document, in the state in which its run begins.

    `only_new` leaves out pages that have a row of any run, else those that have one of this run.
    """
    has_row = exists().where(ledger.c.page_id == pages.c.id)
    has_current = exists().where(ledger.c.page_id == pages.c.id, ledger.c.current)
    # the first row of a page is seen at once, a later one when it is done
    values = _first_row(not_(has_current))
    chosen = (
        select(*values.values())
        .where(pages.c.document_id == bindparam("of_document"))
        .order_by(pages.c.page_index)
    )
    if only_new:
        chosen = chosen.where(not_(has_row))
    return (
        _insert(dialect, ledger)
        .from_select(list(values), chosen)
        .on_conflict_do_nothing()
        .execution_options(preserve_rowcount=True)  # SQLAlchemy counts no inserts unless asked
    )


@cache
def insert_new_ledger_rows(dialect: str) -> Any:
    """Return the INSERT of a row for each page of documents that are new, as `insert_ledger_rows`."""
    values = _first_row(true())
    chosen = (
        select(*values.values())
        .where(_one_of(dialect, pages.c.document_id, "of_documents"))
        .order_by(pages.c.id)
    )
    return insert(ledger).from_select(list(values), chosen)


def _first_row(current: ColumnElement[bool]) -> dict[str, ColumnElement[Any]]:
    run_id = bindparam("run_id", type_=ledger.c.run_id.type)
    return {
        "page_id": pages.c.id,
        "run_id": run_id,
        "current": current,
        "state": select(runs.c.first_state).where(runs.c.id == run_id).scalar_subquery(),
        "suspect": literal(False),
        "attempts": literal(0),
        "queued": literal(False),
        "lease_until": literal(0.0),
        "turned": literal(0),
        "n_digits": literal(0),
        "n_numbers": literal(0),
    }


def _one_of(dialect: str, column: Column[Any], name: str) -> ColumnElement[bool]:
    """Return the condition that a column has one of the values of a list."""
    if dialect == "sqlite":
        return column.in_(bindparam(name, expanding=True))
    return column == any_(bindparam(name, type_=ARRAY(column.type)))


def _insert_many(dialect: str, table: Table, names: str) -> Any:
    insert_ = _insert(dialect, table)
    if dialect == "sqlite":
        return insert_
    typed = [column(name, table.c[name].type) for name in names.split()]
    rows = func.json_to_recordset(bindparam("rows", type_=JSON)).table_valued(*typed)
    rows = rows.render_derived(with_types=True)
    return insert_.from_select(names.split(), select(*rows.c))


def _insert(dialect: str, table: Table) -> Any:
    """Return an INSERT that knows ON CONFLICT; both dialects spell it the same way."""
    if dialect == "sqlite":
        from sqlalchemy.dialects import sqlite

        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql  # takes long, and most archives are SQLite

    return postgresql.insert(table)
