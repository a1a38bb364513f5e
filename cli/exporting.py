"""What all of `archive export` share: the pages asked for, the output, and what is said at the end."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import click

from cli.options import common_options, database_of
from cli.output import STDOUT, replacing, replacing_folder
from cli.terminal import counted, say
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pipeline.export_xml import ReadBy
    from pipeline.exported_pages import ArchivedPage
    from pipeline.finding import NumberRow, PageFilter
    from pipeline.record_finding import RecordRow

Row = TypeVar("Row")
Option = Callable[[Callable[..., None]], Callable[..., None]]

TO_FILE = click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, allow_dash=True),
    required=True,
    metavar="FILE",
    help="The file to write, whole or not at all; - for stdout.",
)
TO_FOLDER = click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FOLDER",
    help="The folder to write, whole or not at all; it is new, or empty.",
)
OF_RECORDS = click.option(
    "--records", is_flag=True, help="Write rows of registers with their fields, not numbers."
)
_OF_PAGES = (
    click.option("--document", metavar="NAME", help="Of this document or folder: a path, or the end of one."),
    click.option("--kind", metavar="KIND", help="Of pages of this kind, as a sorter or a person said."),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a command of the group was asked: which pages, and where they go."""

    ctx: click.Context
    output: Path
    document: str | None
    kind: str | None

    def pages(self) -> "PageFilter":
        """Return which pages these are."""
        from pipeline.finding import PageFilter

        return PageFilter(self.document, self.kind)


def export_command(
    group: click.Group, name: str, output: Option, *options: Option
) -> Callable[[Callable[..., None]], click.Command]:
    """Make a function a command of the group, with the options that all have and `options` of its own.

    It gets an `Asked`, and its own options by their names.
    """

    def make(function: Callable[..., None]) -> click.Command:
        def command(output: Path, document: str | None, kind: str | None, **own: Any) -> None:
            function(Asked(click.get_current_context(), output, document, kind), **own)

        callback: Callable[..., None] = common_options(command)
        of_command: tuple[Option, ...] = (output, *_OF_PAGES, *options)
        for add in reversed(of_command):
            callback = add(callback)
        return group.command(name, help=function.__doc__)(callback)

    return make


def write_numbers(asked: Asked, write: "Callable[[BinaryIO, Iterator[NumberRow]], int]") -> None:
    """Write numbers as `write` has them, which returns how many."""
    from pipeline.finding import Filter, find_numbers

    wanted = Filter(document=asked.document, kind=asked.kind)
    _write(
        asked,
        lambda conn: find_numbers(conn, wanted),
        lambda file, rows: counted(write(file, rows), "number"),
    )


def write_pages(asked: Asked, write: "Callable[[BinaryIO, Iterator[ArchivedPage]], str]") -> None:
    """Write pages with their digits as `write` has them, which returns what it wrote."""
    from pipeline.exported_pages import exported_pages

    _write(asked, lambda conn: exported_pages(conn, asked.pages()), write)


def write_records(
    asked: Asked, write: "Callable[[BinaryIO, Iterator[RecordRow], Sequence[str]], int]"
) -> None:
    """Write records as `write` has them, and say how many, and which pages have none."""
    from pipeline.record_filter import RecordFilter
    from pipeline.record_finding import field_names, find_records, n_forms, n_without_records

    wanted = RecordFilter(document=asked.document, kind=asked.kind)
    with _archive(asked) as conn:
        names = field_names(conn, wanted)
        with closing(find_records(conn, wanted)) as rows, replacing(asked.output) as file:
            n_records = write(file, rows, names)
        _say(conn, asked, counted(n_records, "record"))
        if without := n_without_records(conn, asked.pages()):
            say(f"{counted(without, 'page')} read, but without records: archive form apply makes them")
        if (several := n_forms(conn, wanted)) > 1:
            say(f"records of {several} forms have the fields of all; `form` says which made each")


def write_files(asked: Asked, as_bytes: "Callable[[ArchivedPage, ReadBy], bytes]") -> None:
    """Write a file a page, as `as_bytes` has it."""
    from importlib.metadata import version

    from pipeline.export_xml import ReadBy, common_folder, write_page_file
    from pipeline.exported_pages import exported_pages, networks_of_runs

    if asked.output == STDOUT:
        raise UsageError("a file a page goes to a folder, not to stdout: name one with -o")
    n_pages = n_digits = 0
    with _archive(asked) as conn:
        with closing(exported_pages(conn, asked.pages())) as pages, replacing_folder(asked.output) as folder:
            root, of_runs, our_version = common_folder(conn), networks_of_runs(conn), version("archive")
            for page in pages:
                by = ReadBy(our_version, of_runs[page.run_id].that_read(page.kind))
                write_page_file(folder, root, page, as_bytes(page, by))
                n_pages += 1
                n_digits += len(page.digits)
        _say(conn, asked, pages_and_digits(n_pages, n_digits))


def pages_and_digits(n_pages: int, n_digits: int) -> str:
    """Return what was written, for people."""
    return f"{counted(n_pages, 'page')}, {counted(n_digits, 'digit')}"


def _write(
    asked: Asked,
    found: "Callable[[Connection], Generator[Row, None, None]]",
    write: Callable[[BinaryIO, Iterator[Row]], str],
) -> None:
    """Write what was found as `write` has it, and say what it was."""
    with _archive(asked) as conn:
        # what is not there is refused before a file is begun
        with closing(found(conn)) as rows, replacing(asked.output) as file:
            what = write(file, rows)
        _say(conn, asked, what)


@contextmanager
def _archive(asked: Asked) -> "Iterator[Connection]":
    """Give a transaction that sees one state of the database throughout, whatever is read meanwhile."""
    from pipeline.database import reading

    with database_of(asked.ctx) as db, reading(db) as conn:
        yield conn


def _say(conn: "Connection", asked: Asked, what: str) -> None:
    """Say what was written, where, and how many pages of those asked for were left out."""
    from pipeline.exported_pages import n_not_done

    where = "" if asked.output == STDOUT else f" → {asked.output}"
    left_out = n_not_done(conn, asked.pages())
    without = f"; {counted(left_out, 'page')} not done, left out" if left_out else ""
    say(f"{what}{where}{without}")
