"""The command line as such: help, options, errors, exit codes, output that breaks off."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.commands import COMMANDS, VARIABLES
from cli.main import archive, run
from cli.output import replacing
from cli.progress import Pace, progress_line
from cli.show import split_page
from cli.terminal import counted, duration, shorten, size, text_width
from pipeline.errors import OutputError

ARCHIVE = Path(sys.executable).with_name("archive")
DOCS = Path(__file__).resolve().parent.parent / "docs" / "commands.md"


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command with its full name, groups included."""

    def below(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
        yield name, command
        if isinstance(command, click.Group):
            for word, sub in command.commands.items():
                yield from below(f"{name} {word}", sub)

    ctx = click.Context(archive, **archive.context_settings)
    for name in COMMANDS:
        command = archive.get_command(ctx, name)
        assert command is not None
        yield from below(name, command)


ALL = dict(commands())


def examples(command: click.Command) -> list[str]:
    """The example lines of a command's help, without what is said beside them."""
    _, _, below = (command.help or "").partition("Examples:\n")
    lines = [line.strip() for line in below.splitlines()]
    return [re.split(r"\s{3,}|\s+[|>]\s", line)[0] for line in lines if line.startswith("archive ")]


def run_archive(*args: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ARCHIVE_")}
    return subprocess.run(
        [ARCHIVE, *args], cwd=cwd, env={**clean, **environment}, capture_output=True, text=True, check=False
    )


def test_help_of_every_command_imports_nothing_slow() -> None:
    program = """
import contextlib, io, sys
from cli.main import run
with contextlib.redirect_stdout(io.StringIO()):
    for name in sys.argv[1:]:
        assert run([*name.split(), "--help"]) == 0, name
slow = {"torch", "torchvision", "celery", "sqlalchemy", "alembic", "pydantic", "numpy", "PIL", "rich"}
print(sorted(slow & sys.modules.keys()))
"""
    ours = [name for name in ALL if name.split()[0] not in {"labels", "train"}]
    done = subprocess.run(
        [sys.executable, "-c", program, "", *ours], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", ALL)
def test_every_command_has_help_with_examples_that_parse(name: str) -> None:
    command = ALL[name]
    assert command.help
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, option.opts
    found = examples(command)
    assert found
    for example in found:
        known: click.Command = archive
        ctx = click.Context(archive, **archive.context_settings)
        _, words, _ = known.make_parser(ctx).parse_args(shlex.split(example)[1:])
        while isinstance(known, click.Group):
            inner = known.get_command(ctx, words[0])
            assert inner is not None, example
            known, ctx = inner, click.Context(inner, parent=ctx)
            _, words, _ = known.make_parser(ctx).parse_args(words[1:])


def test_every_command_is_in_the_documentation() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for name, command in ALL.items():
        assert f"archive {name}" in text, name
        if not isinstance(command, click.Group):
            for option in command.params:
                if isinstance(option, click.Option) and option.expose_value:
                    assert f"`{option.opts[-1]}" in text, f"{name} {option.opts[-1]}"


def test_the_table_says_what_the_commands_say() -> None:
    variables = set()
    for name, command in ALL.items():
        if " " not in name:
            assert (command.help or "").splitlines()[0] == COMMANDS[name].summary
        for option in command.params:
            if isinstance(option, click.Option) and option.allow_from_autoenv and option.expose_value:
                variables.add("_".join(["ARCHIVE", *name.upper().split(), option.name.upper()]))
    assert variables == VARIABLES


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["qery"], 2, "did you mean query?"),
        (["query", "--limits", "3"], 2, "--limits"),
        (["query", "--limit", "x"], 2, "--limit"),
        (["ingest", "not here"], 2, "not here"),
        (["ingest"], 2, "SCANS"),
        (["show", "a.jpg"], 2, "--output"),
        (["status"], 3, "archive.db"),
        (["failed", "list"], 3, "archive.db"),
        (["export", "digits", "-o", "x"], 3, "archive.db"),
        (["ingest", ".", "--detector", "none.safetensors"], 3, "none.safetensors"),
    ],
)
def test_a_wrong_command_line_is_one_line_on_stderr(
    args: list[str], code: int, says: str, tmp_path: Path
) -> None:
    done = run_archive(*args, cwd=tmp_path)
    assert done.returncode == code
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1 and says in done.stderr
    assert list(tmp_path.iterdir()) == [], "nothing is made"


def test_a_misspelt_variable_is_an_error_of_every_command(tmp_path: Path) -> None:
    for args in (["status"], ["ingest", "."], ["ingest", ".", "--dry-run"], ["doctor"], ["query"]):
        done = run_archive(*args, cwd=tmp_path, ARCHIVE_MAX_PIXEL="5")
        assert done.returncode == 9
        assert "did you mean ARCHIVE_MAX_PIXELS?" in done.stderr


