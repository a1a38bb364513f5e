"""Scans of the archive, as commands that draw pictures of them need them: read, and never written over."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from sqlalchemy import Connection

    from pipeline.catalogue import PageSource
    from pipeline.settings import Settings


def split_page(name: str) -> tuple[str, int | None]:
    """Return the document and page (from 1) that DOCUMENT[:PAGE] means; None where no page is named.

    >>> split_page("ledger.pdf:12"), split_page("ledger.pdf")
    (('ledger.pdf', 12), ('ledger.pdf', None))
    """
    document, colon, page = name.rpartition(":")
    is_page = colon and document and page.isascii() and page.isdigit() and int(page) > 0
    return (document, int(page)) if is_page and not Path(name).exists() else (name, None)


def refuse_scan(conn: "Connection", output: Path) -> None:
    """Raise UsageError where `output` is a file of the archive: a scan can't be made again."""
    from pipeline import catalogue

    for path in (Path(output.absolute()), output.resolve()):
        if path.exists() and path.is_file():
            now = path.stat()
            if catalogue.known_file(conn, path, now.st_size, now.st_mtime) is not None:
                raise UsageError(f"{output} is a scan of the archive; name another file to write")


def page_pixels(source: "PageSource", max_pixels: int, dpi: int) -> "npt.NDArray[np.uint8]":
    """Return a page as it is shown, uint8 (H, W, 3); SourceError, StorageError where its folder is away."""
    from pipeline.sources import read_page
    from workers.whereabouts import where_is

    return read_page(
        where_is(source),
        source.format,
        source.member,
        source.frame,
        max_pixels=max_pixels,
        render_dpi=dpi,
        colour=True,
    )


def render_dpi(conn: "Connection", run_id: int, settings: "Settings") -> int:
    """Return the dpi of the run, for the boxes are in the pixels of its pages."""
    from sqlalchemy import select

    from pipeline.tables import runs

    written = conn.scalar(select(runs.c.settings).where(runs.c.id == run_id))
    return int(json.loads(written or "{}").get("render_dpi", settings.render_dpi))
