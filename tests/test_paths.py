"""Paths as text: reversible for any bytes, and safe to show."""

import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.paths import path_to_text, printable, text_to_path

names = st.binary(min_size=1, max_size=30).filter(lambda raw: b"\0" not in raw)


@given(names)
@example(b"\\xe9")
@example(b"caf\xe9\\\n\xed\xa0\x80")
@example("Käfig \U0001f5ff".encode())
def test_any_path_comes_back_from_its_text(raw):
    path = Path(os.fsdecode(raw))
    text = path_to_text(path)
    assert text_to_path(text) == path
    text.encode("utf-8")  # no surrogate is left, which databases refuse


@given(names, names)
def test_two_paths_never_have_the_same_text(one, other):
    texts = {path_to_text(os.fsdecode(raw)) for raw in (one, other)}
    assert len(texts) == len({one, other})


def test_plain_names_and_newlines_stay_as_they_are():
    assert path_to_text("/a/Seite 1\nverso.png") == "/a/Seite 1\nverso.png"
    assert path_to_text(os.fsdecode(b"caf\xe9")) == r"caf\xe9"
    assert path_to_text(r"C:\scans") == r"C:\\scans"


@pytest.mark.parametrize("text", ["a\\", "a\\q", r"\x41", r"\xzz", r"\xE9"])
def test_a_text_that_no_path_has_is_refused(text):
    with pytest.raises(ValueError, match="lone backslash"):
        text_to_path(text)


@given(st.text())
def test_printable_text_is_one_line_without_control_characters(text):
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    assert not any(ord(character) < 32 or 0x7F <= ord(character) < 0xA0 for character in shown)
    shown.encode("utf-8")


def test_printable_text_shows_what_it_escapes():
    assert printable("a\nb\x1b[31m\u202e\udce9") == r"a\nb\x1b[31m\u202e\udce9"
    assert printable("Käfig 中文 \U0001f5ff") == "Käfig 中文 \U0001f5ff"
