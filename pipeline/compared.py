"""Two runs compared: digits are in memory a batch of pages at a time, changes as many as are asked for."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field

from sqlalchemy import Connection

from pipeline.changes import Change, MostConfident, Tally
from pipeline.comparison import compare_page
from pipeline.exports import in_batches
from pipeline.runs import Run, digits_of, page_pairs

N_NAMED = 20


@dataclass(slots=True)
class LeftOut:
    """Pages that were not compared: how many, and the first few of them by id."""

    n_pages: int = 0
    page_ids: list[int] = field(default_factory=list)

    def add(self, page_id: int) -> None:
        """Count a page."""
        self.n_pages += 1
        if len(self.page_ids) < N_NAMED:
            self.page_ids.append(page_id)


@dataclass(slots=True)
class Compared:
    """What came of it: counts, the most confident changes, and the pages that could not be compared.

    `other_dpi` are pages of PDFs where the runs rendered these at another dpi: boxes are in other pixels.
    """

    tally: Tally
    changes: list[Change]
    only_a: LeftOut
    only_b: LeftOut
    other_dpi: LeftOut


def compare_runs(
    conn: Connection, a: Run, b: Run, n_changes: int, tell: Callable[[int], None] = lambda n_pages: None
) -> Compared:
    """Compare two runs, and keep so many changes; `tell` is told how many pages of both were looked at."""
    found = Compared(Tally(), [], LeftOut(), LeftOut(), LeftOut())
    kept = MostConfident(n_changes)
    same_dpi = a.settings.get("render_dpi") == b.settings.get("render_dpi")
    with closing(page_pairs(conn, a.run_id, b.run_id)) as pairs:
        for batch in in_batches(pairs, lambda pair: pair.n_digits):
            both = []
            for pair in batch:
                if pair.ledger_a is None:
                    found.only_b.add(pair.page_id)
                elif pair.ledger_b is None:
                    found.only_a.add(pair.page_id)
                elif pair.is_pdf and not same_dpi:
                    found.other_dpi.add(pair.page_id)
                else:
                    both.append((pair.page_id, pair.ledger_a, pair.ledger_b))
            digits = digits_of(conn, sorted(ledger_id for _, *ids in both for ledger_id in ids))
            for page_id, ledger_a, ledger_b in both:
                page = compare_page(digits[ledger_a], digits[ledger_b])
                found.tally.add(page)
                kept.add(page_id, page)
            tell(found.tally.n_pages + found.other_dpi.n_pages)
    found.changes = kept.changes()
    return found
