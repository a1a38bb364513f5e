"""Pages that are done with their digits and numbers, for formats that have whole pages: current runs only.

They come in the order of documents and pages, a few hundred of them in memory at a time.
"""

from collections import defaultdict
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from os import fsencode
from pathlib import PurePosixPath
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, exists, func, select

from pipeline.catalogue import parts_of_run
from pipeline.exports import STREAM, in_batches, newest_path
from pipeline.finding import PageFilter, of_pages
from pipeline.matching import is_shown
from pipeline.page import Box, Number
from pipeline.paths import text_to_path
from pipeline.results import box_of
from pipeline.sorting import networks_by
from pipeline.tables import DONE, SKIPPED, detections, ledger, numbers, pages, readings, runs

EVERY_PAGE = PageFilter()


@dataclass(frozen=True, slots=True)
class ExportedDigit:
    """A digit of a page: `position` among its detections, that of its `number`, and its `place` in this."""

    position: int
    box: Box
    digit: int
    confidence: float
    score: float
    number: int | None
    place: int | None


@dataclass(frozen=True, slots=True)
class ExportedPage:
    """A page with its digits; rejected detections are left out."""

    image: str  # the file's name, or the member's in a ZIP
    path: str
    page_index: int  # from 0 in its image
    width: int
    height: int
    turned: int
    digits: tuple[ExportedDigit, ...]


@dataclass(frozen=True, slots=True)
class ArchivedPage(ExportedPage):
    """A page of the archive, also with where it is there and its numbers in reading order.

    The members of a number are the places of its digits in `digits`.
    """

    page_id: int
    document_id: int
    page: int  # from 1 in its document
    member: str | None  # its name inside a ZIP
    is_one_of_several: bool  # its image has other pages too
    kind: str | None
    ledger_id: int
    run_id: int
    finished_at: float  # seconds since 1970
    numbers: tuple[Number, ...]


@dataclass(frozen=True, slots=True)
class RunNetworks:
    """The networks of a run, SHA-256 by kind, and its other settings."""

    networks: dict[str, str]
    settings: dict[str, Any]

    def that_read(self, kind: str | None) -> dict[str, str]:
        """Return the networks that read pages of a kind; without one they are those of pages as such."""
        return self.networks if kind is None else self.networks | networks_by(self.settings, kind)


# built once: building them takes longer than running them
_DIGITS = (
    select(
        detections.c.ledger_id,
        detections.c.position,
        detections.c.x0,
        detections.c.y0,
        detections.c.x1,
        detections.c.y1,
        readings.c.digit,
        readings.c.confidence,
        detections.c.score,
        readings.c.number,
        readings.c.place,
    )
    .join(
        readings,
        (readings.c.ledger_id == detections.c.ledger_id) & (readings.c.position == detections.c.position),
    )
    .where(detections.c.ledger_id.in_(bindparam("of_ledgers", expanding=True)), readings.c.digit.is_not(None))
    .order_by(detections.c.ledger_id, detections.c.position)
)
_NUMBERS = (
    select(numbers)
    .where(numbers.c.ledger_id.in_(bindparam("of_ledgers", expanding=True)))
    .order_by(numbers.c.ledger_id, numbers.c.position)
)


def exported_pages(conn: Connection, wanted: PageFilter = EVERY_PAGE) -> Generator[ArchivedPage, None, None]:
    """Yield the pages that are asked for and done, in the order of documents and pages.

    Raises UsageError, before anything is asked of what it returns, for a document or kind that is not there.
    """
    return _exported(conn, _done_pages(conn, wanted))


def n_not_done(conn: Connection, wanted: PageFilter) -> int:
    """Count the pages asked for that no export has: they wait, failed, or a person has to say their kind."""
    query = (
        select(func.count())
        .select_from(ledger.join(pages, pages.c.id == ledger.c.page_id))
        .where(is_shown(), ledger.c.state.not_in((DONE, SKIPPED)))
        .where(*of_pages(conn, wanted, pages.c.document_id, ledger.c.kind))
    )
    return int(conn.execute(query).scalar_one())


