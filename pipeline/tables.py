"""The SQL tables (SQLAlchemy Core); migrations in `pipeline/migrations` make them.

    documents ─< paths                    a file's bytes, and every path they were seen under
        └──────< pages ─< ledger >─ runs  the state of a page in one run
                            ├─< detections    what the detector drew
                            ├─< readings      what the classifier read in each of them
                            ├─< numbers       readings in order on one line
                            ├── frames        where the printed table stands
                            └─< records ─< fields       rows of the register, by a form >─ forms

    corrections >─ pages                  what people said instead, which no run changes
    page_forms  >─ pages, >─ forms        the form that a page's records are made by, whoever reads it
    workers                               who works on pages, on any machine

Times are seconds since 1970 (float, UTC).  Boxes are four columns, xyxy in page pixels.
Rows of detections, readings and numbers are addressed by (ledger_id, position), so that the
same page read again with the same weights writes equal rows.  On SQLite they lie in that order
(no row ids), which makes the file a third smaller.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite gives row ids to INTEGER keys only; PostgreSQL needs 64 bits.
Id = BigInteger().with_variant(Integer, "sqlite")
# Plain byte order on both: what a prefix and a range need to use an index.
Sortable = Text().with_variant(Text(collation="C"), "postgresql")

# what `ledger.state` says
UNSORTED, WAITING, DETECTED = "unsorted", "waiting", "detected"  # in this order
DONE, SKIPPED, PERSON, FAILED = "done", "skipped", "person", "failed"
OPEN = (UNSORTED, WAITING, DETECTED)
STATES = (*OPEN, DONE, SKIPPED, PERSON, FAILED)

documents = Table(
    "documents",
    metadata,
    Column("id", Id, primary_key=True),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("format", String(16), nullable=False),  # jpeg, tiff, pdf, zip, …
    Column("size_bytes", BigInteger, nullable=False),
    Column("n_pages", Integer, nullable=False),
    Column("added_at", Float, nullable=False),
    Column("reason", Text),  # why no page could be had of it; null where all is well
    Column("freed", Boolean, nullable=False),  # it failed, and is to be looked at again
    Column("replaced_at", Float),  # when its only path came to name another document; else null
    Index(
        None,
        "replaced_at",
        sqlite_where=text("replaced_at IS NOT NULL"),
        postgresql_where=text("replaced_at IS NOT NULL"),
    ),
    Index(
        None, "reason", sqlite_where=text("reason IS NOT NULL"), postgresql_where=text("reason IS NOT NULL")
    ),
)

paths = Table(
    "paths",
    metadata,
    Column("document_id", Id, ForeignKey("documents.id"), primary_key=True),
    Column("path", Sortable, primary_key=True),  # absolute; pipeline/paths.py says how odd bytes are written
    Column("seen_at", Float, nullable=False),
    Column(
        "size_bytes", BigInteger, nullable=False
    ),  # with modified_at: an unchanged file is not hashed again
    Column("modified_at", Float, nullable=False),
    Index(None, "path"),
)

pages = Table(
    "pages",
    metadata,
    Column("id", Id, primary_key=True),
    Column("document_id", Id, ForeignKey("documents.id"), nullable=False),
    Column("page_index", Integer, nullable=False),  # from 0 in its document
    Column("member", Text),  # the name inside a ZIP, else null
    Column("frame", Integer, nullable=False),  # from 0 in its file or member
    Column("width", Integer),  # page pixels, known once the page was opened
    Column("height", Integer),
    UniqueConstraint("document_id", "page_index"),
)

runs = Table(
    "runs",
    metadata,
    Column("id", Id, primary_key=True),
    Column("started_at", Float, nullable=False),
    Column("detector_sha256", String(64), nullable=False),
    Column("classifier_sha256", String(64), nullable=False),
    Column("settings", Text, nullable=False),  # JSON of the settings that change what is read
    Column("first_state", String(8), nullable=False, server_default=WAITING),  # of a page of this run
    Index(None, "detector_sha256", "classifier_sha256"),
)

ledger = Table(
    "ledger",
    metadata,
    Column("id", Id, primary_key=True),
    Column("page_id", Id, ForeignKey("pages.id"), nullable=False),
    Column("run_id", Id, ForeignKey("runs.id"), nullable=False),
    Column("current", Boolean, nullable=False),  # the run that queries see; one a page
    Column("state", String(8), nullable=False),  # one of those above
    Column("failed_in", String(8)),  # the state it failed in, which a retry goes back to
    Column("reason", Text),  # why it failed, or why it is being tried again
    Column("suspect", Boolean, nullable=False),  # it was in hand when a process died: tried alone
    Column("attempts", Integer, nullable=False),  # deaths while it was alone, in this stage
    Column("queued", Boolean, nullable=False),  # its id was published and nobody has claimed it yet
    Column("attempt_token", String(32)),  # whoever has the page in hand; null while it is in a queue
    Column("worker_id", String(32)),  # on whose machine it is in hand; null for a command's own engine
    Column("lease_until", Float, nullable=False),  # due again from then on; 0: at once
    Column("blob", Text),  # the name of its crops, where another process is to classify
    Column("scale", Float),
    Column("turned", Integer, nullable=False),
    Column("kind", Sortable),  # as sorters or a person say; a path where sorters stand in a chain
    Column("kind_confidence", Float),  # null where a person said it
    Column("n_digits", Integer, nullable=False),
    Column("n_numbers", Integer, nullable=False),
    Column("finished_at", Float),
    UniqueConstraint("page_id", "run_id"),
    Index("ix_ledger_due", "state", "suspect", "lease_until", "id"),
    # all that `archive status` needs, so that it reads no row
    Index("ix_ledger_counts", "current", "state", "n_digits", "n_numbers"),
    Index("ix_ledger_finished_at", "finished_at"),
    # the same by kind, where pages were sorted
    Index(
        "ix_ledger_kind",
        "kind",
        "current",
        "state",
        "n_digits",
        "n_numbers",
        sqlite_where=text("kind IS NOT NULL"),
        postgresql_where=text("kind IS NOT NULL"),
    ),
    Index(None, "blob", sqlite_where=text("blob IS NOT NULL"), postgresql_where=text("blob IS NOT NULL")),
    Index(
        "ix_ledger_current",
        "page_id",
        unique=True,
        sqlite_where=text("current"),
        postgresql_where=text("current"),
    ),
)

# No foreign key leads here: a worker that is gone is forgotten, and then its pages are taken back.
workers = Table(
    "workers",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("stages", Text, nullable=False),  # detect, classify; a blank between two
    Column("device", Text, nullable=False),
    Column("threads", Integer, nullable=False),  # pages in hand at a time
    Column("started_at", Float, nullable=False),
    Column("n_beats", BigInteger, nullable=False),  # grows while it lives
    Column("seen_at", Float, nullable=False),  # by its own clock
)

detections = Table(
    "detections",
    metadata,
    Column("ledger_id", Id, ForeignKey("ledger.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("x0", Float, nullable=False),
    Column("y0", Float, nullable=False),
    Column("x1", Float, nullable=False),
    Column("y1", Float, nullable=False),
    Column("score", Float, nullable=False),
    Column("mark", String(1)),  # point, comma or dash between it and the next one of its line
    sqlite_with_rowid=False,
)

readings = Table(
    "readings",
    metadata,
    Column("ledger_id", Id, ForeignKey("ledger.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("digit", Integer),  # null: rejected
    Column("confidence", Float, nullable=False),
    Column("runners_up", Text, nullable=False),  # JSON, [[digit or null, confidence], …]
    Column("number", Integer),  # position of the number it belongs to
    Column("place", Integer),  # its place in that number, from 0
    sqlite_with_rowid=False,
)

numbers = Table(
    "numbers",
    metadata,
    Column("ledger_id", Id, ForeignKey("ledger.id"), primary_key=True),
    Column("position", Integer, primary_key=True),  # reading order on the page
    Column("text", Sortable, nullable=False),
    # digits without leading zeros behind their count (4 figures): sorts as the number does, at any length
    Column("sort_key", Sortable, nullable=False),
    Column("confidence", Float, nullable=False),
    Column("line", Integer, nullable=False),
    Column("x0", Float, nullable=False),
    Column("y0", Float, nullable=False),
    Column("x1", Float, nullable=False),
    Column("y1", Float, nullable=False),
    # JSON, [[text, probability, [positions of the detections that it reads]], …], best first
    Column("alternatives", Text, nullable=False, server_default="[]"),
    Column("written", Text),  # the text with the marks between its digits; null where there are none
    Index(None, "text"),
    Index(None, "sort_key"),
    Index(None, "confidence"),
    sqlite_with_rowid=False,
)

# Of a page in a run: its forms and records are made again whenever a form is applied to it.
forms = Table(
    "forms",
    metadata,
    Column("id", Id, primary_key=True),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("name", Sortable, nullable=False),
    Column("form", Text, nullable=False),  # JSON, as `forms.as_json` says it
    Column("source", Text, nullable=False),  # the TOML, as it was
    Column("added_at", Float, nullable=False),
)

page_forms = Table(
    "page_forms",
    metadata,
    Column("page_id", Id, ForeignKey("pages.id"), primary_key=True),
    Column("kind", Sortable, primary_key=True),  # where the page is of this kind; empty: of any other
    Column("form_id", Id, ForeignKey("forms.id"), nullable=False),
    sqlite_with_rowid=False,
)

frames = Table(
    "frames",
    metadata,
    Column("ledger_id", Id, ForeignKey("ledger.id"), primary_key=True),
    Column("corners", Text, nullable=False),  # JSON, [[x, y], …] clockwise from the upper left, page pixels
    Column("rules", Text, nullable=False),  # JSON, shares of the width
    Column("printed", Boolean, nullable=False),  # false: the sheet, for no table was found
    sqlite_with_rowid=False,
)

records = Table(
    "records",
    metadata,
    Column("ledger_id", Id, ForeignKey("ledger.id"), primary_key=True),
    Column("position", Integer, primary_key=True),  # from the top of the page, from 0
    Column("form_id", Id, ForeignKey("forms.id"), nullable=False),
    Column("start", Float, nullable=False),  # what stands from here to `end` is its own: shares of the frame
    Column("end", Float, nullable=False),
    Column("confidence", Float, nullable=False),  # of the least sure value
    Column("flagged", Boolean, nullable=False),
    Index(None, "form_id"),
    Index(None, "confidence"),
    Index("ix_records_flagged", "ledger_id", sqlite_where=text("flagged"), postgresql_where=text("flagged")),
    sqlite_with_rowid=False,
)

fields = Table(
    "fields",
    metadata,
    Column("ledger_id", Id, primary_key=True),
    Column("record", Integer, primary_key=True),
    Column("name", Sortable, primary_key=True),
    Column("place", Integer, nullable=False),  # of its column on the form, from 0
    Column("text", Sortable, nullable=False),  # as it is written; empty: nothing was read there
    Column("value", Sortable, nullable=False),
    Column("sort_key", Sortable, nullable=False),  # as of numbers, decimals behind a point
    Column("confidence", Float, nullable=False),
    Column("made_by", String(8), nullable=False),  # network, rule or person
    Column("replaced", Text),  # what a rule or a person took it instead of
    Column("flag", Text),  # which rule it breaks
    Column("x0", Float),
    Column("y0", Float),
    Column("x1", Float),
    Column("y1", Float),
    Column("numbers", Text, nullable=False),  # JSON, positions of the page's numbers that it comes from
    Column("members", Text, nullable=False),  # JSON, positions of its detections
    Column("alternatives", Text, nullable=False),  # as of numbers
    ForeignKeyConstraint(["ledger_id", "record"], ["records.ledger_id", "records.position"]),
    Index(None, "name", "text"),
    Index(None, "name", "sort_key"),
    Index(None, "ledger_id", "name", "sort_key"),  # whether a page has any, without a look at its records
    sqlite_with_rowid=False,
)

corrections = Table(
    "corrections",
    metadata,
    Column("id", Id, primary_key=True),
    Column("page_id", Id, ForeignKey("pages.id"), nullable=False),
    Column("field", Sortable, nullable=False),
    Column("place", Float, nullable=False),  # where its row begins, a share of the frame's height
    Column("text", Text, nullable=False),
    Column("was", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("made_at", Float, nullable=False),
    Index(None, "page_id"),
)
