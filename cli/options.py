"""Options that every command takes, before its name or after it, and the settings they make."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cli.commands import VARIABLES

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from pipeline.settings import Settings

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

OPTIONS, CONFIG, VERBOSE = "archive.options", "archive.config", "archive.verbose"

FILE = click.Path(path_type=Path)
A_FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)


def common_options(command: Decorated) -> Decorated:
    """Add --database, --files, --networks, --config and -v to a command or to the group of them."""
    for add in (_verbose, _config, _networks, _files, _database):  # the last one added is shown first
        command = add(command)
    return command


def reading_options(command: Decorated) -> Decorated:
    """Add the settings that say how pages are read."""
    networks = (_device, _orienter, _detector, _classifier, _rescorer, _recogniser, _judge)
    for add in reversed((_max_pixels, _dpi, _threads, _batch, *networks, _deadline, _deaths)):
        command = add(command)
    return command


def queue_options(command: Decorated) -> Decorated:
    """Add the settings of a queue that other machines work on."""
    for add in reversed((_broker, _shared)):
        command = add(command)
    return command


def sorting_options(command: Decorated) -> Decorated:
    """Add --sorter and --paths."""
    for add in reversed((_sorter, _paths)):
        command = add(command)
    return command


def broker_option(command: Decorated) -> Decorated:
    """Add --broker."""
    return _broker(command)


def worker_options(command: Decorated) -> Decorated:
    """Add the settings of a worker, beside those of reading."""
    for add in reversed((_broker, _in_flight, _cache)):
        command = add(command)
    return command


def feeder_options(command: Decorated) -> Decorated:
    """Add the settings of a feeder that works for itself."""
    for add in reversed((_broker, _in_flight, _deaths)):
        command = add(command)
    return command


def network_options(command: Decorated) -> Decorated:
    """Add the settings of a command that reads pages itself, one after the other."""
    networks = (_orienter, _detector, _classifier, _rescorer, _recogniser, _judge)
    for add in reversed((_max_pixels, _dpi, _device, *networks)):
        command = add(command)
    return command


def scan_options(command: Decorated) -> Decorated:
    """Add the settings of a command that looks at pages, and reads nothing on them."""
    for add in reversed((_max_pixels, _dpi)):
        command = add(command)
    return command


def labelling_options(command: Decorated) -> Decorated:
    """Add the settings of reading that matter where transcriptions are labelled: these pages lie upright."""
    for add in reversed((_max_pixels, _device, _detector, _classifier)):
        command = add(command)
    return command


def judging_options(command: Decorated) -> Decorated:
    """Add the settings of reading that matter where numbers of upright pages are judged."""
    for add in reversed((_max_pixels, _device, _detector, _classifier, _rescorer, _recogniser)):
        command = add(command)
    return command


def json_option(command: Decorated) -> Decorated:
    """Add --json."""
    return click.option("--json", is_flag=True, help="Print JSON, with its schema_version.")(command)


def data_option(*, required: bool) -> Callable[[Decorated], Decorated]:
    """Return what adds --data to a training."""
    return click.option(
        "--data",
        multiple=True,
        required=required,
        metavar="FOLDER[=SHARE]",
        help="Learn from this; may be given several times.",
    )


def settings_of(ctx: click.Context, *, promoted: bool = True) -> "Settings":
    """Return the settings in force for this command; SettingsError for one that is wrong or unknown.

    Promoted networks are among them, or MissingError; `promoted=False` is for a command that reads with none.
    """
    # here and not at the top: --help must not wait for pydantic
    from pipeline.settings import load_settings

    level = logging.INFO if is_verbose(ctx) else logging.WARNING
    logging.basicConfig(level=level, format="archive: %(message)s")
    return load_settings(ctx.meta.get(OPTIONS, {}), ctx.meta.get(CONFIG), VARIABLES, promoted=promoted)


@contextmanager
def database_of(ctx: click.Context, *, create: bool = False) -> "Iterator[Engine]":
    """Open the database of this command, and let go of it at the end; raises as `open_database` does."""
    from pipeline.database import open_database

    db = open_database(settings_of(ctx, promoted=False).database_url, create=create)
    try:
        yield db
    finally:
        db.dispose()


def is_verbose(ctx: click.Context) -> bool:
    """Say whether -v was given."""
    return bool(ctx.meta.get(VERBOSE))


# A context's meta is shared by the group and its commands, and the command's own options are
# parsed last: so what stands after the command's name wins over what stands before it.


def _keep_setting(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if value is not None:
        ctx.meta.setdefault(OPTIONS, {})[param.name] = value


def _keep_config(ctx: click.Context, param: click.Parameter, value: Path | None) -> None:
    if value is not None:
        ctx.meta[CONFIG] = value


def _keep_verbose(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta[VERBOSE] = True


def _setting(
    flag: str, field: str, metavar: str, kind: click.ParamType[Any] | type, text: str
) -> Callable[[Decorated], Decorated]:
    return click.option(
        flag,
        field,
        type=kind,
        metavar=metavar,
        expose_value=False,
        allow_from_autoenv=False,  # a setting's variable is read with the settings
        callback=_keep_setting,
        help=text,
    )


_database = _setting(
    "--database", "database_url", "URL", str, "The database: a file, or postgresql://…  [default: archive.db]"
)
_files = _setting("--files", "files_url", "URL", str, "Where crops are kept.  [default: beside the database]")
_networks = _setting(
    "--networks",
    "networks_folder",
    "FOLDER",
    str,
    "Where added and promoted networks are kept.  [default: beside the database]",
)
_config = click.option(
    "--config",
    type=FILE,
    metavar="FILE",
    expose_value=False,
    allow_from_autoenv=False,  # ARCHIVE_CONFIG is read with the settings
    callback=_keep_config,
    help="Settings in a TOML file.  [default: archive.toml if any]",
)
_verbose = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    envvar="ARCHIVE_VERBOSE",
    allow_from_autoenv=False,
    expose_value=False,
    callback=_keep_verbose,
    help="Say more; show the traceback of an error.",
)
_max_pixels = _setting(
    "--max-pixels", "max_pixels", "N", click.IntRange(1), "Refuse larger pages.  [default: 150000000]"
)
_dpi = _setting(
    "--render-dpi",
    "render_dpi",
    "DPI",
    click.IntRange(36, 1200),
    "For PDF pages that are no plain scan.  [default: 300]",
)
_threads = _setting(
    "--threads",
    "threads",
    "N",
    click.IntRange(0),
    "Pages at a time.  [default: one a core, 4 at most; more on a GPU]",
)
_batch = _setting(
    "--batch", "batch", "N", click.IntRange(0), "Crops in a batch.  [default: as suits the device]"
)
_device = _setting("--device", "device", "NAME", str, "auto, cpu, cuda or cuda:N.  [default: auto]")
_orienter = _setting("--orienter", "orienter", "FILE", FILE, "Other weights to tell a page's way up with.")
_detector = _setting("--detector", "detector", "FILE", FILE, "Other weights to find digits with.")
_classifier = _setting("--classifier", "classifier", "FILE", FILE, "Other weights to read digits with.")
_rescorer = _setting(
    "--rescorer", "rescorer", "FILE", FILE, "Other weights to tell digits by their neighbours."
)
_recogniser = _setting(
    "--recogniser", "recogniser", "FILE", FILE, "Other weights to read whole numbers with."
)
_judge = _setting("--judge", "judge", "FILE", FILE, "Other weights to judge whole numbers with.")
_sorter = _setting(
    "--sorter", "sorter", "NAME", str, "Sort pages by kind first, with this network of `archive models`."
)
_paths = _setting("--paths", "paths", "FILE", FILE, "What becomes of pages of each kind, in a TOML file.")
_broker = _setting(
    "--broker", "broker_url", "URL", str, "Where pages are queued: redis://… or amqp://…  [default: no queue]"
)
_shared = _setting(
    "--shared",
    "shared_folders",
    "FOLDERS",
    str,
    "Scans in these are not copied: every worker sees them.",
)
_cache = _setting("--cache", "cache", "FOLDER", FILE, "Where fetched scans and weights are kept.")
_in_flight = _setting(
    "--max-in-flight", "max_in_flight", "N", click.IntRange(1), "Messages in the broker.  [default: 1000]"
)
_deadline = _setting(
    "--page-deadline",
    "page_deadline_s",
    "SECONDS",
    click.FloatRange(0, min_open=True),
    "A page that takes longer is set aside.  [default: 300]",
)
_deaths = _setting(
    "--max-deaths",
    "max_deaths",
    "N",
    click.IntRange(1),
    "Tries for a page that crashes us.  [default: 3]",
)
