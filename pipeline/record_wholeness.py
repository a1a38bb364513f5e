"""Whether the records of pages are whole: each has the fields of its form, and forms are what was applied."""

import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Row, and_, case, func, literal, or_, select

from pipeline.exports import newest_path
from pipeline.forms import form_hash, form_of
from pipeline.matching import is_shown
from pipeline.paths import printable
from pipeline.records import PAGE
from pipeline.scope import ROWS, Problem, Scope, of_page, streamed
from pipeline.tables import fields, forms, ledger, page_forms, pages, records

_APPLY_AGAIN = "apply the form again: archive form apply"


def broken_records(conn: Connection, scope: Scope) -> Iterator[Problem]:
    """Yield what is wrong with records and forms, and with which form a page has."""
    yield from _records(conn, scope)
    yield from _page_forms(conn, scope)


def _records(conn: Connection, scope: Scope) -> Iterator[Problem]:
    """Yield records that lack fields of their form, and forms that are no longer what was applied."""
    of_forms = {row.id: (row.name, _form_sizes(row)) for row in conn.execute(select(forms))}
    for name, sizes in of_forms.values():
        if sizes is None:
            found = f"form {printable(name)} is no longer what was applied"
            yield Problem(ROWS, None, None, found, "apply it again from its file: archive form apply")
    n_fields = (
        select(fields.c.ledger_id, fields.c.record, func.count().label("n"))
        .where(scope.ledger_rows(conn, fields.c.ledger_id))
        .group_by(fields.c.ledger_id, fields.c.record)
        .subquery()
    )
    known = {form_id: sizes for form_id, (_, sizes) in of_forms.items() if sizes is not None}
    expected = (
        case(
            *(
                (
                    records.c.form_id == form_id,
                    case((records.c.position == PAGE, n_once), else_=n_columns),
                )
                for form_id, (n_columns, n_once) in known.items()
            ),
            else_=-1,
        )
        if known
        else literal(-1)
    )
    there = func.coalesce(n_fields.c.n, 0)
    is_known = records.c.form_id.in_(list(of_forms))
    lacking = and_(records.c.form_id.in_(list(known)), there != expected)
    wrong = (
        select(
            records.c.position,
            records.c.form_id,
            there.label("n"),
            case((is_known, expected), else_=-1).label("expected"),
            pages.c.page_index,
            newest_path(pages.c.document_id),
        )
        .select_from(
            records.join(ledger, ledger.c.id == records.c.ledger_id)
            .join(pages, pages.c.id == ledger.c.page_id)
            .outerjoin(
                n_fields,
                and_(n_fields.c.ledger_id == records.c.ledger_id, n_fields.c.record == records.c.position),
            )
        )
        .where(is_shown(), or_(~is_known, lacking), scope.documents(conn, pages.c.document_id))
        .order_by(pages.c.document_id, pages.c.page_index, records.c.position)
    )
    for row in streamed(conn, wrong):
        what = "the record of the page" if row.position == PAGE else f"row {row.position + 1}"
        found = (
            f"the form of {what} is not there"
            if row.expected < 0
            else f"{what} has {row.n} of the {row.expected} fields of its form"
        )
        yield of_page(row, found, _APPLY_AGAIN)


def _page_forms(conn: Connection, scope: Scope) -> Iterator[Problem]:
    """Yield pages whose records are to be made by a form that is not there."""
    wrong = (
        select(pages.c.page_index, newest_path(pages.c.document_id))
        .distinct()
        .join(page_forms, page_forms.c.page_id == pages.c.id)
        .where(page_forms.c.form_id.not_in(select(forms.c.id)), scope.documents(conn, pages.c.document_id))
    )
    for row in streamed(conn, wrong):
        yield of_page(row, "is to have records by a form that is not there", _APPLY_AGAIN)


def _form_sizes(row: Row[Any]) -> tuple[int, int] | None:
    """Return how many columns and fields a form has; None where it is not the form of its hash."""
    try:
        form = form_of(json.loads(row.form))
    except (ValueError, KeyError, TypeError):
        return None
    return (len(form.columns), len(form.fields)) if form_hash(form) == row.sha256 else None
