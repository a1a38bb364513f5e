"""How people name documents: by a path here, the end of one, a pattern, the beginning of a hash."""

import os
from pathlib import Path

from pipeline.paths import path_to_text


def catalogue_name(name: str) -> str:
    """Return `name` as the catalogue writes it: what is a file here by its whole path, the rest as it is."""
    path = Path(os.path.abspath(name))  # noqa: PTH100 (links in it stay: so it was registered)
    return path_to_text(path if path.exists() else name)


def split_page(name: str) -> tuple[str, int]:
    """Return the document and page (from 1) that DOCUMENT[:PAGE] means.

    >>> split_page("ledger.pdf:12"), split_page("ledger.pdf")
    (('ledger.pdf', 12), ('ledger.pdf', 1))
    """
    document, colon, page = name.rpartition(":")
    if colon and document and page.isascii() and page.isdigit() and int(page) > 0 and not Path(name).exists():
        return document, int(page)
    return name, 1
