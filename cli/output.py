"""Files and folders that commands write: whole or not at all, `-` for stdout."""

import os
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from pipeline.errors import OutputError
from pipeline.paths import path_to_text, printable

STDOUT = Path("-")


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write that takes `path`'s place at the end, or leaves what was there if anything fails.

    `-` is stdout.  What is no plain file (a pipe, a device) is written as it is.  Raises OutputError.
    """
    if path == STDOUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    target = Path(os.path.realpath(path))  # a link stays one, and its target is replaced
    try:
        if target.is_dir():
            raise OutputError(f"{_shown(path)} is a folder: name a file in it")
        if target.exists() and not stat.S_ISREG(target.stat().st_mode):
            with target.open("wb") as file:
                yield file
            return
        halfway = target.with_name(f".{uuid4().hex[:12]}.part")
        try:
            with halfway.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            halfway.replace(target)
        finally:
            halfway.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{_shown(path)} can't be written: {error.strerror or error}") from error


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder that takes `path`'s place at the end, or is gone if anything fails.

    At `path` there may be nothing or an empty folder: what somebody keeps there is not ours to delete.
    Raises OutputError.
    """
    target = Path(os.path.realpath(path))
    try:
        if target.exists() and not target.is_dir():
            raise OutputError(f"{_shown(path)} is a file: name a folder")
        if target.is_dir() and next(target.iterdir(), None) is not None:
            raise OutputError(f"{_shown(path)} is not empty: name a new folder")
        halfway = target.with_name(f".{uuid4().hex[:12]}.part")
        try:
            halfway.mkdir()
            yield halfway
            halfway.replace(target)
        finally:
            shutil.rmtree(halfway, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"{_shown(path)} can't be written: {error.strerror or error}") from error


@dataclass(frozen=True, slots=True)
class Utf8:
    """A file of bytes that takes text; unlike TextIOWrapper it leaves the file to its owner."""

    file: BinaryIO

    def write(self, text: str, /) -> None:
        """Write a piece of text as UTF-8."""
        self.file.write(text.encode())


def _shown(path: Path) -> str:
    return printable(path_to_text(path))
