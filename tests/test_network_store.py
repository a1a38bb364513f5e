"""The store of networks: files and cards whole whatever happens, and a history that goes back as it came."""

import hashlib
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import network_store
from pipeline.errors import BusyError, MissingError, OutputError, SourceGoneError
from pipeline.network_store import add, file_hash, locked, look_through, network_file
from pipeline.promotions import (
    in_place,
    promote,
    promoted_files,
    read_history,
    roll_back,
    set_aside,
)

KINDS = ("classifier", "judge")
# adds and promotes a network, and is killed before the file in place of the nth is written
PROGRAM = """
import os, signal, sys
from pathlib import Path
from pipeline.network_store import add
from pipeline.promotions import promote
folder, file, sha256, nth = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
real, count = Path.replace, 0
def replace(self, target):
    global count
    count += 1
    if count == nth:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, target)
Path.replace = replace
add(folder, file, "classifier", sha256, name="x", note="")
promote(folder, "classifier", sha256, over=None, replaced="0" * 64, figures={})
"""


@pytest.fixture
def file(tmp_path: Path) -> tuple[Path, str]:
    """A file and its hash; to the store one is as good as another."""
    path = tmp_path / "x.safetensors"
    path.write_bytes(bytes(range(256)) * 40)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_a_command_killed_at_any_step_leaves_the_store_whole(
    nth: int, tmp_path: Path, file: tuple[Path, str]
) -> None:
    folder, (path, sha256) = tmp_path / "store", file

    def run(nth: int) -> int:
        words = [sys.executable, "-c", PROGRAM, str(folder), str(path), sha256, str(nth)]
        return subprocess.run(words, check=False).returncode

    assert run(nth) == (-signal.SIGKILL if nth < 4 else 0)
    shelf = look_through(folder, KINDS)
    assert not shelf.damaged
    assert len(shelf.cards) == (nth > 2), "a network is there when its card is"
    assert len(shelf.left_over) == (0 if nth > 2 else nth)
    for card in shelf.cards:
        assert file_hash(network_file(folder, card.kind, card.sha256)) == card.sha256
    assert len(promoted_files(folder, KINDS)) == (nth > 3)
    if nth < 4:
        assert run(99) == 0
    assert promoted_files(folder, KINDS) == {"classifier": network_file(folder, "classifier", sha256)}
    assert not list(folder.rglob("*.part")) and not look_through(folder, KINDS).left_over


def test_adding_twice_is_nothing_new_and_mends_what_is_damaged(
    tmp_path: Path, file: tuple[Path, str]
) -> None:
    folder, (path, sha256) = tmp_path / "store", file
    card, is_new = add(folder, path, "classifier", sha256, name="mine", note="of box 7")
    assert is_new and (card.name, card.note, card.source) == ("mine", "of box 7", str(path))
    kept = network_file(folder, "classifier", sha256)
    kept.write_bytes(b"torn")
    assert add(folder, path, "classifier", sha256, name="other", note="") == (card, False)
    assert kept.read_bytes() == path.read_bytes()
    path.write_bytes(b"other bytes")
    with pytest.raises(SourceGoneError, match="was changed"):
        add(folder, path, "classifier", sha256, name="mine", note="")
    path.unlink()
    with pytest.raises(SourceGoneError, match="can't be read"):
        add(folder, path, "classifier", sha256, name="mine", note="")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("{", "Expecting"),
        ('{"kind": "classifier"}', "missing"),
        ("[]", "mapping"),
        ('{"kind": "judge"}', "card of a judge"),
        ('{"sha256": "../../etc"}', "card of another file"),
        ('{"name": 7}', "no text"),
    ],
)
def test_a_damaged_card_is_told_and_mended(
    said: str, why: str, tmp_path: Path, file: tuple[Path, str]
) -> None:
    folder, (path, sha256) = tmp_path / "store", file
    add(folder, path, "classifier", sha256, name="mine", note="")
    card = network_file(folder, "classifier", sha256).with_suffix(".json")
    whole = json.loads(card.read_text())
    changed = json.loads(said) if said.startswith('{"') else None
    card.write_text(said if changed is None or "missing" in why else json.dumps(whole | changed))
    shelf = look_through(folder, KINDS)
    assert not shelf.cards and [file for file, _ in shelf.damaged] == [card]
    assert why in shelf.damaged[0][1] and not shelf.left_over
    assert add(folder, path, "classifier", sha256, name="mine", note="")[1]
    assert not look_through(folder, KINDS).damaged


