"""What the tasks do with a page in hand: sort says its kind, detect draws boxes, classify reads them.

Where a process has the next stage too, it does that at once.  A stage ends in one transaction of the ledger,
and returns the state that the page is in then, or None where it was no longer ours.  Only work that a page
can hang in runs under its clock: not loading a network, nor waiting for the database.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sqlalchemy import Engine

from pipeline import kinds, ledger
from pipeline.catalogue import PageSource
from pipeline.crops import Crops, cut_crops, pack_crops, unpack_crops
from pipeline.errors import SourceError, SourceGoneError, StorageError
from pipeline.frames import Frame, find_frame
from pipeline.kinds import FoundKind, sort_page
from pipeline.ledger import Claim
from pipeline.page import PageDetections
from pipeline.settings import Settings
from pipeline.sorting import SORTER, SORTING, networks_of, sorting_of
from pipeline.sorting_view import VIEW_PX
from pipeline.sources import read_page
from pipeline.storage import Files
from workers.in_hand import InHand
from workers.networks import Networks
from workers.times import BLOBS, LEDGER, NETWORKS, SCANS, Times
from workers.whereabouts import folder_away, where_is

log = logging.getLogger(__name__)

# a page larger than this is worked on by itself: a few at a time would take all the memory
LARGE_PIXELS = 40_000_000
CROPS = "crops/"  # what the names of blobs begin with

Grey = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Bench:
    """All that a stage works with, one a process."""

    db: Engine
    files: Files
    networks: Networks
    settings: Settings
    in_hand: InHand
    lease_s: float  # of a page in hand
    queue_lease_s: float  # of a message
    stages: Collection[str] = ()  # a page is kept from one to the next where this process has both
    worker_id: str | None = None  # where this process is one of many
    shared_scan: Callable[[str], Path] | None = None  # the copy that all machines reach, by hash
    large: threading.Lock = field(default_factory=threading.Lock)
    # PDFium serves one page at a time: its pages wait here, where no clock runs, not at its own lock
    pdf_turn: threading.Lock = field(default_factory=threading.Lock)
    times: Times = field(default_factory=Times)


@dataclass(frozen=True, eq=False, slots=True)
class _Found:
    """What was found on a page, its crops uint8 (N, 2, 40, 40), its size in pixels, and its frame.

    There is a frame only where records are made of the page.
    """

    page: PageDetections
    crops: Crops
    width: int
    height: int
    frame: Frame | None


def sort(bench: Bench, claim: Claim) -> str | None:
    """Say which kind a page is; return the state that its kind's path begins in.

    Raises as `detect`.
    """
    return _end_sort(bench, claim, _sorted(bench, claim))


def sort_and(find: Callable[[Bench, Claim], str | None]) -> Callable[[Bench, Claim], str | None]:
    """Return what sorts a page and takes it through `find` as well, still in hand, if its kind is read."""

    def sort_and_find(bench: Bench, claim: Claim) -> str | None:
        found = _sorted(bench, claim)
        if found.state != ledger.WAITING:
            return _end_sort(bench, claim, found)
        with bench.times.spent(LEDGER):
            kept = kinds.keep_sorted(
                bench.db,
                claim,
                found,
                now=time.time(),
                lease_s=bench.lease_s,
                worker_id=bench.worker_id,
            )
        if kept is None:
            return None
        bench.times.page()
        return find(bench, kept)

    return sort_and_find


def detect(bench: Bench, claim: Claim) -> str | None:
    """Find the digits of a page, and its frame where it has a form; keep their crops as one blob.

    Raises SourceError where the page can't be read, MissingError without weights, StorageError.
    """
    found = _find(bench, claim)
    # the token in its name: a late worker's blob can never take the place of the one that counts
    blob = _blob(claim.ledger_id, claim.token) if found.page.detections else None
    if blob is not None:
        with bench.times.spent(BLOBS):
            bench.files.put(blob, pack_crops(found.crops))
    ours = False
    try:
        with bench.times.spent(LEDGER):
            ours = ledger.finish_detect(
                bench.db,
                claim,
                found.page,
                width=found.width,
                height=found.height,
                blob=blob,
                now=time.time(),
                lease_s=bench.queue_lease_s,
                frame=found.frame,
            )
    finally:
        if not ours:
            _delete(bench, blob)
    return ledger.DETECTED if ours else None


def classify(bench: Bench, claim: Claim, crops: Crops | None = None) -> str | None:
    """Read the digits of a detected page and make numbers of them.

    `crops` are the page's, where they are at hand.  Raises as `detect`.
    """
    from models.reader import Readers, read_crops  # torch takes seconds to import

    readers = Readers(
        bench.networks.classifier(claim.networks["classifier"]),
        bench.networks.rescorer(claim.networks.get("rescorer")),
        bench.networks.recogniser(claim.networks.get("recogniser")),
        bench.networks.judge(claim.networks.get("judge")),
    )
    found = claim.found or PageDetections((), 1.0)
    if crops is None:
        crops = _crops(bench, claim, found)
    with bench.in_hand.clock(claim), bench.times.spent(NETWORKS):
        read = read_crops(found, crops, readers)
    with bench.times.spent(LEDGER):
        ours = ledger.finish_classify(bench.db, claim, read.readings, read.numbers, now=time.time())
    if ours:
        _delete(bench, claim.blob)
    return ledger.DONE if ours else None


def detect_and_classify(bench: Bench, claim: Claim) -> str | None:
    """Take a page through both stages.

    Each ends in a transaction of its own, as if another process had the second one; but the page stays in
    hand, no message is sent, and its crops are not written anywhere.  Raises as `detect`.
    """
    found = _find(bench, claim)
    with bench.times.spent(LEDGER):
        kept = ledger.keep_detected(
            bench.db,
            claim,
            found.page,
            width=found.width,
            height=found.height,
            now=time.time(),
            lease_s=bench.lease_s,
            worker_id=bench.worker_id,
            frame=found.frame,
        )
    if kept is None:
        return None
    bench.times.page()
    return classify(bench, kept, found.crops)


def _sorted(bench: Bench, claim: Claim) -> FoundKind:
    sorting = sorting_of(claim.settings[SORTING])
    with bench.times.spent(LEDGER):
        said = kinds.said_before(bench.db, claim.source.page_id, sorting)
    if said is not None:
        return said
    sorters = {
        sha256: bench.networks.sorter(sha256) for kind, sha256 in networks_of(sorting) if kind == SORTER
    }

    def chances(sha256: str) -> dict[str, float]:
        sorter = sorters[sha256]
        return dict(zip(sorter.classes, map(float, sorter.sort(grey)), strict=True))

    with _page(bench, claim, at_least_px=VIEW_PX) as grey, bench.times.spent(NETWORKS):
        return sort_page(sorting, chances)


def _end_sort(bench: Bench, claim: Claim, found: FoundKind) -> str | None:
    with bench.times.spent(LEDGER):
        ours = kinds.finish_sort(bench.db, claim, found, now=time.time(), lease_s=bench.queue_lease_s)
    return found.state if ours else None


def _find(bench: Bench, claim: Claim) -> _Found:
    from models.whole import find_digits  # torch takes seconds to import

    orienter = bench.networks.orienter(claim.networks.get("orienter"))
    detector = bench.networks.detector(claim.networks["detector"])
    with _page(bench, claim) as grey:
        height, width = grey.shape
        with bench.times.spent(NETWORKS):
            found = find_digits(grey, orienter, detector)
        with bench.times.spent(SCANS):
            frame = find_frame(grey) if claim.has_form else None
        with bench.times.spent(BLOBS):
            return _Found(found, cut_crops(grey, found), width, height, frame)


def _crops(bench: Bench, claim: Claim, found: PageDetections) -> Crops:
    """Return the page's crops: of its blob, or cut again where that is gone or damaged."""
    if claim.blob is not None:
        try:
            with bench.times.spent(BLOBS):
                crops = unpack_crops(bench.files.get(claim.blob))
            if len(crops) == len(found.detections):
                return crops
            log.warning("page %d: its blob has %d crops, cut again", claim.ledger_id, len(crops))
        except (FileNotFoundError, ValueError) as error:
            log.warning("page %d: crops are cut again (%s)", claim.ledger_id, error)
    if not found.detections:
        return cut_crops(np.zeros((1, 1), np.uint8), found)
    with _page(bench, claim) as grey:
        return cut_crops(grey, found)


