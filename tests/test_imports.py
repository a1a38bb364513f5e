"""Imports go one way: cli → workers → models → pipeline; the pipeline knows neither torch nor Celery."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ORDER = ["pipeline", "models", "workers", "cli"]  # each may import itself and those before it


def imported(file: Path) -> Iterator[str]:
    """Yield the packages that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield (node.module or "").partition(".")[0]


@pytest.mark.parametrize("package", ORDER)
def test_a_package_imports_only_those_below_it(package: str) -> None:
    above = set(ORDER[ORDER.index(package) + 1 :])
    files = list((ROOT / package).rglob("*.py"))
    assert len(files) > 3
    for file in files:
        assert not above & set(imported(file)), file


def test_the_pipeline_knows_neither_torch_nor_celery() -> None:
    for file in (ROOT / "pipeline").rglob("*.py"):
        assert not {"torch", "torchvision", "celery", "kombu"} & set(imported(file)), file


def test_only_settings_reads_the_environment() -> None:
    readers = [
        file.relative_to(ROOT).as_posix()
        for package in ("pipeline", "models")
        for file in (ROOT / package).rglob("*.py")
        if "os.environ" in file.read_text(encoding="utf-8") or "getenv" in file.read_text(encoding="utf-8")
    ]
    assert readers == ["pipeline/settings.py"]


def test_help_waits_for_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from cli.main import main\n"
        "sys.argv = ['archive', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'celery', 'sqlalchemy', 'pydantic', 'cv2', 'numpy', 'rich'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "ingest" in done.stdout
