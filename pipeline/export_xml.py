"""What ALTO and PAGE files have in common: where a page's file lies, who read it, how XML is written."""

import errno
import os
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from sqlalchemy import Connection, func, select

from pipeline.exported_pages import ArchivedPage
from pipeline.paths import printable, text_to_path
from pipeline.tables import paths

SCHEMA_LOCATION = "{http://www.w3.org/2001/XMLSchema-instance}schemaLocation"
ENDING = ".xml"


@dataclass(frozen=True, slots=True)
class ReadBy:
    """What read a page: the version of this program, and networks by kind with their SHA-256."""

    version: str
    networks: dict[str, str]


def common_folder(conn: Connection) -> Path:
    """Return the folder that all files of the catalogue are below; files lie below the output as below it."""
    # in the order of their bytes the first and the last one have least in common
    ends = conn.execute(select(func.min(paths.c.path), func.max(paths.c.path))).one()
    return Path(os.path.commonpath([text_to_path(end or "/").parent for end in ends]))


def write_page_file(folder: Path, root: Path, page: ArchivedPage, data: bytes) -> Path:
    """Write a page's file below a folder, under the first of its names that is free, and return its path."""
    for name in _names(root, page):
        file = folder / name
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("xb") as out:
                out.write(data)
            return file
        except (FileExistsError, NotADirectoryError):  # another page's file, or one where our folder would be
            continue
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
    raise AssertionError(f"page {page.page_id} was written before")


def xml_bytes(root: ET.Element) -> bytes:
    """Return a document with its declaration, indented for people."""
    ET.indent(root)
    return bytes(ET.tostring(root, encoding="UTF-8", xml_declaration=True)) + b"\n"


def add(parent: ET.Element, tag: str, text: str | None = None, /, **attributes: str) -> ET.Element:
    """Append an element, and return it."""
    element = ET.SubElement(parent, tag, attributes)
    element.text = text
    return element


def shown(text: str) -> str:
    """Return a name as XML takes it: what can't be printed is escaped, and what XML refuses."""
    return printable(text).replace("\ufffe", r"\ufffe").replace("\uffff", r"\uffff")


def plain(value: float, n_places: int = 2) -> str:
    """Return a number without trailing zeros, never in powers of ten.

    >>> plain(20.0), plain(0.5), plain(1234567.125)
    ('20', '0.5', '1234567.12')
    """
    text = f"{value:.{n_places}f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def when(seconds: float) -> str:
    """Return a time as XML Schema writes it, UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _names(root: Path, page: ArchivedPage) -> Iterator[Path]:
    """Yield names for a page's file, best first: after its image's stem, its whole name, by its ids.

    The pages of an image get their number behind it.  Folders are those of the scans; a ZIP is one too.
    """
    image = text_to_path(page.path)
    number = f"-{page.page_index + 1:04d}" if page.is_one_of_several else ""
    if page.member is not None:
        # whoever made a ZIP may have written anything: no name leads out of it
        parts = [part for part in PurePosixPath(page.member).parts if part not in ("/", "..")]
        image = image.joinpath(*parts)
    folder = image.parent.relative_to(root)
    yield folder / f"{image.stem}{number}{ENDING}"
    yield folder / f"{image.name}{number}{ENDING}"
    yield folder / f"{image.name}-{page.page_id}{ENDING}"
    yield Path(f"page-{page.page_id}{ENDING}")
