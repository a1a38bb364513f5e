"""Many new documents at once: what `catalogue.add_document` does for one, in a handful of statements.

Only the usual case: bytes and paths that nobody knows.  Whatever else it is goes one by one.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row

from pipeline import inserts
from pipeline.catalogue import Added, add_document, document_values
from pipeline.paths import path_to_text

if TYPE_CHECKING:  # it brings NumPy and Pillow
    from pipeline.sources import Document

_MANY = 1000  # values in one condition: old SQLite takes no more
_TICK_S = 1e-6  # between two documents, so that of two with one path the later one was seen later


def add_documents(
    conn: Connection, found: Sequence["Document"], run_id: int, *, again: bool, now: float
) -> list[Added]:
    """Insert documents, their paths and pages, and a waiting ledger row for each page that has none.

    Returns what became of each, in order; with `again` as `add_document` does.
    """
    texts = [path_to_text(document.path) for document in found]
    met = _known_paths(conn, texts)
    fresh: dict[int, tuple[str, Document]] = {}  # path and document, by place in `found`
    for place, (text, document) in enumerate(zip(texts, found, strict=True)):
        if text not in met and document.sha256 not in met:
            fresh[place] = text, document
        met |= {text, document.sha256}
    id_of = _insert(conn, list(fresh.values()), run_id, now)
    return [
        Added(id_of[document.sha256], len(document.pages), known=False)
        if place in fresh and document.sha256 in id_of
        else add_document(conn, document, run_id, again=again, now=now + place * _TICK_S)
        for place, document in enumerate(found)
    ]


def _known_paths(conn: Connection, texts: Sequence[str]) -> set[str]:
    known = inserts.known_paths(conn.dialect.name)
    return {text for some in _some(texts) for text in conn.scalars(known, {"of_paths": some})}


def _insert(
    conn: Connection, fresh: Sequence[tuple[str, "Document"]], run_id: int, now: float
) -> dict[str, int]:
    """Insert documents with their paths, which nobody knows; return the ids, by hash, of the new ones.

    The others' bytes were known, or another process was faster.
    """
    made = _execute(conn, inserts.insert_documents, [document_values(document, now) for _, document in fresh])
    id_of = {row.sha256: int(row.id) for row in made}
    new = [(id_of[document.sha256], text, document) for text, document in fresh if document.sha256 in id_of]
    path_rows = [
        {
            "document_id": id_,
            "path": text,
            "seen_at": now,
            "size_bytes": document.size_bytes,
            "modified_at": document.modified_at,
        }
        for id_, text, document in new
    ]
    page_rows = [
        {"document_id": id_, "page_index": page.page_index, "member": page.member, "frame": page.frame}
        for id_, _, document in new
        for page in document.pages
    ]
    _execute(conn, inserts.insert_new_paths, path_rows)
    _execute(conn, inserts.insert_new_pages, page_rows)
    rows_of = inserts.insert_new_ledger_rows(conn.dialect.name)
    for some in _some([id_ for id_, _, _ in new]):
        conn.execute(rows_of, {"of_documents": some, "run_id": run_id})
    return id_of


def _execute(
    conn: Connection, statement: Callable[[str], Any], rows: Sequence[Mapping[str, Any]]
) -> Iterable[Row[Any]]:
    """Run an INSERT of many rows; return what it returns."""
    if not rows:
        return []
    dialect = conn.dialect.name
    return conn.execute(statement(dialect), inserts.many(dialect, rows))


def _some(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (values[start : start + _MANY] for start in range(0, len(values), _MANY))