def networks_of_runs(conn: Connection) -> dict[int, RunNetworks]:
    """Return the networks of every run by its id."""
    return {row.id: RunNetworks(*parts_of_run(row)) for row in conn.execute(select(runs))}


def _exported(conn: Connection, query: Select[Any]) -> Generator[ArchivedPage, None, None]:
    # closed even where the caller stops halfway: PostgreSQL keeps a cursor open for it
    with conn.execute(query, execution_options=STREAM) as rows:
        for batch in in_batches(rows, lambda row: int(row.n_digits)):
            yield from _with_digits(conn, batch)


def _done_pages(conn: Connection, wanted: PageFilter) -> Select[Any]:
    following = pages.alias()
    # the pages of an image follow one another, and the first of each is frame 0
    goes_on = exists().where(
        following.c.document_id == pages.c.document_id,
        following.c.page_index == pages.c.page_index + 1,
        following.c.frame == 1,
    )
    return (
        select(
            ledger.c.id,
            ledger.c.run_id,
            ledger.c.turned,
            ledger.c.kind,
            ledger.c.n_digits,
            ledger.c.finished_at,
            ledger.c.page_id,
            pages.c.document_id,
            pages.c.page_index,
            pages.c.member,
            pages.c.frame,
            pages.c.width,
            pages.c.height,
            goes_on.label("goes_on"),
            newest_path(pages.c.document_id),
        )
        .join(pages, pages.c.id == ledger.c.page_id)
        .where(is_shown(), ledger.c.state == DONE)
        .where(*of_pages(conn, wanted, pages.c.document_id, ledger.c.kind))
        .order_by(pages.c.document_id, pages.c.page_index)
    )


def _with_digits(conn: Connection, batch: Sequence[Row[Any]]) -> Iterator[ArchivedPage]:
    of_ledgers = {"of_ledgers": [row.id for row in batch]}
    digits: dict[int, list[ExportedDigit]] = {row.id: [] for row in batch}
    # unpacked: by their names the columns of ten million rows take a minute
    for ledger_id, position, x0, y0, x1, y1, *rest in conn.execute(_DIGITS, of_ledgers):
        digits[ledger_id].append(ExportedDigit(position, Box(x0, y0, x1, y1), *rest))
    of_page: dict[int, list[Row[Any]]] = {row.id: [] for row in batch}
    for row in conn.execute(_NUMBERS, of_ledgers):
        of_page[row.ledger_id].append(row)
    for row in batch:
        yield ArchivedPage(
            image=_file_name(row.path) if row.member is None else PurePosixPath(row.member).name,
            path=row.path,
            page_index=row.page_index if row.member is None else row.frame,
            width=row.width,
            height=row.height,
            turned=row.turned,
            digits=tuple(digits[row.id]),
            page_id=row.page_id,
            document_id=row.document_id,
            page=row.page_index + 1,
            member=row.member,
            is_one_of_several=row.frame > 0 or row.goes_on,
            kind=row.kind,
            ledger_id=row.id,
            run_id=row.run_id,
            finished_at=row.finished_at or 0.0,
            numbers=_numbers(of_page[row.id], digits[row.id]),
        )


def _numbers(rows: Sequence[Row[Any]], digits: Sequence[ExportedDigit]) -> tuple[Number, ...]:
    members: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for at, digit in enumerate(digits):
        if digit.number is not None and digit.place is not None:
            members[digit.number].append((digit.place, at))
    return tuple(
        Number(
            row.text,
            row.confidence,
            box_of(row),
            row.line,
            tuple(at for _, at in sorted(members[row.position])),
            written=row.written,
        )
        for row in rows
    )


def _file_name(path: str) -> str:
    r"""Return the name of the file at a path of the catalogue; what is no UTF-8 in it stays `\xNN`."""
    return fsencode(text_to_path(path).name).decode("utf-8", "backslashreplace")