def test_two_commands_do_not_write_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_store, "_PATIENCE_S", 0.2)
    with locked(tmp_path):
        with pytest.raises(BusyError, match="another `archive models` command"):
            promote(tmp_path, "judge", "a" * 64, over=None, replaced="0" * 64, figures={})
        promoted = read_history(tmp_path)
    assert promoted == {}
    promote(tmp_path, "judge", "a" * 64, over=None, replaced="0" * 64, figures={})
    with pytest.raises(BusyError, match="promoted meanwhile"):
        promote(tmp_path, "judge", "b" * 64, over=None, replaced="0" * 64, figures={})
    assert in_place(read_history(tmp_path)["judge"]) == "a" * 64


@settings(max_examples=25, deadline=None)
@given(steps=st.lists(st.sampled_from(["a", "b", "c", "back"]), max_size=8))
def test_rolling_back_goes_the_way_that_promotions_came(
    steps: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("store")
    stack: list[str] = []
    n_events = 0
    for step in steps:
        before = stack[-1] if stack else None
        if step != "back":
            promote(folder, "judge", step * 64, over=before, replaced=before or "0" * 64, figures={"p": 0.1})
            stack.append(step * 64)
        else:
            event = roll_back(folder, "judge")
            if stack:
                stack.pop()
                assert event is not None
                assert (event.replaced, event.sha256) == (before, stack[-1] if stack else None)
            else:
                assert event is None
                continue
        n_events += 1
        events = read_history(folder)["judge"]
        assert len(events) == n_events, "nothing is forgotten"
        assert in_place(events) == (stack[-1] if stack else None)


@pytest.mark.parametrize(
    "said",
    [
        "",
        "[]",
        '{"schema_version": 9, "history": {}}',
        '{"schema_version": 1}',
        '{"schema_version": 1, "history": {"judge": [{"sha256": "a"}]}}',
        '{"schema_version": 1, "history": {"judge": [{"action": "promoted", "sha256": "../x",'
        ' "replaced": null, "at": "", "figures": {}}]}}',
    ],
)
def test_a_damaged_history_is_told_and_set_aside(said: str, tmp_path: Path) -> None:
    history = tmp_path / "promoted.json"
    history.write_text(said)
    with pytest.raises(MissingError, match=r"promoted\.json: .* `archive models rollback KIND`"):
        promoted_files(tmp_path, KINDS)
    aside = set_aside(tmp_path)
    assert aside is not None and aside.read_text() == said
    assert promoted_files(tmp_path, KINDS) == {} and set_aside(tmp_path) is None


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path, file: tuple[Path, str]) -> None:
    path, sha256 = file
    with pytest.raises(OutputError, match="can't be kept here"):
        add(path / "store", path, "judge", sha256, name="x", note="")
    (tmp_path / "judge").touch()
    with pytest.raises(OutputError, match="can't be written"):
        add(tmp_path, path, "judge", sha256, name="x", note="")


def test_other_files_in_the_folder_of_the_store_are_left_alone(tmp_path: Path) -> None:
    theirs = [tmp_path / "film.mkv.part", tmp_path / "classifier" / "draft.part", tmp_path / "a/b/c.part"]
    ours = [tmp_path / "promoted.json.part", tmp_path / "classifier" / f"{'0a' * 8}.safetensors.part"]
    for part in (*theirs, *ours):
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(b"half")
    with locked(tmp_path):
        assert all(part.exists() for part in theirs) and not any(part.exists() for part in ours)
