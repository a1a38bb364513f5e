"""The `archive` command: the group of commands, and the one place where errors become a line and a code."""

import contextlib
import errno
import logging
import os
import signal
import sys
from importlib import import_module
from typing import NoReturn

import click

from cli.commands import COMMANDS
from cli.options import VERBOSE, common_options
from cli.signals import Stopped, leave_on_signals
from pipeline.errors import ArchiveError, OutputError

EXIT_BUG = 1
EXIT_PIPE_CLOSED = 128 + signal.SIGPIPE
EXIT_INTERRUPTED = 128 + signal.SIGINT


class Commands(click.Group):
    """A group that imports a command when it is called, and not to list it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which people meet them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command; None if there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        module, function = COMMANDS[cmd_name].target.split(":")
        command = getattr(import_module(module), function)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is meant; UsageError names the nearest one."""
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib  # takes long, and is for mistakes

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            ctx.fail(f"there is no command {args[0]!r}{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.summary) for name, command in COMMANDS.items()])


@click.command(
    cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "ARCHIVE"}
)
@common_options
@click.version_option(package_name="archive", message="archive %(version)s")
def archive() -> None:
    """Turn scanned registers into numbers that can be queried.

    \b
    Examples:
      archive ingest scans/            read every scan in a folder
      archive query 0042               where does this number stand?
      archive show scans/p7.jpg -o p7.png
      archive COMMAND --help           more, with examples

    Every option is also a variable: ARCHIVE_DATABASE_URL, or
    ARCHIVE_QUERY_LIMIT for `archive query --limit`.
    """


def main() -> NoReturn:
    """Run the command line and leave with its exit code."""
    leave_on_signals()
    for stream in (sys.stdout, sys.stderr):
        # a file name that the terminal's encoding lacks must not end a long listing
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    code = run(sys.argv[1:])
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    # all is written and closed; to take apart what was imported would take a tenth of a short command's time
    os._exit(code)


def run(args: list[str]) -> int:
    """Run one command line and return its exit code; errors are shown as one line on stderr."""
    verbose = {VERBOSE: False}
    try:
        with archive.make_context("archive", list(args)) as ctx:
            verbose = ctx.meta  # the group's options and the command's both end here
            archive.invoke(ctx)
        sys.stdout.flush()
    except click.exceptions.Exit as left:
        return left.exit_code
    except click.ClickException as error:
        return _usage(error)
    except ArchiveError as error:
        return _fail(str(error), error.exit_code, verbose)
    except (KeyboardInterrupt, click.Abort):
        return _fail("stopped", EXIT_INTERRUPTED, {})
    except Stopped as stopped:
        return _fail("stopped", stopped.exit_code, {})
    except OSError as error:
        if error.errno == errno.EPIPE:  # whoever reads us has enough: `archive query | head`
            _drop_stdout()
            return EXIT_PIPE_CLOSED
        if error.errno == errno.ENOSPC:
            _drop_stdout()
        return _fail(_system_error(error), OutputError.exit_code, verbose)
    except Exception as error:
        line = f"bug: {type(error).__name__}: {error}; please report it, with what `-v` shows"
        return _fail(line, EXIT_BUG, verbose)
    return 0


def _usage(error: click.ClickException) -> int:
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    where = ctx.command_path if ctx else "archive"
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return error.exit_code
    message = " ".join(error.format_message().split()).rstrip(".")
    _say(f"{where}: {message} (`{where} --help` shows how it is used)")
    return error.exit_code


def _fail(message: str, code: int, verbose: dict[str, bool]) -> int:
    if verbose.get(VERBOSE):
        import traceback

        traceback.print_exc()
    _say("archive: " + " ".join(message.split()))
    return code


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # nobody reads stderr any more: the exit code is all that is left
        print(line, file=sys.stderr, flush=True)


def _system_error(error: OSError) -> str:
    what = error.strerror or str(error)
    return f"{error.filename}: {what}" if error.filename else what


def _drop_stdout() -> None:
    # what is still buffered can't be written: without this the interpreter would say so once more
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