def test_the_traceback_comes_with_v_only(tmp_path: Path) -> None:
    assert "Traceback" not in run_archive("status", cwd=tmp_path).stderr
    for args in (["-v", "status"], ["status", "-v"]):
        told = run_archive(*args, cwd=tmp_path).stderr
        assert "Traceback" in told and told.splitlines()[-1].startswith("archive: there is no database")
    assert "Traceback" in run_archive("status", cwd=tmp_path, ARCHIVE_VERBOSE="1").stderr


def test_an_exception_that_nobody_expected_is_a_bug(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(
        "import click\n@click.command()\ndef broken():\n    '''Break.'''\n    raise ValueError('one\\ntwo')\n"
    )
    program = (
        "import sys; from cli.main import run; from cli.commands import COMMANDS, Command\n"
        "COMMANDS['broken'] = Command('broken:broken', '')\n"
        "sys.exit(run(['broken']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("archive: bug: ValueError: one two;") and done.stderr.count("\n") == 1


def test_a_reader_that_has_enough_is_no_error(tmp_path: Path) -> None:
    end, start = os.pipe()
    os.close(end)
    done = subprocess.run([ARCHIVE, "--help"], stdout=start, stderr=subprocess.PIPE, check=False)
    os.close(start)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cant_be_written_is_one_line() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([ARCHIVE, "--help"], stdout=full, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (5, b"archive: No space left on device\n")


def test_run_gives_the_code_of_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("archive ")
    assert run(["-h"]) == run(["query", "-h"]) == 0


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "out.txt"
    file.write_text("old")
    with pytest.raises(RuntimeError), replacing(file) as opened:
        opened.write(b"half")
        raise RuntimeError
    assert file.read_text() == "old" and list(tmp_path.iterdir()) == [file]
    link = tmp_path / "link.txt"
    link.symlink_to(file)
    with replacing(link) as opened:
        opened.write(b"new")
    assert link.is_symlink() and file.read_text() == "new"
    assert sorted(tmp_path.iterdir()) == [link, file]
    with pytest.raises(OutputError, match="is a folder"), replacing(tmp_path):
        pass
    with pytest.raises(OutputError, match="can't be written"), replacing(tmp_path / "none" / "file"):
        pass


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_device_is_written_as_it_is() -> None:
    with pytest.raises(OutputError, match="No space left"), replacing(Path("/dev/full")) as opened:
        opened.write(b"x" * 100_000)
    assert not Path("/dev/full").is_file()


@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc", "Mn"], exclude_characters="…"), max_size=60),
    st.integers(4, 40),
)
def test_a_shortened_text_fits_and_keeps_its_ends(text: str, width: int) -> None:
    short = shorten(text, width)
    assert text_width(short) <= width
    if short != text:
        head, _, tail = short.rpartition("…")
        assert text_width(text) > width
        assert text.startswith(head) and text.endswith(tail)
        assert text_width(short) >= width - 2, "no more is left out than must be"


def test_counts_times_and_sizes_are_said_as_people_say_them(tmp_path: Path) -> None:
    assert (counted(1, "page"), counted(12000, "page")) == ("1 page", "12,000 pages")
    assert (duration(7.2), duration(95), duration(7260)) == ("7 s", "1 min 35 s", "2 h 1 min")
    assert (size(12), size(2_500_000), size(3e13)) == ("12 bytes", "2.5 MB", "30.0 TB")


def test_progress_says_what_is_left_only_when_it_knows() -> None:
    assert progress_line(1, 1, None, complete=True) == "1 of 1 page"
    assert progress_line(120, 340, 1.4, complete=False) == "120 of 340 pages so far, 1.4 pages/s"
    assert progress_line(120, 340, 1.4, complete=True).endswith("2 min 37 s left")
    assert "3.0 pages/min" in progress_line(1, 9, 0.05, complete=True)


def test_the_pace_is_that_of_the_last_half_minute() -> None:
    pace = Pace()
    assert pace.at(0, 0) is None
    assert pace.at(10, 2) is None, "two pages say little"
    assert pace.at(20, 10) == 0.5
    assert pace.at(60, 10) == 0.16, "it stands still: slower and slower"
    assert pace.at(70, 30) == 2.0


def test_slow_pages_have_a_pace_too() -> None:
    pace = Pace()
    rates = [pace.at(now, now // 12) for now in range(3600)]
    assert set(rates[:36]) == {None}
    assert all(rate == pytest.approx(1 / 12, rel=0.25) for rate in rates[36:])


def test_a_page_stands_behind_a_colon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert split_page("ledger.pdf:12") == ("ledger.pdf", 12)
    assert split_page("ledger.pdf") == ("ledger.pdf", None)
    assert split_page("a:b") == ("a:b", None)
    assert split_page("a:0") == ("a:0", None)
    (tmp_path / "scan:3").touch()
    assert split_page("scan:3") == ("scan:3", None), "a file that is called like this"
    assert split_page("scan:3:4") == ("scan:3", 4)
