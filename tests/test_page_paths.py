"""Which path each kind of page takes: the file as people write it, each mistake with its line, and JSON."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import MissingError, SettingsError
from pipeline.network_store import file_hash
from pipeline.page_paths import FoundNetwork, SorterAtHand, read_page_paths
from pipeline.settings import NETWORKS
from pipeline.sorting import KindPath, Sorting, as_json, networks_of, sorting_of

KINDS = SorterAtHand("a" * 64, ("register", "cover", "form-a", "form-b"))
SIDES = ("left", "right", "index")
STORED = {
    ("sorter", "left-right"): FoundNetwork("b" * 64, SIDES),
    ("sorter", "kinds"): FoundNetwork("a" * 64, KINDS.classes),
    ("sorter", "slashes"): FoundNetwork("c" * 64, ("recto/verso",)),
    ("detector", "faint ink"): FoundNetwork("d" * 64),
}
FILE = """\
doubtful_below = 0.9

[kinds.cover]
path = "skip"

[kinds.form-b]
classifier = "forms.safetensors"

[kinds.register]
sorter = "left-right"
detector = "faint ink"
[kinds.register.kinds.index]
path = "person"
[kinds.register.kinds.left]
classifier = "forms.safetensors"
"""


def find(kind: str, word: str, folder: Path) -> FoundNetwork:
    if (sha256 := file_hash(folder / word)) is not None:
        return FoundNetwork(sha256)
    if (kind, word) in STORED:
        return STORED[kind, word]
    raise MissingError(f"no {kind} is called {word}; `archive models list` shows what there is")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "forms.safetensors").write_bytes(b"of forms")
    (tmp_path / "wrong.toml").write_text('rows = "no"\n[columns.no]\nform = 0\n')
    return tmp_path / "paths.toml"


def test_each_kind_takes_the_path_that_the_file_says(file: Path) -> None:
    file.write_text(FILE)
    forms = file_hash(file.with_name("forms.safetensors"))
    assert forms is not None
    sorting = read_page_paths(file, KINDS, find).sorting
    register = {
        "left": KindPath(networks={"detector": "d" * 64, "classifier": forms}),
        "right": KindPath(networks={"detector": "d" * 64}),
        "index": KindPath("person"),
    }
    assert sorting == Sorting(
        "a" * 64,
        0.9,
        {
            "register": KindPath(sorter="b" * 64, kinds=register),
            "cover": KindPath("skip"),
            "form-a": KindPath(),
            "form-b": KindPath(networks={"classifier": forms}),
        },
    )
    assert sorting.path_of("cover") == KindPath("skip")
    assert sorting.path_of("register/left") == register["left"]
    assert sorting.path_of("register") == KindPath(sorter="b" * 64, kinds=register)
    for unknown in ("covr", "register/covr", "cover/index", "register/", "/register", "", "index"):
        assert sorting.path_of(unknown) is None
    assert sorting.final_kinds() == (
        "cover",
        "form-a",
        "form-b",
        "register/index",
        "register/left",
        "register/right",
    )
    assert networks_of(sorting) == {
        ("sorter", "a" * 64),
        ("sorter", "b" * 64),
        ("detector", "d" * 64),
        ("classifier", forms),
    }


def test_kinds_that_are_not_named_are_read_by_the_usual_networks(file: Path) -> None:
    usual = Sorting("a" * 64, 0.8, {kind: KindPath() for kind in KINDS.classes})
    assert read_page_paths(None, KINDS, find).sorting == usual
    for text in (
        "",
        "# nothing yet",
        "\ufeffdoubtful_below = 0.8",
        '[kinds.cover]\npath = "read"',
        "[kinds]",
    ):
        file.write_text(text, encoding="utf-8")
        assert read_page_paths(file, KINDS, find).sorting == usual


def test_json_holds_only_what_is_said(file: Path) -> None:
    file.write_text('[kinds.cover]\npath = "skip"\n[kinds.form-a]\ndetector = "faint ink"\n')
    assert as_json(read_page_paths(file, KINDS, find).sorting) == {
        "sorter": "a" * 64,
        "doubtful_below": 0.8,
        "kinds": {
            "cover": {"end": "skip"},
            "form-a": {"networks": {"detector": "d" * 64}},
            "form-b": {},
            "register": {},
        },
    }


def message_of(file: Path, sorter: SorterAtHand = KINDS) -> str:
    with pytest.raises(SettingsError) as caught:
        read_page_paths(file, sorter, find)
    message = str(caught.value)
    assert message.isprintable(), "it is one line"
    return message


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("kinds = 3", 1, "kinds is 3, not a table"),
        ("\n\n[[kinds]]", 3, "kinds is [{}], not a table"),
        ('[kinds]\n\ncover = "skip"', 3, "kinds.cover is 'skip', not a table"),
        ("doubtful_belw = 1", 1, "unknown key 'doubtful_belw'; did you mean doubtful_below?"),
        ("[kinds.cover]\n[pages]", 2, "unknown key 'pages'; there are doubtful_below, kinds"),
        ("[kinds.cover]\n\n[kinds.covr]", 3, "unknown kind 'covr'; did you mean cover?"),
        ("[kinds.map]", 1, "unknown kind 'map'; there are register, cover, form-a, form-b"),
        ('kinds."register/index" = {}', 1, "write it kinds.register.kinds.index"),
        ('[kinds.cover]\npath = "read"\npth = 1', 3, "unknown key 'pth'; did you mean path?"),
        ('[kinds.cover]\npath = "skp"', 2, "path is 'skp', not skip, person or read"),
        ("[kinds.cover]\npath = [\n]", 2, "path is [], not skip, person or read"),
        ("doubtful_below = 1.5", 1, "doubtful_below is 1.5, not a number from 0 to 1"),
        ("#\ndoubtful_below = -1", 2, "doubtful_below is -1, not"),
        ("doubtful_below = nan", 1, "doubtful_below is nan, not"),
        ("doubtful_below = true", 1, "doubtful_below is True, not"),
        ('doubtful_below = "0.5"', 1, "doubtful_below is '0.5', not"),
        ("[kinds.cover]\njudge = 5", 2, "judge is 5, not a file or the name of a network"),
        ('[kinds.cover]\nsorter = ""', 2, "sorter is '', not a file or the name of a network"),
        ('[kinds.cover]\njudge = "a\\u0000"', 2, "judge is 'a\\x00', not a file"),
        ('[kinds.cover]\njudge = "x"', 2, "no judge is called x; `archive models list`"),
        ('[kinds.cover]\njudge = "faint ink"', 2, "no judge is called faint ink"),
        ('[kinds.cover]\nsorter = "x"', 2, "no sorter is called x"),
        ("[kinds.cover]\nform = 5", 2, "form is 5, not a file"),
        ('[kinds.cover]\n\nform = "none.toml"', 3, "none.toml: can't be read: No such file"),
        ('[kinds.cover]\nform = "wrong.toml"', 2, "wrong.toml:3: unknown key 'form'; did you mean from?"),
        ('[kinds.cover]\nform = "x"\npath = "skip"', 3, "'skip', so that form has no use: leave out one"),
        ('[kinds.cover]\njudge = "x"\npath = "skip"', 3, "'skip', so that judge has no use: leave out one"),
        ('[kinds.cover]\npath = "person"\nsorter = "x"', 2, "'person', so that sorter has no use"),
        ('[kinds.cover]\n[kinds.cover.kinds.x]\npath = "skip"', 2, "kinds of 'cover' need a sorter"),
        ('[kinds.cover]\nsorter = "kinds"', 2, "sorter 'kinds' has sorted these pages already"),
        ('[kinds.cover]\nsorter = "slashes"', 2, "its class 'recto/verso' has a /"),
        ("[kinds.cover\npath = 1", 1, "Expected ']' at the end of a table declaration"),
        ("[kinds.cover]\npath =", 2, "Invalid value"),
        ('[kinds.cover]\npath = """\nskip\n', 2, "Unterminated string"),
        ("[kinds.cover]\njudge = [\n\n1,\n", 2, "Invalid value"),
        ("[kinds.cover]\n[kinds.cover]", 2, "Cannot declare"),
        ("doubtful_below = 0\ndoubtful_below = 1", 2, "Cannot overwrite a value"),
        pytest.param("\nkinds = " + "9" * 5000, 2, "Exceeds the limit", id="a number too long"),
        pytest.param("\nkinds = " + "[" * 5000 + "]" * 5000, 2, "recursion", id="nested too deep"),
    ],
)
def test_a_mistake_is_one_line_that_says_where(text: str, line: int, said: str, file: Path) -> None:
    for newline in ("\n", "\r\n"):
        file.write_bytes(text.replace("\n", newline).encode())
        message = message_of(file)
        assert message.startswith(f"{file}:{line}: "), message
        assert said in message


