"""What `archive form` does: a form begun from a page's rules, and a form tried on pages."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from cli.output import replacing
from cli.show import FORMATS
from cli.terminal import SCHEMA_VERSION, Column, counted, print_json, print_table, say, shown_path
from pipeline.errors import (
    ArchiveError,
    NotAScanError,
    PagesFailedError,
    QualityError,
    SourceError,
    UsageError,
)
from pipeline.form_files import read_form
from pipeline.form_fit import Fit, fit_of
from pipeline.form_picture import draw_form
from pipeline.forms import Column as FormColumn
from pipeline.forms import Form, Values, form_hash
from pipeline.frames import Frame, find_frame
from pipeline.paths import path_to_text, printable
from pipeline.probing import Prober
from pipeline.settings import Settings
from pipeline.sources import Document, PageRef, find_files, read_page

Pixels = npt.NDArray[np.uint8]
_N_NAMED = 5  # so many pages that don't fit are named in the last line


def propose_form(
    settings: Settings, scan: Path, number: int, output: Path | None, picture: Path | None
) -> None:
    """Write a form with a column between every two rules of a page; UsageError where it has no table."""
    if picture is not None and picture.suffix.lower() not in FORMATS:
        raise UsageError(f"{picture}: which kind of picture? name it .png or .jpg")
    shown = printable(path_to_text(scan))
    if not scan.exists():
        raise UsageError(f"{shown}: there is no such file")
    with Prober(max_pixels=settings.max_pixels) as prober:
        try:
            document = prober.probe(scan)
            if number > len(document.pages):
                raise UsageError(f"{shown} has {counted(len(document.pages), 'page')}, and no page {number}")
            pixels = _pixels(document, document.pages[number - 1], settings)
        except SourceError as error:
            raise SourceError(f"{shown}, page {number}: {error}") from error
    frame = find_frame(_grey(pixels))
    if not frame.printed:
        raise UsageError(f"{shown}, page {number}: no printed table is found on it; name a page that has one")
    form = _between_rules(frame, printable((output or scan).stem))
    with replacing(output or Path("-")) as file:
        file.write(_written(form, f"{scan.name}, page {number}").encode())
    if picture is not None:
        with replacing(picture) as file:
            Image.fromarray(draw_form(pixels, frame, form)).save(file, FORMATS[picture.suffix.lower()])
    where = f" → {output}" if output else ""
    say(f"{counted(len(form.columns), 'column')}{where}" + (f", drawn → {picture}" if picture else ""))


@dataclass(frozen=True, slots=True)
class _Tried:
    """A page that a form was tried on: how it fits, or why it could not be read."""

    name: str
    fit: Fit | None
    reason: str = ""


def try_form(
    settings: Settings, form_file: Path, scans: Sequence[Path], output: Path | None, *, as_json: bool
) -> None:
    """Print how a form fits pages, and draw it on each in a folder.

    Raises QualityError where it doesn't fit a page, PagesFailedError where one can't be read, and UsageError
    where there is none.
    """
    form = read_form(form_file)
    tried: list[_Tried] = []
    drawn: list[str] = []
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
    with Prober(max_pixels=settings.max_pixels) as prober:
        for path, document, page, reason in _pages(prober, scans):
            name = shown_path(path_to_text(path))
            if document is None or page is None:
                tried.append(_Tried(name, None, reason))
                continue
            if len(document.pages) > 1:
                name += f":{page.page_index + 1}"
            try:
                pixels = _pixels(document, page, settings)
            except SourceError as error:
                tried.append(_Tried(name, None, str(error)))
                continue
            frame = find_frame(_grey(pixels))
            tried.append(_Tried(name, fit_of(form, frame)))
            if output is not None:
                # scans of two folders may be called alike
                stem = f"{path.stem}-{page.page_index + 1}"
                drawn.append(stem if stem not in drawn else f"{stem}-{len(tried)}")
                with replacing(output / f"{drawn[-1]}.jpg") as file:
                    Image.fromarray(draw_form(pixels, frame, form)).save(file, "JPEG", quality=85)
    if not tried:
        raise UsageError("there is no scan among these files")
    if as_json:
        print_json(_as_json(form, tried))
    else:
        print_table(_COLUMNS, map(_row, tried))
    if output is not None:
        say(f"drawn → {output}")
    _raise_for(tried, form_file)
    say("every page fits")


_COLUMNS = (
    Column("page", shortened=True),
    Column("frame"),
    Column("edges on rules", right=True),
    Column("distance", right=True),
    Column("fits"),
)


def _row(one: _Tried) -> tuple[str, ...]:
    if one.fit is None:
        return one.name, one.reason, "", "", ""
    fit = one.fit
    distance = "" if fit.distance is None else f"{100 * fit.distance:.2f} %"
    return (
        one.name,
        "table" if fit.printed else "sheet",
        f"{fit.n_on_rules} of {fit.n_edges}",
        distance,
        "yes" if fit.fits else "no",
    )


def _as_json(form: Form, tried: Iterable[_Tried]) -> dict[str, object]:
    pages = [
        {"page": one.name, "reason": one.reason}
        if one.fit is None
        else {"page": one.name, **asdict(one.fit), "fits": one.fit.fits}
        for one in tried
    ]
    return {"schema_version": SCHEMA_VERSION, "form": form.name, "sha256": form_hash(form), "pages": pages}


def _raise_for(tried: list[_Tried], form_file: Path) -> None:
    unread = [one.name for one in tried if one.fit is None]
    odd = [one.name for one in tried if one.fit is not None and not one.fit.fits]
    error: type[ArchiveError] = PagesFailedError if unread else QualityError
    lines = []
    for names, what in ((odd, f"not fitted by {form_file}"), (unread, "not read")):
        if names:
            more = f" and {len(names) - _N_NAMED} more" if len(names) > _N_NAMED else ""
            lines.append(
                f"{len(names)} of {counted(len(tried), 'page')} {what}: {', '.join(names[:_N_NAMED])}{more}"
            )
    if lines:
        raise error("; ".join(lines))


def _pages(
    prober: Prober, scans: Sequence[Path]
) -> Iterator[tuple[Path, Document | None, PageRef | None, str]]:
    """Yield every page of files and folders; without document and page where a file gave none, and why."""
    for found in find_files(scans):
        if not isinstance(found, Path):
            yield found.path, None, None, found.reason
            continue
        try:
            document = prober.probe(found)
        except NotAScanError:
            continue
        except SourceError as error:
            yield found, None, None, str(error)
            continue
        for page in document.pages:
            yield found, document, page, ""


def _pixels(document: Document, page: PageRef, settings: Settings) -> Pixels:
    return read_page(
        document.path,
        document.format,
        page.member,
        page.frame,
        max_pixels=settings.max_pixels,
        render_dpi=settings.render_dpi,
        colour=True,
    )


def _grey(pixels: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(pixels).convert("L"), np.uint8)


def _between_rules(frame: Frame, name: str) -> Form:
    """Return the form that has a column between every two rules of a frame."""
    rules = [round(rule, 4) for rule in frame.rules]
    columns = tuple(
        FormColumn(f"column-{n}", left, right, Values())
        for n, (left, right) in enumerate(pairwise(rules), start=1)
    )
    return Form(name, columns, (), columns[0].name)


def _written(form: Form, page: str) -> str:
    """Return a form as TOML, with what a person is to do with it."""
    head = f"""\
# A form, begun from the rules of {printable(page)}.  Try it on pages: archive form check FORM PAGES…
# Give each column its name and type, and leave out those that hold no numbers.
# Types: number, day (1 to 31), date, serial (grows by a step), amount, code.

name = {json.dumps(form.name, ensure_ascii=False)}
rows = {json.dumps(form.rows)}  # the column whose numbers each start a row
"""
    columns = [
        f"""
[columns.{column.name}]
from = {column.left:g}  # shares of the frame's width
to = {column.right:g}
type = "{column.values.type}"
"""
        for column in form.columns
    ]
    tail = """
# A value that stands once on a page, by its box in shares of the frame: [u0, v0, u1, v1]
# [fields.year]
# box = [0.5, 0.09, 0.6, 0.13]
# type = "number"
"""
    return head + "".join(columns) + tail
