"""Files in folders: recursive, in natural order, without following links out of the folder."""

import os
import re
import stat
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_DIGITS = re.compile(r"(\d+)")
# what systems leave behind in folders; like hidden files they are passed over without a word
_LITTER = frozenset(
    {"thumbs.db", "desktop.ini", "ehthumbs.db", "__macosx", "$recycle.bin", "@eadir", "lost+found"}
)
_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What `find_files` met and can't hand on, with the reason.

    `skipped` tells what is no scan anyway (a pipe, a link out of the folder) from what may hold scans
    that could not be had (a folder without permission, a link to nothing).
    """

    path: Path
    reason: str
    skipped: bool = False


def natural_key(name: str) -> tuple[tuple[str | tuple[int, str], ...], str]:
    """Return the key that sorts `page2` before `page10`, letters without regard to case."""
    parts = _DIGITS.split(name.casefold())
    numbers = (part.lstrip("0") for part in parts[1::2])
    key: list[str | tuple[int, str]] = list(parts)
    key[1::2] = [(len(digits), digits) for digits in numbers]  # int() refuses thousands of digits
    return tuple(key), name


def is_litter(name: str) -> bool:
    """Whether a name is hidden (begins with a dot) or what a system leaves in folders."""
    return name.startswith(".") or name.lower() in _LITTER


def find_files(roots: Sequence[Path], without: Collection[Path] = ()) -> Iterator[Path | Unreadable]:
    """Yield the files under `roots`, each an absolute path, in natural order.

    A root is taken whatever it is, a file or a folder or a link to one.  Below a root, folders are
    never entered through links (so there are no loops), a link to a file inside the same root is
    taken, one that leads out is not, and hidden files and system litter are passed over.  What can't
    be listed comes as Unreadable, and the rest goes on.  No file is opened.

    `without` are files and folders (absolute, links followed) that are passed over without a word.
    """
    for root in roots:
        start = _absolute(root)
        real = Path(os.path.realpath(start))
        if real in without:
            continue
        try:
            mode = start.stat().st_mode
        except OSError as error:
            yield Unreadable(start, _why(error))
            continue
        if stat.S_ISDIR(mode):
            inside = (path.relative_to(real) for path in without if path.is_relative_to(real))
            yield from _below(start, real, {start / path for path in inside})
        elif stat.S_ISREG(mode):
            yield start
        else:
            yield Unreadable(start, f"is {_kind(mode)}, no file", skipped=True)


def _below(root: Path, real_root: Path, without: Collection[Path]) -> Iterator[Path | Unreadable]:
    open_lists = [_listed(root)]  # a stack instead of recursion: folders can be deeper than Python's
    while open_lists:
        found = next(open_lists[-1], None)
        if found is None:
            open_lists.pop()
        elif isinstance(found, Unreadable):
            yield found
        else:
            path = Path(found.path)
            if path in without:
                continue
            try:
                link = found.is_symlink()
                folder = found.is_dir(follow_symlinks=False)
                file = found.is_file(follow_symlinks=False)
            except OSError as error:  # where the file system doesn't tell kinds, each has to be looked at
                yield Unreadable(path, _why(error))
                continue
            if link:
                yield from _linked(path, real_root)
            elif folder:
                open_lists.append(_listed(path))
            else:
                yield path if file else _special(path)


def _listed(folder: Path) -> "Iterator[os.DirEntry[str] | Unreadable]":
    try:
        with os.scandir(folder) as entries:
            kept = [entry for entry in entries if not is_litter(entry.name)]
    except OSError as error:
        return iter([Unreadable(folder, _why(error))])
    return iter(sorted(kept, key=lambda entry: natural_key(entry.name)))


def _linked(link: Path, real_root: Path) -> Iterator[Path | Unreadable]:
    try:
        mode = link.stat().st_mode
    except OSError as error:
        reason = "is a link to nothing" if isinstance(error, FileNotFoundError) else _why(error)
        yield Unreadable(link, reason)
        return
    if not Path(os.path.realpath(link)).is_relative_to(real_root):
        yield Unreadable(
            link, "is a link out of the folder, which is not followed; name it to read it", skipped=True
        )
    elif stat.S_ISREG(mode):
        yield link
    elif not stat.S_ISDIR(mode):  # a folder inside is found by its own name
        yield Unreadable(link, f"is {_kind(mode)}, no file", skipped=True)


def _special(path: Path) -> Unreadable:
    try:
        return Unreadable(path, f"is {_kind(path.lstat().st_mode)}, no file", skipped=True)
    except OSError as error:
        return Unreadable(path, _why(error))


def _absolute(root: Path) -> Path:
    plain = Path(os.path.abspath(root))  # noqa: PTH100  (Path.absolute keeps "..")
    try:
        # behind a link ".." is another folder than the text says
        return plain if os.path.samefile(plain, root) else root.absolute()  # noqa: PTH121
    except OSError:
        return root.absolute()


def _kind(mode: int) -> str:
    return _KINDS.get(stat.S_IFMT(mode), "special")


def _why(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "can't be opened: no permission"
    if isinstance(error, FileNotFoundError):
        return "is gone"
    return f"can't be opened: {error.strerror or error}"
