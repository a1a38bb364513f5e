"""Every command: where it is, what it does in a line, and the variables its options can also come from.

The table is what lets `archive --help` answer without importing a command, and lets a misspelt
`ARCHIVE_…` variable be told from an option.  A test compares it to the commands themselves.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """Where a command is (`module:function`), its line in `archive --help`, its options as variables.

    `variables` leave out `ARCHIVE_<COMMAND>_`; options that are settings have a variable of their own.
    """

    target: str
    summary: str
    variables: tuple[str, ...] = ()


_TRAINING = ("DATA", "OUTPUT", "MINUTES", "SEED", "START")  # what every training on labels takes
_FORMATS = ("DIGITS", "CSV", "JSONL", "PARQUET", "ALTO", "PAGE", "COCO")

COMMANDS = {
    "ingest": Command(
        "cli.ingest:ingest",
        "Read scans: files and folders, every page of them.",
        ("FORM", "AGAIN", "WAIT", "DRY_RUN", "JSON"),
    ),
    "worker": Command(
        "cli.worker:worker",
        "Work on the pages that other machines ingested.",
        ("STAGES", "FEEDER", "HEALTHY"),
    ),
    "feeder": Command("cli.feeder:feeder", "Feed the queues that workers take pages from."),
    "status": Command("cli.status:status", "Show how far the archive is read.", ("WATCH", "JSON")),
    "query": Command(
        "cli.query:query",
        "Find numbers that were read, where they stand, and rows of registers.",
        (
            *("PREFIX", "PATTERN", "MIN", "MAX", "DOCUMENT", "KIND", "PAGE", "CONFIDENCE", "DOUBTFUL"),
            *("RECORD", "WISHES", "FORM", "FLAGGED", "ORDER", "LIMIT", "JSON", "CSV"),
        ),
    ),
    "sql": Command("cli.sql:sql", "Ask the archive in SQL, which can't change anything.", ("JSON", "CSV")),
    "show": Command(
        "cli.show:show",
        "Draw a page with its boxes, digits and doubts.",
        ("OUTPUT", "ALTERNATIVES", "JSON"),
    ),
    "failed": Command(
        "cli.failed:failed",
        "List pages that could not be read, see why, try them again.",
        ("LIST_JSON", "SHOW_JSON", "RETRY_ALL", "RETRY_JSON"),
    ),
    "sort": Command(
        "cli.sort:sort",
        "Say which kind pages are, where a sorter is in doubt or wrong.",
        ("KIND", "DRY_RUN", "JSON"),
    ),
    "reprocess": Command(
        "cli.reprocess:reprocess", "Read documents of the archive once more, by today's networks.", ("JSON",)
    ),
    "why": Command(
        "cli.why:why", "Say where a value comes from: page, box, networks, rule, person.", ("JSON",)
    ),
    "correct": Command(
        "cli.correct:correct", "Say what a value of a record is; what it was, who and when is kept.", ("WHO",)
    ),
    "form": Command(
        "cli.form:form",
        "Say what stands in which column of a printed table.",
        ("NEW_OUTPUT", "NEW_PICTURE", "CHECK_OUTPUT", "CHECK_JSON", "APPLY_KIND", "APPLY_JSON"),
    ),
    "export": Command(
        "cli.export:export",
        "Write what was read to a file.",
        (
            *(f"{name}_{option}" for name in _FORMATS for option in ("OUTPUT", "DOCUMENT", "KIND")),
            *("CSV_RECORDS", "JSONL_RECORDS", "PARQUET_RECORDS", "PARQUET_DIGITS"),
        ),
    ),
    "evaluate": Command(
        "cli.evaluate:evaluate",
        "Measure how well pages are read whose truth is known.",
        ("OUTPUT", "PART", "SIZES", "TURNS", "REQUIRE", "JSON"),
    ),
    "threshold": Command(
        "cli.threshold:threshold",
        "Say how much can be accepted without a person, and how sure it must be.",
        ("TARGET", "OUTPUT", "JSON"),
    ),
    "compare": Command(
        "cli.compare:compare",
        "Say what changed between two runs, digit by digit.",
        ("OUTPUT", "LIMIT", "JSON"),
    ),
    "models": Command(
        "cli.models:models",
        "Add networks, see what each read, promote the better one.",
        (
            *("LIST_JSON", "SHOW_JSON", "VERIFY_JSON", "ADD_NAME", "ADD_NOTE"),
            *("PROMOTE_FOLDER", "PROMOTE_BY", "PROMOTE_P_BAR", "PROMOTE_DRY_RUN", "PROMOTE_JSON"),
        ),
    ),
    "verify": Command(
        "cli.verify:verify",
        "Check that scans are unchanged, and what was read of them is whole.",
        ("QUICK", "JSON"),
    ),
    "delete": Command(
        "cli.delete:delete",
        "Remove a document from the database, with all that was read of it.",
        ("ALL", "YES", "DRY_RUN", "JSON"),
    ),
    "doctor": Command("cli.doctor:doctor", "Check what is needed, and say how to mend it.", ("JSON",)),
    "labels": Command(
        "cli.labels:labels",
        "Make labelled digits from transcriptions.",
        ("OUTPUT", "INK_ONLY", "DRAWN", "FROM_SET", "PASTE", "NUMBERS", "REWRITE", "SEED", "JSON"),
    ),
    "train": Command(
        "cli.train:train",
        "Train a network.",
        (
            *(f"{kind}_{option}" for kind in ("ORIENTER", "DETECTOR", "CLASSIFIER") for option in _TRAINING),
            *("CLASSIFIER_BOXES", "CLASSIFIER_FREEZE", "CLASSIFIER_HELD", "CLASSIFIER_MEASURE"),
            *("CLASSIFIER_RECIPE", "CLASSIFIER_JSON", "CONFIDENCE_OUTPUT"),
            *("RESCORER_OUTPUT", "RESCORER_MINUTES", "RESCORER_SEED", "RESCORER_HANDS"),
            *(f"RECOGNISER_{option}" for option in (*_TRAINING, "BOXES")),
            *("JUDGE_OUTPUT", "JUDGE_MINUTES", "JUDGE_SEED", "JUDGE_HANDS"),
            *("SORTER_DATA", "SORTER_NAME", "SORTER_OUTPUT", "SORTER_BACKBONES", "SORTER_BACKBONE_WEIGHTS"),
            *("SORTER_THAW", "SORTER_SEED", "SORTER_JSON"),
        ),
    ),
}

VARIABLES = frozenset(
    f"ARCHIVE_{name.upper()}_{variable}"
    for name, command in COMMANDS.items()
    for variable in command.variables
)