@contextmanager
def _page(bench: Bench, claim: Claim, at_least_px: int = 0) -> Iterator[Grey]:
    """Open the claim's page, grey uint8 (H, W), and run its clock while it is worked on.

    With `at_least_px` the page may come smaller, with sides of no less than that.
    It is first read as a page of ordinary size, which a large one is refused for from its header;
    then it waits until no other large page is in hand.
    """
    limit = bench.settings.max_pixels
    try:
        grey = _read(bench, claim, min(limit, LARGE_PIXELS), at_least_px)
    except SourceGoneError:
        raise
    except SourceError:
        if limit <= LARGE_PIXELS:
            raise
    else:
        with bench.in_hand.clock(claim):
            yield grey
        return
    with bench.large:
        grey = _read(bench, claim, limit, at_least_px)
        with bench.in_hand.clock(claim):
            yield grey


def _read(bench: Bench, claim: Claim, max_pixels: int, at_least_px: int) -> Grey:
    """Look for the page's file and read it, under the page's clock: a share that hangs is met here too."""
    source = claim.source
    render_dpi = int(claim.settings.get("render_dpi", bench.settings.render_dpi))
    with _turn(bench, source), bench.in_hand.clock(claim), bench.times.spent(SCANS):
        path = where_is(source, bench.shared_scan)
        try:
            return read_page(
                path,
                source.format,
                source.member,
                source.frame,
                max_pixels=max_pixels,
                render_dpi=render_dpi,
                at_least_px=at_least_px,
            )
        except SourceGoneError as error:
            away = folder_away(path)  # since a moment ago
            if away is not None:
                raise away from error
            raise


def _turn(bench: Bench, source: PageSource) -> AbstractContextManager[object]:
    """Return what a page waits for before its clock runs: a PDF, also one in a ZIP, its turn with PDFium."""
    is_pdf = source.format == "pdf" or (source.member or "").lower().endswith(".pdf")
    return bench.pdf_turn if is_pdf else nullcontext()


def sweep(db: Engine, files: Files, *, alone: bool) -> int:
    """Remove the crops that killed processes left behind; return how many.

    `alone`: no other process works here, so that unfinished files are of killed ones, too.
    """

    def wanted() -> set[str]:
        # in this order: a page that is detected between the two is found by the first
        in_hand = {_blob(ledger_id, token) for ledger_id, token in ledger.attempts(db)}
        return in_hand | ledger.blobs_in_use(db)

    return files.keep_only(CROPS, wanted, unfinished=alone)


def _blob(ledger_id: int, token: str) -> str:
    return f"{CROPS}{ledger_id}-{token}.npz"


def _delete(bench: Bench, blob: str | None) -> None:
    if blob is None:
        return
    try:
        with bench.times.spent(BLOBS):
            bench.files.delete(blob)
    except StorageError as error:  # a blob too many harms nobody, and the engine sweeps when it starts
        log.warning("%s stays: %s", blob, error)
