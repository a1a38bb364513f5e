"""Registering: files → rows of the catalogue, in a thread of its own while the engine already reads.

A file that is known by its path, size and time is not opened again.  What is found is written in
batches: the engine can't write while our transaction is open, so none is open while files are looked at.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path

from sqlalchemy import ColumnElement, Connection, Engine, select

from pipeline import catalogue
from pipeline.bulk import add_documents
from pipeline.database import reading, writing
from pipeline.engines import parse_url, sqlite_file
from pipeline.errors import NotAScanError, SourceError, SourceGoneError
from pipeline.network_store import HISTORY, LOCK
from pipeline.page_forms import give_to_documents
from pipeline.paths import path_to_text
from pipeline.probing import Prober
from pipeline.settings import STORED, Settings
from pipeline.sharing import SCANS, WEIGHTS
from pipeline.sources import Document, DocumentError, Unreadable, find_files
from pipeline.tables import OPEN, documents, ledger, pages
from workers.agreed import log_path
from workers.stages import CROPS

BATCH_FILES = 500
LOOK_UP_FILES = 100  # in one transaction: one each would take longer than looking them up
BATCH_S = 0.5
LEAVE_S = 5.0


@dataclass(frozen=True, slots=True)
class Known:
    """A file that did not change since it was registered as this document."""

    path: Path
    document_id: int


@dataclass(frozen=True, slots=True)
class Unread:
    """A file that should have given pages and gave none; `document` is what is known of it."""

    path: Path
    reason: str
    document: Document | None


@dataclass(frozen=True, slots=True)
class Passed:
    """A path of which nothing was read, and why; of a ZIP's member, its name is behind the path."""

    path: str
    reason: str


@dataclass(slots=True)
class Tally:
    """What this command found, while it goes on."""

    n_new: int = 0
    n_known: int = 0
    n_failed: int = 0  # documents that are new and gave no page
    n_pages: int = 0  # to be read because of this command
    skipped: list[Passed] = field(default_factory=list)  # no scans
    failed: list[Passed] = field(default_factory=list)  # scans, or folders of them, that gave no page

    def reasons(self) -> list[tuple[str, int]]:
        """Return the reasons for skipping with their counts, the commonest first."""
        return Counter(passed.reason for passed in self.skipped).most_common()


Found = Document | Known | Unread
Share = Callable[[Path, str], None]


def look(
    roots: Sequence[Path], settings: Settings, db: Engine | None, tally: Tally, stop: threading.Event
) -> Iterator[Found]:
    """Yield what each file under `roots` is, until `stop`; what is skipped goes on the tally.

    `db` is where known files are looked up; None knows none.
    """
    with Prober(max_pixels=settings.max_pixels, deadline_s=settings.page_deadline_s) as prober:
        for some in _some_at_a_time(find_files(roots, own_files(settings))):
            known = _known(db, some)
            for path in some:
                if stop.is_set():
                    return
                if isinstance(path, Unreadable):
                    yield from _unreadable(path, tally)
                elif path in known:
                    yield Known(path, known[path])
                else:
                    yield from _probed(prober, path, tally)


def own_files(settings: Settings) -> frozenset[Path]:
    """Return the files and folders that are the archive's own, where they are on this machine's disks.

    Of the folder of the files only what we keep there: it may well be one that has scans, too.
    """
    own: set[Path] = set()
    url = parse_url(settings.database_url)
    if url.get_backend_name() == "sqlite":
        database = sqlite_file(url)
        endings = ("", "-wal", "-shm", "-journal", ".lock")
        own |= {database.with_name(database.name + ending) for ending in endings}
    own |= {(settings.networks / place).resolve() for place in (*STORED, HISTORY, LOCK)}
    if "://" not in settings.files:
        ours = (Path(settings.files) / place for place in (CROPS, SCANS, WEIGHTS))
        own |= {*(place.resolve() for place in ours), log_path(settings).resolve()}
    return frozenset(own)