def test_forms_stand_beside_the_file_and_are_no_part_of_a_run(file: Path) -> None:
    for name in ("notary", "wills"):
        file.with_name(f"{name}.toml").write_text('rows = "no"\ncolumns.no = {from = 0, to = 1}\n')
    chain = '[kinds.register]\nsorter = "left-right"\n[kinds.register.kinds.index]\npath = "skip"\n'
    file.write_text(chain)
    without = read_page_paths(file, KINDS, find)
    assert without.forms == {}
    named = chain.replace("sorter", 'form = "notary.toml"\nsorter')
    file.write_text(
        f'{named}[kinds.register.kinds.left]\nform = "wills.toml"\n[kinds.form-a]\nform = "wills.toml"\n'
    )
    found = read_page_paths(file, KINDS, find)
    names = {kind: form.form.name for kind, form in found.forms.items()}
    assert names == {"register/left": "wills", "register/right": "notary", "form-a": "wills"}
    assert found.sorting == without.sorting


def test_a_mistake_further_down_in_a_chain_says_where(file: Path) -> None:
    chain = '[kinds.register]\nsorter = "left-right"\n[kinds.register.kinds.index]\n'
    for text, line, said in (
        ('sorter = "left-right"', 4, "sorter 'left-right' has sorted these pages already"),
        ('\nsorter = "kinds"', 5, "sorter 'kinds' has sorted these pages already"),
        ("[kinds.register.kinds.indx]", 4, "unknown kind 'indx'; did you mean index?"),
        ("[kinds.register.kinds.cover]", 4, "unknown kind 'cover'; there are left, right, index"),
    ):
        file.write_text(chain + text)
        message = message_of(file)
        assert message.startswith(f"{file}:{line}: {said}"), message


