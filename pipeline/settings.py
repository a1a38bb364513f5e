"""Settings: options over environment over a TOML file over promoted networks over defaults.

This is the one place that reads settings from the environment.
"""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from pipeline.errors import SettingsError
from pipeline.promotions import promoted_files

PREFIX = "ARCHIVE_"
DEFAULT_FILE = "archive.toml"
WEIGHTS = Path(__file__).resolve().parent.parent / "models" / "weights"
# variables that are ours but are no field: where the TOML file is, -v, and data for development
OTHER_VARIABLES = frozenset({"ARCHIVE_CONFIG", "ARCHIVE_VERBOSE", "ARCHIVE_DATA_DIR"})
# the networks that read a page, in their order, each by the name of its setting
NETWORKS = ("orienter", "detector", "classifier", "rescorer", "recogniser", "judge")
# what the store of networks keeps: also those that say which kind a page is, none of which ships
STORED = (*NETWORKS, "sorter")


class Settings(BaseModel):
    """Every setting of the product, with its default; each also as `ARCHIVE_<NAME>` (`load_settings`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    database_url: str = Field("sqlite:///archive.db", description="where the ledger and the numbers are")
    files_url: str = Field("", description="where crops are kept; empty: beside the database")
    networks_folder: str = Field(
        "", description="where added and promoted networks are kept; empty: beside the database"
    )
    broker_url: str = Field(
        "",
        description="where workers get their pages from: redis://… or amqp://…; empty: no worker is needed",
    )
    shared_folders: str = Field(
        "", description="folders of scans that every worker sees at the same place; others are copied"
    )
    cache: Path = Field(
        Path.home() / ".cache" / "archive",
        description="where a worker keeps scans and weights that it fetched",
    )
    cache_bytes: int = Field(10_000_000_000, ge=0, description="how much it keeps")
    max_in_flight: int = Field(1000, ge=1, description="messages in the broker at a time")
    orienter: Path = Field(
        WEIGHTS / "page_orienter.safetensors", description="weights that say which way up a page is"
    )
    detector: Path = Field(WEIGHTS / "digit_detector.safetensors", description="the detector's weights")
    classifier: Path = Field(
        WEIGHTS / "digit_classifier.safetensors", description="weights of the classifier"
    )
    rescorer: Path = Field(
        WEIGHTS / "digit_rescorer.safetensors",
        description="weights that tell digits by their neighbours",
    )
    recogniser: Path = Field(
        WEIGHTS / "number_recogniser.safetensors", description="weights that read whole numbers"
    )
    judge: Path = Field(
        WEIGHTS / "number_judge.safetensors", description="weights that say whether a number is whole"
    )
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    max_pixels: int = Field(150_000_000, gt=0, description="a page with more pixels is refused")
    render_dpi: int = Field(300, ge=36, le=1200, description="for PDF pages that are no plain scan")
    page_deadline_s: float = Field(300.0, gt=0, description="a stage that takes longer on one page is hung")
    max_deaths: int = Field(3, ge=1, description="a page whose process dies this often, alone, is set aside")
    threads: int = Field(
        0,
        ge=0,
        description="pages worked on at a time; 0: one for each core, 4 at most; for a GPU two, 32 at most",
    )
    batch: int = Field(0, ge=0, description="crops in a batch, of several pages; 0: as suits the device")

    @property
    def files(self) -> str:
        """Where crops are kept: `files_url`, or beside the database (`archive.db` → `archive-files`)."""
        return self.files_url or self._beside_database("files")

    @property
    def networks(self) -> Path:
        """Where added and promoted networks are kept: `networks_folder`, or beside the database."""
        return Path(self.networks_folder or self._beside_database("networks"))

    def _beside_database(self, what: str) -> str:
        scheme, _, place = self.database_url.partition(":///")
        if not scheme.startswith("sqlite") or not place:
            return f"archive-{what}"
        database = Path(place.partition("?")[0])
        return str(database.with_name(f"{database.stem}-{what}"))

    @field_validator("database_url")
    @classmethod
    def _file_is_sqlite(cls, value: str) -> str:
        return value if "://" in value else f"sqlite:///{value}"  # a plain file name is what people write


def load_settings(
    options: dict[str, Any] | None = None,
    file: Path | None = None,
    also_known: Collection[str] = (),
    *,
    promoted: bool = True,
) -> Settings:
    """Return the settings in force.

    `options` are those of the command line (None where not given).  `file` is the TOML file;
    without it `ARCHIVE_CONFIG`, or `archive.toml` in the current folder where there is one.
    `also_known` are variables that are no setting but the option of a command.  Networks that nobody
    named are the promoted ones; `promoted=False` is for who reads with none of them.
    Raises SettingsError for an unknown key, a misspelt `ARCHIVE_…` variable or a wrong value, MissingError
    where a promoted network that would read is missing or damaged.
    """
    _refuse_unknown_variables(also_known)
    given = {key: value for key, value in (options or {}).items() if value is not None}
    values = _read_file(file) | _read_environment() | given
    try:
        settings = Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"setting {key}: {first['msg']} (it is {first['input']!r})") from error
    if not promoted:
        return settings
    not_named = [kind for kind in NETWORKS if kind not in values]
    return settings.model_copy(update=promoted_files(settings.networks, not_named))


def _refuse_unknown_variables(also_known: Collection[str]) -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields} | OTHER_VARIABLES | set(also_known)
    for name in os.environ:
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            hint = _nearest(name.upper(), known)
            raise SettingsError(f"unknown variable {name} in the environment{hint}")


def _read_environment() -> dict[str, Any]:
    fields = {PREFIX + name.upper(): name for name in Settings.model_fields}
    return {fields[name.upper()]: value for name, value in os.environ.items() if name.upper() in fields}


def _read_file(file: Path | None) -> dict[str, Any]:
    if file is None and "ARCHIVE_CONFIG" in os.environ:
        file = Path(os.environ["ARCHIVE_CONFIG"])
    if file is None:
        file = Path(DEFAULT_FILE)
        if not file.exists():
            return {}
    import tomllib  # takes long, and most archives have no such file

    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{file}: {error}") from error
    for key in values:
        if key not in Settings.model_fields:
            raise SettingsError(f"{file}: unknown setting {key!r}{_nearest(key, Settings.model_fields)}")
    return values


def _nearest(name: str, known: Collection[str]) -> str:
    """Return the end of a message about a name that nobody knows: the one that may be meant."""
    import difflib  # takes long, and is for mistakes

    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""