def count_only(every: Iterable[Found], db: Engine | None, tally: Tally, *, again: bool) -> None:
    """Tally what registering would do, without doing it."""
    seen: set[str] = set()
    for found in every:
        match found:
            case Known(_, document_id):
                tally.n_known += 1
                if again:
                    tally.n_pages += _n_pages(db, documents.c.id == document_id, seen)
            case Unread(path, reason, _):
                tally.n_failed += 1
                tally.failed.append(_passed(path, reason))
            case Document(sha256=sha256):
                if sha256 in seen or _has_bytes(db, sha256):
                    tally.n_known += 1
                    if again:
                        tally.n_pages += _n_pages(db, documents.c.sha256 == sha256, seen)
                else:
                    seen.add(sha256)
                    tally.n_new += 1
                    tally.n_pages += len(found.pages)


class Registration:
    """Registers all files under `roots` for a run, in a thread; `finished` also when it broke off.

    `share` brings a file, with the SHA-256 of its bytes, to where other machines reach it, before its pages
    are there to be read.  `form_ids` are the forms that the pages get, by kind; where there are any,
    `document_ids` are the documents that got them.
    """

    def __init__(
        self,
        roots: Sequence[Path],
        settings: Settings,
        db: Engine,
        run_id: int,
        *,
        again: bool,
        share: Share | None = None,
        form_ids: Mapping[str, int],
    ) -> None:
        self.tally = Tally()
        self.document_ids: list[int] = []
        self.error: Exception | None = None
        self._roots, self._settings, self._db = roots, settings, db
        self._run_id, self._again, self._share = run_id, again, share
        self._form_ids = form_ids
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="registration", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def finished(self) -> bool:
        """Whether no more pages come."""
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Register no more files, and wait a little for the batch in hand."""
        self._stop.set()
        # a file that hangs while it is looked at must not keep the command: its batch is looked at again
        self._thread.join(LEAVE_S)

    def _run(self) -> None:
        try:
            for batch in _batches(look(self._roots, self._settings, self._db, self.tally, self._stop)):
                shared = [self._shared(found) for found in batch]
                with writing(self._db) as conn:
                    self._add(conn, shared)
        except Exception as error:  # the main thread raises it
            self.error = error

    def _shared(self, found: Found) -> Found:
        """Return what was found, once other machines reach it; a file that is gone now can't be read."""
        if self._share is None or isinstance(found, Unread):
            return found
        if isinstance(found, Known) and not (self._again or _is_left(self._db, found.document_id)):
            return found
        sha256 = found.sha256 if isinstance(found, Document) else _sha256_of(self._db, found.document_id)
        try:
            self._share(found.path, sha256)
        except SourceGoneError as error:
            return Unread(found.path, str(error), None)
        return found

    def _add(self, conn: Connection, batch: Sequence[Found]) -> None:
        document_ids: list[int] = []
        # in the order in which they were found: a path may come twice, as one kind and the other
        for kind, some in groupby(batch, type):
            if kind is Document:
                new = [found for found in some if isinstance(found, Document)]
                document_ids += self._add_documents(conn, new)
            else:
                for found in some:
                    self._add_other(conn, found)
        if self._form_ids:
            document_ids += [found.document_id for found in batch if isinstance(found, Known)]
            give_to_documents(conn, document_ids, self._form_ids)
            self.document_ids += document_ids

    def _add_documents(self, conn: Connection, found: Sequence[Document]) -> list[int]:
        """Add documents; return their ids."""
        every = add_documents(conn, found, self._run_id, again=self._again, now=time.time())
        for added in every:
            self.tally.n_pages += added.n_new_pages
            if added.known:
                self.tally.n_known += 1
            else:
                self.tally.n_new += 1
        return [added.document_id for added in every]

    def _add_other(self, conn: Connection, found: Found) -> None:
        tally = self.tally
        match found:
            case Known(_, document_id):
                tally.n_known += 1
                if self._again:
                    tally.n_pages += catalogue.add_again(conn, document_id, self._run_id)
            case Unread(path, reason, document):
                added = catalogue.add_failed_document(
                    conn,
                    path,
                    reason,
                    sha256=document.sha256 if document else None,
                    format=document.format if document else None,
                    size_bytes=document.size_bytes if document else None,
                    modified_at=document.modified_at if document else None,
                    now=time.time(),
                )
                # the same bytes failed before: known; a file that couldn't be opened failed now, too
                if added.known and document is not None:
                    tally.n_known += 1
                else:
                    tally.n_failed += 1
                    tally.failed.append(_passed(path, reason))


