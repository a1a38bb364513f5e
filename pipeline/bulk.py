"""Many new documents at once: what `catalogue.add_document` does for one, in a handful of statements.

Only the usual case: bytes and paths that nobody knows.  Whatever else it is goes one by one.
"""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, bindparam, insert, select

from pipeline import inserts
from pipeline.catalogue import Added, add_document, document_values
from pipeline.paths import path_to_text
from pipeline.tables import documents, pages, paths

if TYPE_CHECKING:  # it brings NumPy and Pillow
    from pipeline.sources import Document

_MANY = 1000  # values in one condition


def add_documents(
    conn: Connection, found: Sequence["Document"], run_id: int, *, again: bool, now: float
) -> list[Added]:
    """Insert documents, their paths and pages, and a waiting ledger row for each page that has none.

    Returns what became of each, in order; with `again` as `add_document` does.
    """
    texts = [path_to_text(document.path) for document in found]
    hashes = [document.sha256 for document in found]
    twice = {key for keys in (texts, hashes) for key, n in Counter(keys).items() if n > 1}
    known = _known(conn, documents.c.sha256, hashes) | _known(conn, paths.c.path, texts) | twice
    fresh = [k for k in range(len(found)) if hashes[k] not in known and texts[k] not in known]
    ids = _insert(conn, [found[k] for k in fresh], [texts[k] for k in fresh], run_id, now)
    new = {k: id_ for k, id_ in zip(fresh, ids, strict=True) if id_ is not None}
    return [
        Added(new[k], len(document.pages), known=False)
        if k in new
        else add_document(conn, document, run_id, again=again, now=now)
        for k, document in enumerate(found)
    ]


def _known(conn: Connection, column: Any, values: Sequence[str]) -> set[str]:
    """Return which of these values the column has."""
    found: set[str] = set()
    for start in range(0, len(values), _MANY):
        some = {"values": list(values[start : start + _MANY])}
        found |= set(
            conn.scalars(select(column).where(column.in_(bindparam("values", expanding=True))), some)
        )
    return found


def _insert(
    conn: Connection, found: Sequence["Document"], texts: Sequence[str], run_id: int, now: float
) -> list[int | None]:
    """Insert documents that nobody knows; return their ids, None where another process was faster."""
    if not found:
        return []
    rows = [document_values(document, now) for document in found]
    made = conn.execute(inserts.insert_documents(conn.dialect.name), rows)
    id_of = {row.sha256: int(row.id) for row in made}
    ids = [id_of.get(document.sha256) for document in found]
    mine = [(id_, document, text) for id_, document, text in zip(ids, found, texts, strict=True) if id_]
    page_rows = [
        {"document_id": id_, "page_index": page.page_index, "member": page.member, "frame": page.frame}
        for id_, document, _ in mine
        for page in document.pages
    ]
    path_rows = [
        {
            "document_id": id_,
            "path": text,
            "seen_at": now,
            "size_bytes": document.size_bytes,
            "modified_at": document.modified_at,
        }
        for id_, document, text in mine
    ]
    if page_rows:
        conn.execute(insert(pages), page_rows)
    if path_rows:
        conn.execute(insert(paths), path_rows)
    for start in range(0, len(mine), _MANY):
        some = [id_ for id_, _, _ in mine[start : start + _MANY]]
        conn.execute(inserts.insert_new_ledger_rows(), {"of_documents": some, "run_id": run_id})
    return ids