def test_a_sorter_may_stand_in_two_chains(file: Path) -> None:
    file.write_text('kinds.cover.sorter = "left-right"\nkinds.register.sorter = "left-right"\n')
    sorting = read_page_paths(file, KINDS, find).sorting
    assert sorting.path_of("cover/left") == sorting.path_of("register/left") == KindPath()


def test_a_file_that_cannot_be_read_is_named(file: Path) -> None:
    assert message_of(file) == f"{file}: can't be read: No such file or directory"
    assert message_of(file.parent) == f"{file.parent}: can't be read: Is a directory"
    file.write_bytes(b"# Stra\xc3\x9fe\n# Stra\xdfe\n")
    assert message_of(file) == f"{file}:2: this is not UTF-8; save the file as UTF-8"


def test_a_sorter_whose_classes_cannot_be_kinds_is_refused_without_a_file() -> None:
    with pytest.raises(SettingsError, match=r"^sorter cccccccccccc: its class 'recto/verso' has a /"):
        read_page_paths(None, SorterAtHand("c" * 64, ("recto", "recto/verso")), find)


# names that need quotes in TOML, or look like something else there
ODD_NAMES = ("plain", "form b", "a.b", "#7", "[x]", 'say "no"', "großes", "oops = 1", "kinds")
VALUES = ('"any"', "'any'  # oops = 1", '"""\noops = 1\n[oops]\n"""', "'''\n\n# any'''", '"""\\\n  any"""')
BAD_VALUES = (*VALUES, "1", "[\n1,\n[2]\n]", "{ a = 1 }")
NOTHING = ("", "# oops = 1", "  # [kinds.oops]", "\t")


def find_any(kind: str, word: str, folder: Path) -> FoundNetwork:
    return FoundNetwork("e" * 64)


