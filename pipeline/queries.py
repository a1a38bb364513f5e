"""What query, show, export, status and failed read: current runs only, streamed."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection

from pipeline.catalogue import PageSource
from pipeline.page import Box, Detection, Number, Reading

Order = Literal["reading", "text", "number", "confidence"]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which numbers are asked for; what is None doesn't matter."""

    text: str | None = None  # exactly, leading zeros count
    prefix: str | None = None
    pattern: str | None = None  # * any run of characters, ? any one
    at_least: str | None = None  # as a number: leading zeros don't matter, any length
    at_most: str | None = None
    document: str | None = None  # path, its end, glob, sha256 prefix (8 or more) or id
    page: int | None = None  # from 1
    min_confidence: float | None = None
    max_confidence: float | None = None
    order: Order = "reading"
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class NumberRow:
    """A number with where it stands; `page` and `line` count from 1 for people."""

    path: str  # as the catalogue writes it; `paths.printable` for a terminal
    document_id: int
    page: int
    line: int
    position: int  # in reading order on the page, from 0
    text: str
    confidence: float
    box: Box
    ledger_id: int
    run_id: int


@dataclass(frozen=True, slots=True)
class Status:
    """The whole archive in a few counts; pages are counted once, in their current run."""

    n_documents: int
    n_failed_documents: int  # gave no page
    n_pages: int
    n_waiting: int
    n_detected: int
    n_done: int
    n_failed: int
    n_digits: int
    n_numbers: int
    n_finished_lately: int  # pages done in the last `lately_s` seconds
    lately_s: float
    pages_per_s: float


@dataclass(frozen=True, slots=True)
class Failure:
    """A page that was set aside, or a document that gave no page (then `ledger_id` and `page` are None)."""

    ledger_id: int | None
    document_id: int
    path: str
    page: int | None  # from 1
    failed_in: str | None  # waiting: in detect; detected: in classify
    reason: str
    attempts: int


@dataclass(frozen=True, slots=True)
class PageResult:
    """All that is known of a page in its current run."""

    ledger_id: int
    run_id: int
    state: str
    reason: str | None
    width: int | None
    height: int | None
    turned: int
    detections: tuple[Detection, ...]
    readings: tuple[Reading, ...]  # one a detection once the page is done, else none
    numbers: tuple[Number, ...]


@dataclass(frozen=True, slots=True)
class ExportedDigit:
    """One digit of `export digits`; `number` is the position of its number on the page."""

    box: Box
    digit: int
    confidence: float
    score: float
    number: int | None


@dataclass(frozen=True, slots=True)
class ExportedPage:
    """One page of `export digits`; rejected detections are left out."""

    image: str  # the file's name, or the member's in a ZIP
    path: str
    page_index: int  # from 0 in its document
    width: int
    height: int
    turned: int
    digits: tuple[ExportedDigit, ...]


def sort_key(text: str) -> str:
    """Return the key that sorts as the number does: how many digits without leading zeros, then these.

    >>> sort_key("0042")
    '000242'
    """
    digits = "".join(char for char in text if char in "0123456789").lstrip("0")
    return f"{len(digits):04d}{digits}"


def find_numbers(conn: Connection, wanted: Filter) -> Iterator[NumberRow]:
    """Yield the numbers that match; raises UsageError for a bound that is no number or an unknown document."""
    raise NotImplementedError


def status(conn: Connection, *, now: float, lately_s: float = 60.0) -> Status:
    """Count documents, pages by state, digits and numbers, without reading them."""
    raise NotImplementedError


def failures(conn: Connection) -> Iterator[Failure]:
    """Yield failed documents and failed pages, in the order of their documents."""
    raise NotImplementedError


def page_of(conn: Connection, document: str, page: int = 1) -> PageSource:
    """Return the page (from 1) of the one document meant by a path, its end, sha256 prefix or id.

    Raises UsageError where none or several match (naming them), or the document has no such page.
    """
    raise NotImplementedError


def page_result(conn: Connection, page_id: int) -> PageResult:
    """Return what the page's current run found."""
    raise NotImplementedError


def exported_pages(conn: Connection) -> Iterator[ExportedPage]:
    """Yield every page that is done, in the order of documents and pages."""
    raise NotImplementedError
