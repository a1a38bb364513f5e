"""Where settings come from, and which one wins."""

import os
from pathlib import Path

import pytest

from cli.commands import VARIABLES
from pipeline.errors import SettingsError
from pipeline.settings import load_settings


@pytest.fixture(autouse=True)
def nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.upper().startswith("ARCHIVE_"):
            monkeypatch.delenv(name)


def test_options_win_over_environment_over_file_over_defaults(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert load_settings().render_dpi == 300
    Path("archive.toml").write_text("render_dpi = 150\nthreads = 3\n")
    assert load_settings().render_dpi == 150
    monkeypatch.setenv("ARCHIVE_RENDER_DPI", "200")
    assert load_settings().render_dpi == 200
    assert load_settings({"render_dpi": 400}).render_dpi == 400
    assert load_settings({"render_dpi": None}).render_dpi == 200, "an option that isn't given says nothing"
    assert load_settings({"render_dpi": 400}).threads == 3


def test_the_file_is_the_one_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("archive.toml").write_text("threads = 1\n")
    Path("other.toml").write_text("threads = 2\n")
    Path("third.toml").write_text("threads = 3\n")
    assert load_settings().threads == 1
    monkeypatch.setenv("ARCHIVE_CONFIG", "other.toml")
    assert load_settings().threads == 2
    assert load_settings(file=tmp_path / "third.toml").threads == 3
    with pytest.raises(SettingsError, match=r"none\.toml"):
        load_settings(file=Path("none.toml"))


def test_an_unknown_key_is_an_error_that_names_the_nearest() -> None:
    Path("archive.toml").write_text("rendr_dpi = 150\n")
    with pytest.raises(SettingsError, match=r"archive\.toml: .*'rendr_dpi'; did you mean render_dpi"):
        load_settings()


def test_a_misspelt_variable_is_an_error_that_names_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHIVE_DATABASE_ULR", "x.db")
    with pytest.raises(SettingsError, match=r"ARCHIVE_DATABASE_ULR .* did you mean ARCHIVE_DATABASE_URL"):
        load_settings()


def test_variables_of_options_are_known_and_misspelt_ones_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ARCHIVE_QUERY_LIMIT", "5")
    load_settings(also_known=VARIABLES)
    monkeypatch.setenv("ARCHIVE_QUERY_LIMITS", "5")
    with pytest.raises(SettingsError, match="did you mean ARCHIVE_QUERY_LIMIT"):
        load_settings(also_known=VARIABLES)


@pytest.mark.parametrize(
    ("name", "value"),
    [("ARCHIVE_MAX_PIXELS", "many"), ("ARCHIVE_MAX_PIXELS", "0"), ("ARCHIVE_PAGE_DEADLINE_S", "-1")],
)
def test_a_wrong_value_is_an_error_that_shows_it(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=rf"{name.removeprefix('ARCHIVE_').lower()}.*{value}"):
        load_settings()


def test_a_file_that_is_no_toml_is_an_error_that_names_it() -> None:
    Path("archive.toml").write_text("threads: 3\n")
    with pytest.raises(SettingsError, match=r"archive\.toml"):
        load_settings()


def test_a_plain_file_name_is_a_database() -> None:
    assert load_settings({"database_url": "room 7.db"}).database_url == "sqlite:///room 7.db"
    assert load_settings({"database_url": "postgresql://server/a"}).database_url == "postgresql://server/a"
