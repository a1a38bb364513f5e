"""The form that a page's records are made by, whoever reads it: that of its kind, else the one for any kind.

Each function works in the caller's transaction.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, bindparam, delete, exists, func, select

from pipeline.forms import Form, form_of
from pipeline.inserts import upsert_page_forms
from pipeline.tables import forms, ledger, page_forms, pages

ANY = ""  # the kind that stands for all that have no form of their own
_THEIRS = (page_forms.c.page_id == ledger.c.page_id) & page_forms.c.kind.in_(
    (ANY, func.coalesce(ledger.c.kind, ANY))
)
# built once: building it takes longer than running it
_FORM_OF_ROW = (
    select(forms.c.id, forms.c.form)
    .join(page_forms, page_forms.c.form_id == forms.c.id)
    .join(ledger, _THEIRS)
    .where(ledger.c.id == bindparam("of_ledger"))
    .order_by(page_forms.c.kind.desc())
    .limit(1)
)


@dataclass(frozen=True, slots=True)
class KeptForm:
    """A form of the database."""

    form_id: int
    form: Form


def form_of_row(conn: Connection, ledger_id: int) -> KeptForm | None:
    """Return the form that a page's records are made by, by its row of the ledger; None where it has none."""
    row = conn.execute(_FORM_OF_ROW, {"of_ledger": ledger_id}).one_or_none()
    return None if row is None else KeptForm(row.id, form_of(json.loads(row.form)))


def form_id_of_row() -> ColumnElement[int]:
    """Return the form's id of a row of the ledger, for a query of these; null where its page has none."""
    its = select(page_forms.c.form_id).where(_THEIRS).order_by(page_forms.c.kind.desc()).limit(1)
    return its.correlate(ledger).scalar_subquery()


def has_form(page_id: ColumnElement[int] | int, kind: ColumnElement[Any] | str) -> ColumnElement[bool]:
    """Return the condition that a page has a form where it is of this kind."""
    return exists().where(page_forms.c.page_id == page_id, page_forms.c.kind.in_((ANY, kind)))


def give_to_documents(conn: Connection, document_ids: Sequence[int], form_ids: Mapping[str, int]) -> None:
    """Give every page of documents these forms, by kind, in the place of those that it had for these kinds.

    One for ANY kind takes the place of all.
    """
    _give(conn, pages.c.document_id, document_ids, form_ids)


def give_to_page(conn: Connection, page_id: int, form_ids: Mapping[str, int]) -> None:
    """Give a page forms, as `give_to_documents`; nothing where it is gone."""
    _give(conn, pages.c.id, (page_id,), form_ids)


def _give(conn: Connection, of: Column[Any], ids: Sequence[int], form_ids: Mapping[str, int]) -> None:
    if ANY in form_ids:
        theirs = select(pages.c.id).where(of.in_(ids))
        others = page_forms.c.kind.not_in(list(form_ids))
        conn.execute(delete(page_forms).where(page_forms.c.page_id.in_(theirs), others))
    upsert = upsert_page_forms(conn.dialect.name, of)
    for kind, form_id in form_ids.items():
        conn.execute(upsert, {"of_ids": list(ids), "of_kind": kind, "new_form": form_id})
