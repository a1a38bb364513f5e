"""The `archive` command."""


def main() -> None:
    """Run the command line."""
    raise SystemExit(1)