@st.composite
def files_with_a_bad_key(draw: st.DrawFn) -> tuple[str, int]:
    """A file as people write it in many ways, and the line on which its one bad key stands."""
    names = draw(st.lists(st.sampled_from(ODD_NAMES), min_size=1, max_size=4, unique=True))
    bad_one = draw(st.integers(0, len(names) - 1))
    under_header = draw(st.booleans())
    above: list[tuple[str, bool]] = [("[kinds]", False)] if under_header else []  # and whether it is bad
    below: list[tuple[str, bool]] = []
    for number, name in enumerate(names):
        key = name if name.isalpha() and name.isascii() and draw(st.booleans()) else json.dumps(name)
        networks = draw(st.lists(st.sampled_from(NETWORKS), max_size=3, unique=True))
        said = [(network, draw(st.sampled_from(VALUES)), False) for network in networks]
        if number == bad_one:
            oops = draw(st.sampled_from(["oops", '"oops"', "'oops'", "oops.more"]))
            said.insert(draw(st.integers(0, len(said))), (oops, draw(st.sampled_from(BAD_VALUES)), True))
        place = key if under_header else f"kinds.{key}"
        style = draw(st.sampled_from(["header", "dotted", "inline"]))
        if style == "header":
            below.append((f" [ kinds . {key} ]  # {name}", False))
            below += [(f"{word} = {value}", bad) for word, value, bad in said]
        elif style == "dotted":
            above += [(f"{place}.{word} = {value}", bad) for word, value, bad in said]
        else:
            pairs = ", ".join(f"{word} = {value.partition('  #')[0]}" for word, value, _ in said)
            above.append((f"{place} = {{ {pairs} }}", number == bad_one))
    text, bad_line = "", 0
    for statement, bad in [*above, *below]:
        text += "".join(line + "\n" for line in draw(st.lists(st.sampled_from(NOTHING), max_size=2)))
        bad_line = text.count("\n") + 1 if bad else bad_line
        text += statement + "\n"
    text = text[: draw(st.sampled_from([-1, None]))]
    return text.replace("\n", draw(st.sampled_from(["\n", "\r\n"]))), bad_line


@settings(max_examples=80, deadline=None)
@given(file_and_line=files_with_a_bad_key())
def test_a_bad_key_is_found_on_its_line_however_it_is_written(
    file_and_line: tuple[str, int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    text, line = file_and_line
    file = tmp_path_factory.getbasetemp() / "paths.toml"
    file.write_bytes(text.encode())
    with pytest.raises(SettingsError, match=re.escape(f"{file}:{line}: unknown key 'oops'")):
        read_page_paths(file, SorterAtHand("a" * 64, ODD_NAMES), find_any)


hashes = st.integers(0, 16**64 - 1).map(lambda number: f"{number:064x}")
names = st.text(min_size=1, max_size=8).filter(lambda name: "/" not in name)
ends = st.sampled_from(["skip", "person"]).map(KindPath)
reads = st.dictionaries(st.sampled_from(NETWORKS), hashes).map(lambda networks: KindPath(networks=networks))
kind_paths = st.recursive(
    ends | reads,
    lambda inner: st.builds(KindPath, sorter=hashes, kinds=st.dictionaries(names, inner, max_size=3)),
    max_leaves=5,
)
sortings = st.builds(Sorting, hashes, st.floats(0, 1), st.dictionaries(names, kind_paths, max_size=4))


@settings(max_examples=40, deadline=None)
@given(sorting=sortings)
def test_a_sorting_comes_back_from_json_whatever_the_order_of_its_keys(sorting: Sorting) -> None:
    text = json.dumps(as_json(sorting))
    back = sorting_of(json.loads(json.dumps(as_json(sorting), sort_keys=True)))
    assert back == sorting and json.dumps(as_json(back)) == text
    assert back.final_kinds() == sorting.final_kinds() and networks_of(back) == networks_of(sorting)
    turned = Sorting(sorting.sorter, sorting.doubtful_below, dict(reversed(sorting.kinds.items())))
    assert json.dumps(as_json(turned)) == text
    for kind in sorting.final_kinds():
        path = sorting.path_of(kind)
        assert path is not None and path.sorter is None
