"""Blobs that no page needs: what a process leaves that dies between writing one and saying so."""

import logging

from sqlalchemy import Engine, select

from pipeline import ledger, tables
from pipeline.database import reading
from pipeline.storage import Files
from workers.stages import CROPS

log = logging.getLogger(__name__)


def sweep(db: Engine, files: Files) -> int:
    """Delete the crops that no open or failed page names; return how many.

    Only for the owner of the lock, before it begins: a blob is written before the ledger names it.
    Raises StorageError.
    """
    row = tables.ledger.c
    kept = select(row.blob).where(row.state.in_([ledger.DETECTED, ledger.FAILED]), row.blob.is_not(None))
    with reading(db) as conn:
        needed = set(conn.scalars(kept))
    stray = [name for name in files.names(CROPS) if name not in needed]
    for name in stray:
        files.delete(name)
    if stray:
        log.info("%d blobs that no page needs are deleted", len(stray))
    return len(stray)
