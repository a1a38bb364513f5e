r"""Paths as text that every database takes, and back: file names are bytes, and not always UTF-8.

A byte that is no part of valid UTF-8 is written `\xNN` and a backslash `\\`; everything else, newlines
included, stays as it is.  `printable` is for showing a text on one line, and is not reversible.
"""

import os
import re
import unicodedata
from pathlib import Path

_ESCAPE = re.compile(r"\\(?:\\|x([89a-f][0-9a-f]))")
_ODD = re.compile(r"[\\\udc80-\udcff]")
# joiners that Persian and Indic names need; other invisible characters are escaped
_HARMLESS = frozenset("\u200c\u200d")


def path_to_text(path: str | os.PathLike[str]) -> str:
    r"""Return `path` as text without surrogates: odd bytes as `\xNN`, a backslash as `\\`."""
    decoded = os.fsencode(path).decode("utf-8", "surrogateescape")
    return _ODD.sub(_escaped, decoded)


def text_to_path(text: str) -> Path:
    """Return the path that `path_to_text` made `text` of.

    Raises ValueError where a backslash starts no escape: no path has that text.
    """
    raw = bytearray()
    position = 0
    while (start := text.find("\\", position)) >= 0:
        match = _ESCAPE.match(text, start)
        if match is None:
            raise ValueError(f"no path has the text {printable(text)!r}: a lone backslash in it")
        raw += text[position:start].encode("utf-8")
        raw += bytes([int(match[1], 16)]) if match[1] else b"\\"
        position = match.end()
    raw += text[position:].encode("utf-8")
    return Path(os.fsdecode(bytes(raw)))


def printable(text: str) -> str:
    """Return `text` on one line and safe on a terminal: control and invisible characters are escaped."""
    return "".join(
        character if character in _HARMLESS or not _is_unsafe(character) else _code(character)
        for character in text
    )


def _escaped(odd: re.Match[str]) -> str:
    return r"\\" if odd[0] == "\\" else f"\\x{ord(odd[0]) - 0xDC00:02x}"


def _is_unsafe(character: str) -> bool:
    return unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}


def _code(character: str) -> str:
    named = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}.get(character)
    if named:
        return named
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
