"""`archive delete`: a document out of the database, with all that was read of it."""

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from cli.options import common_options, database_of, json_option, settings_of
from cli.terminal import SCHEMA_VERSION, counted, print_json, say, shown_path
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from pipeline.deletion import Theirs
    from pipeline.storage import Files

# what is told of, by the table that it is counted in
_TOLD = (
    ("paths", "path"),
    ("pages", "page"),
    ("ledger", "reading of a page"),
    ("detections", "digit box"),
    ("numbers", "number"),
    ("records", "record"),
    ("corrections", "correction"),
)
_WORDS = {"reading of a page": "readings of pages", "digit box": "digit boxes"}


@click.command()
@click.argument("document")
@click.option("--all", is_flag=True, help="Every document that DOCUMENT means: a whole folder.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed; change nothing.")
@json_option
@common_options
@click.pass_context
def delete(ctx: click.Context, document: str, all: bool, yes: bool, dry_run: bool, json: bool) -> None:
    """Remove a document from the database, with all that was read of it.

    Its pages, in every run, with digits, numbers, records and what people
    corrected; its paths, its crops, and the copy of the scan that workers
    share.  The scan itself stays where it is: no file of yours is touched.
    Ingested again it is read anew.  Runs and networks stay.

    DOCUMENT is a path, the end of one, a hash or an id.  Says what goes, and
    asks.  A page that is being read keeps its document from being deleted.

    \b
    Examples:
      archive delete --dry-run scans/p7.jpg
      archive delete ledger-3.pdf
      archive delete scans/1890 --all --yes
    """
    from pipeline import deletion
    from pipeline.database import reading
    from pipeline.paths import printable
    from pipeline.storage import Files

    asks = not (yes or dry_run)
    if asks and not sys.stdin.isatty():
        raise UsageError(
            "there is nobody to ask here: --yes deletes without asking, --dry-run says what would go"
        )
    files = Files(settings_of(ctx, promoted=False).files)
    with database_of(ctx) as db:
        with reading(db) as conn:
            ids = deletion.documents_to_delete(conn, document, several=all)
            found = deletion.theirs(conn, files, ids)
        name = shown_path(found.path) if len(ids) == 1 else f"{len(ids):,} documents of {printable(document)}"
        if dry_run:
            _tell("would delete", name, found.n_rows, len(found.files), json=json, dry_run=True)
            return
        if asks:
            say(f"{name}: {_counts(found.n_rows, len(found.files))}")
            if not click.confirm("Delete all this from the database? Scans stay.", err=True):
                say("nothing was deleted")
                return
        n_rows = _delete(db, files, found)
    _tell("deleted", name, n_rows, len(found.files), json=json, dry_run=False)


def _delete(db: "Engine", files: "Files", found: "Theirs") -> Mapping[str, int]:
    from pipeline import deletion
    from pipeline.database import writing

    with writing(db) as conn:
        deletion.refuse_in_hand(conn, found.document_ids, now=time.time())
        n_rows = deletion.forget_documents(conn, found.document_ids)
        # before the rows are gone for good: where a file can't be removed they stay, and name it again
        for file in found.files:
            files.delete(file)
        return n_rows


def _tell(
    done: str, name: str, n_rows: Mapping[str, int], n_files: int, *, json: bool, dry_run: bool
) -> None:
    if json:
        told = {"dry_run": dry_run, "rows": dict(n_rows), "n_files": n_files}
        print_json({"schema_version": SCHEMA_VERSION, **told})
    say(f"{done} {name}: {_counts(n_rows, n_files)}")


def _counts(n_rows: Mapping[str, int], n_files: int) -> str:
    parts = [counted(n_rows[table], word, _WORDS.get(word)) for table, word in _TOLD if n_rows[table]]
    if n_files:
        parts.append(counted(n_files, "file with crops or a copy", "files with crops or copies"))
    return ", ".join(parts) or "nothing was read of it"