def _unreadable(found: Unreadable, tally: Tally) -> Iterator[Unread]:
    if found.skipped:
        tally.skipped.append(_passed(found.path, found.reason))
    elif found.path.is_dir():
        # not in the ledger: a folder is no document, and is met again whenever it is given
        tally.failed.append(_passed(found.path, found.reason))
    else:
        yield Unread(found.path, found.reason, None)


def _some_at_a_time(found: Iterator[Path | Unreadable]) -> Iterator[list[Path | Unreadable]]:
    while some := list(islice(found, LOOK_UP_FILES)):
        yield some


def _known(db: Engine | None, some: Iterable[Path | Unreadable]) -> dict[Path, int]:
    """Return the documents of those files that did not change since they were registered."""
    known: dict[Path, int] = {}
    if db is None:
        return known
    with reading(db) as conn:
        for path in some:
            if isinstance(path, Unreadable):
                continue
            with suppress(OSError):  # probing says what is the matter
                now = path.stat()
                document_id = catalogue.known_file(conn, path, now.st_size, now.st_mtime)
                if document_id is not None:
                    known[path] = document_id
    return known


def _has_bytes(db: Engine | None, sha256: str) -> bool:
    if db is None:
        return False
    has_pages = select(documents.c.id).where(documents.c.sha256 == sha256, documents.c.n_pages > 0)
    with reading(db) as conn:
        return conn.scalar(has_pages) is not None


def _is_left(db: Engine, document_id: int) -> bool:
    """Tell whether a page of a document is still to be read: begun without a broker, or tried again."""
    left = (
        select(ledger.c.id)
        .join(pages, pages.c.id == ledger.c.page_id)
        .where(pages.c.document_id == document_id, ledger.c.state.in_(OPEN))
    )
    with reading(db) as conn:
        return conn.execute(left.limit(1)).first() is not None


def _sha256_of(db: Engine, document_id: int) -> str:
    with reading(db) as conn:
        return str(conn.execute(select(documents.c.sha256).where(documents.c.id == document_id)).scalar_one())


def _n_pages(db: Engine | None, which: ColumnElement[bool], seen: set[str]) -> int:
    """Return how many pages a known document has; 0 where it was counted before, for it is read once."""
    if db is None:
        return 0
    with reading(db) as conn:
        found = conn.execute(select(documents.c.sha256, documents.c.n_pages).where(which)).one_or_none()
    if found is None or found.sha256 in seen:
        return 0
    seen.add(found.sha256)
    return int(found.n_pages)


def _probed(prober: Prober, path: Path, tally: Tally) -> Iterator[Found]:
    try:
        document = prober.probe(path)
    except NotAScanError as error:
        tally.skipped.append(_passed(path, str(error)))
    except SourceError as error:
        yield Unread(path, str(error), error.document if isinstance(error, DocumentError) else None)
    else:
        tally.skipped.extend(_passed(path, member.reason, member.member) for member in document.skipped)
        yield document


def _passed(path: Path, reason: str, member: str | None = None) -> Passed:
    text = path_to_text(path)
    return Passed(text if member is None else f"{text}: {member}", reason)


def _batches(found: Iterator[Found]) -> Iterator[list[Found]]:
    """Yield what comes in lists: the first after half a second, so that the engine can begin."""
    batch: list[Found] = []
    since = time.monotonic()
    for one in found:
        batch.append(one)
        if len(batch) >= BATCH_FILES or time.monotonic() - since > BATCH_S:
            yield batch
            batch = []
            since = time.monotonic()
    if batch:
        yield batch
