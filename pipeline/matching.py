"""What people write for documents and numbers (a path, its end, a pattern, a hash) as SQL conditions."""

import os
from collections.abc import Iterator

from sqlalchemy import ColumnElement, Connection, Select, false, func, or_, select

from pipeline.errors import UsageError
from pipeline.paths import path_to_text, printable
from pipeline.tables import documents, ledger, paths

MIN_HASH_LENGTH = 6  # a shorter one names too many documents by chance
N_NAMED = 5  # how many of several documents a message names


def documents_meant(conn: Connection, spec: str) -> Select[int]:
    """Return a query for the ids of the documents that `spec` means.

    The first of these that any document answers to: a path or a folder; the end of a path, where `*` and `?`
    stand for what they do in a shell; a folder by the end of its path; the start of a sha256 (6 figures or
    more); an id.  One that was replaced answers to these two only.  Raises UsageError where there is none.
    """
    for condition in _meanings(conn.dialect.name, spec):
        query = select(documents.c.id).join(paths, paths.c.document_id == documents.c.id).where(condition)
        if conn.execute(query.limit(1)).first() is not None:
            return query
    raise UsageError(f"no document {printable(spec)!r} is in the archive; `archive query` shows their paths")


def one_document(conn: Connection, spec: str) -> tuple[int, str]:
    """Return the id of the one document that `spec` means, and a path of it for messages.

    Raises UsageError where there is none, or several (naming them).
    """
    meant = documents_meant(conn, spec)
    rows = conn.execute(
        select(documents.c.id, documents.c.sha256, paths.c.path)
        .join(paths, paths.c.document_id == documents.c.id)
        .where(documents.c.id.in_(meant))
        .order_by(documents.c.id, paths.c.seen_at)
    )
    found: dict[int, tuple[str, str]] = {}
    for row in rows:
        found[row.id] = (row.sha256, row.path)
        if len(found) > N_NAMED:
            break
    if len(found) > 1:
        named = ", ".join(
            f"{printable(path)} ({sha256[:8]})" for sha256, path in list(found.values())[:N_NAMED]
        )
        more = " and more" if len(found) > N_NAMED else ""
        raise UsageError(f"{printable(spec)!r} means several documents: {named}{more}; give more of the path")
    document_id, (_, path) = next(iter(found.items()))
    return document_id, printable(path)


def is_shown() -> ColumnElement[bool]:
    """Return the condition for the current run of a page.

    Nearly every row is current, but SQLite takes it for rare and begins with it: it may not use the index.
    """
    return func.coalesce(ledger.c.current, false())


def is_replaced(document_id: ColumnElement[int]) -> ColumnElement[bool]:
    """Return the condition that a document's only path names another one now: out of sight, but kept."""
    return document_id.in_(select(documents.c.id).where(documents.c.replaced_at.is_not(None)))


def starts_with(column: ColumnElement[str], prefix: str) -> ColumnElement[bool]:
    """Return the condition that a text in byte order starts with `prefix`; unlike LIKE it uses the index."""
    last = ord(prefix[-1]) + 1
    after = chr(0xE000 if last == 0xD800 else last) if last < 0x110000 else None
    condition = column >= prefix
    return condition if after is None else condition & (column < prefix[:-1] + after)


def glob(column: ColumnElement[str], pattern: str, dialect: str) -> ColumnElement[bool]:
    """Return the condition that a text matches `pattern`: `*` any run of characters, `?` any one."""
    if dialect == "sqlite":  # its LIKE takes A for a
        return column.op("GLOB", is_comparison=True)(pattern.replace("[", "[[]"))
    escaped = "".join("\\" + char if char in "\\%_" else char for char in pattern)
    return column.like(escaped.replace("*", "%").replace("?", "_"), escape="\\")


def _meanings(dialect: str, spec: str) -> Iterator[ColumnElement[bool]]:
    whole = path_to_text(os.path.abspath(spec))  # noqa: PTH100  Path.absolute() keeps `..`
    there = documents.c.replaced_at.is_(None)  # a path means what is there now
    yield there & or_(paths.c.path == whole, starts_with(paths.c.path, whole.rstrip("/") + "/"))
    end = path_to_text(spec).removeprefix("./").rstrip("/")
    if end:
        ways = ("", "*/") if "*" in end or "?" in end else ("*/",)
        yield there & or_(*(glob(paths.c.path, way + end, dialect) for way in ways))
        yield there & glob(paths.c.path, f"*/{end}/*", dialect)
    if len(spec) >= MIN_HASH_LENGTH and set(spec.lower()) <= set("0123456789abcdef"):
        yield starts_with(documents.c.sha256, spec.lower())
    if spec.isascii() and spec.isdigit() and len(spec) < 19:
        yield documents.c.id == int(spec)
