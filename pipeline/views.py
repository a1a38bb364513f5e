"""The views that people's own SQL stands on: their names and columns, which no later version changes.

Migrations make them; a later version may add a view, or a column at the end of one, and nothing else.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class View:
    """A view, what a row of it is, and each column with what stands in it."""

    name: str
    about: str
    columns: tuple[tuple[str, str], ...]


_DOCUMENT = (
    ("document_id", "the document's number"),
    ("document", "its path, the newest of several"),
)
_PAGE = (*_DOCUMENT, ("page_id", "the page's number"), ("page", "which page of its document, from 1"))
_ROW = (
    ("record", "the record's id, as archive why takes it"),
    *_PAGE,
    ("row", "its row, from 1; 0: the page"),
)
_BOX = (
    ("x0", "left edge, in pixels of the page"),
    ("y0", "upper edge"),
    ("x1", "right edge, exclusive"),
    ("y1", "lower edge, exclusive"),
)
_KIND = ("kind", "of the page, where it was sorted")
_RUN = ("run_id", "the run that read the page")

VIEWS = (
    View(
        "v_documents",
        "files that came in",
        (
            *_DOCUMENT,
            ("sha256", "of its bytes"),
            ("format", "jpeg, tiff, pdf, zip, …"),
            ("size_bytes", "of the file"),
            ("n_pages", "how many pages it has"),
            ("added_at", "when it came in, UTC"),
            ("reason", "why no page could be had of it"),
        ),
    ),
    View(
        "v_pages",
        "pages, as their current run left them",
        (
            *_PAGE,
            ("member", "the file's name inside a ZIP"),
            ("width", "in pixels"),
            ("height", "in pixels"),
            ("turned", "by how many degrees it was turned to be read"),
            _KIND,
            ("kind_confidence", "empty where a person said the kind"),
            ("state", "unsorted, waiting, detected, done, skipped, person, failed"),
            ("reason", "why it failed"),
            ("n_digits", "how many digits were read"),
            ("n_numbers", "how many numbers"),
            ("finished_at", "when, UTC"),
            _RUN,
        ),
    ),
    View(
        "v_numbers",
        "numbers that were read",
        (
            ("number", "text, with leading zeros"),
            ("amount", "the same to reckon with"),
            ("confidence", "the chance that every digit is right"),
            *_PAGE,
            ("line", "of the page, from 1"),
            ("position", "in reading order, from 0"),
            *_BOX,
            _KIND,
            _RUN,
            ("written", "with the marks between its digits; empty: there are none"),
        ),
    ),
    View(
        "v_records",
        "rows of registers, as a form makes them",
        (
            *_ROW,
            ("form", "the form's name"),
            _KIND,
            ("confidence", "of the least sure value"),
            ("flagged", "1 where a rule finds something wrong"),
            _RUN,
        ),
    ),
    View(
        "v_fields",
        "the values of records",
        (
            *_ROW,
            ("form", "the form's name"),
            ("field", "what the form calls it"),
            ("text", "as it is written; empty: nothing was read"),
            ("value", "text to compare by: 22.50 for 22|50"),
            ("amount", "the same to reckon with; none of a date"),
            ("confidence", "the chance that it is right"),
            ("made_by", "network, rule or person"),
            ("replaced", "what was read before a rule or a person said otherwise"),
            ("flag", "which rule it breaks"),
            *_BOX,
            _KIND,
            _RUN,
        ),
    ),
    View(
        "v_corrections",
        "what people said a value is",
        (
            ("correction_id", "in the order in which they were made"),
            *_PAGE,
            ("field", "what the form calls it"),
            ("text", "what the person said"),
            ("was", "what stood there before"),
            ("who", "who said so"),
            ("made_at", "when, UTC"),
            ("place", "where its row begins, a share of the table's height"),
        ),
    ),
)
